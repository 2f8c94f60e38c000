//! The log on Fluvio: a controller and one broker, started for the measurement.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use event_log_fluvio::{FluvioLog, FluvioLogOptions, GenerationError, Generations};
use event_schemas::SystemClock;
use fluvio::{
    FluvioAdmin, FluvioClusterConfig,
    metadata::{customspu::CustomSpuSpec, spu::SpuSpec},
};
use fluvio_controlplane_metadata::spu::{Endpoint, IngressPort};
use parking_lot::Mutex;

use super::{Running, Start, ours::Ours};
use crate::server::{Server, free_ports, on_path};

pub const SETTING: &str = "one broker, ReadCommitted, 1 replica, no fsync; runtime::Producer, one append a partition under \
                           way, LZ4; reads of 1024 records by runtime::PartitionReader";

const BROKER: i32 = 5001;

/// Starts a cluster and opens the log on it.
pub async fn start(folder: &Path) -> anyhow::Result<Start> {
    let Some(binary) = on_path("fluvio-run") else {
        return Ok(Start::Absent("there is no `fluvio-run` on the PATH; see https://www.fluvio.io".to_owned()));
    };
    let text = |name: &str| folder.join(name).display().to_string();
    let local = |port: u16| format!("127.0.0.1:{port}");
    let [public, private, outside, inside] = free_ports()?;
    for name in ["metadata", "data"] {
        std::fs::create_dir(folder.join(name))?;
    }
    let (address, private) = (local(public), local(private));
    let arguments = ["sc", "--local", &text("metadata"), "--bind-public", &address, "--bind-private", &private];
    let mut controller = Server::start(&binary, &arguments.map(str::to_owned), folder, "controller")?;
    let spec = CustomSpuSpec {
        id: BROKER,
        public_endpoint: IngressPort::from_port_host(outside, "127.0.0.1".to_owned()),
        private_endpoint: Endpoint { port: inside, host: "127.0.0.1".to_owned(), ..Default::default() },
        rack: None,
        public_endpoint_local: None,
    };
    let registered = async || {
        let admin = admin(&address).await?;
        // A try whose answer got lost may have registered it.
        if admin.all::<CustomSpuSpec>().await?.is_empty() {
            admin.create(format!("custom-spu-{BROKER}"), false, spec.clone()).await?;
        }
        Ok(())
    };
    controller.until_ready(registered).await?;
    let (id, outside, inside, data) = (BROKER.to_string(), local(outside), local(inside), text("data"));
    let arguments = ["spu", "-i", &id, "-p", &outside, "-v", &inside, "--sc-addr", &private, "--log-base-dir", &data];
    let mut broker = Server::start(&binary, &arguments.map(str::to_owned), folder, "broker")?;
    let online = async || {
        let brokers = admin(&address).await?.all::<SpuSpec>().await?;
        ensure!(brokers.iter().any(|broker| broker.status.is_online()), "the controller does not see the broker");
        Ok(())
    };
    broker.until_ready(online).await?;
    let options = FluvioLogOptions {
        request_timeout: Duration::from_secs(30),
        ..FluvioLogOptions::new(Arc::new(SystemClock), Arc::new(InMemory::default()))
    };
    let log = FluvioLog::open(&format!("fluvio://{address}?replication=1"), options).await?;
    let version = version(&binary).await;
    let servers = vec![controller, broker];
    Ok(Start::Running(Running { log: Arc::new(Ours::new(log).await?), servers, version }))
}

async fn admin(address: &str) -> anyhow::Result<FluvioAdmin> {
    let config = FluvioClusterConfig::new(address);
    let connecting = FluvioAdmin::connect_with_config(&config);
    let connected = tokio::time::timeout(Duration::from_secs(5), connecting).await;
    connected.context("the controller does not answer")?.map_err(|error| anyhow::anyhow!("{error}"))
}

/// What the program says of itself: `fluvio-run CLI version : 0.50.1`, or the like.
async fn version(binary: &Path) -> String {
    let asked = tokio::process::Command::new(binary).arg("--version").output().await;
    let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().and_then(|line| line.split_whitespace().last()).unwrap_or("unknown").to_owned()
}

/// Generations that live as long as the measurement.
#[derive(Default)]
struct InMemory(Mutex<HashMap<String, u64>>);

#[async_trait]
impl Generations for InMemory {
    async fn current(&self, topic: &str) -> Result<u64, GenerationError> {
        Ok(self.0.lock().get(topic).copied().unwrap_or(0))
    }

    async fn raise(&self, topic: &str) -> Result<u64, GenerationError> {
        let mut all = self.0.lock();
        let generation = all.entry(topic.to_owned()).or_default();
        *generation += 1;
        Ok(*generation)
    }
}
