//! NATS JetStream through `async-nats`.
//!
//! Each partition is a stream of its own, so that the server can write them side by side, and has
//! a connection of its own. All callers of a partition share it: their publishes are under way
//! together and the client writes them together. Reads are by a pull consumer without
//! acknowledgements, which is the cheapest there is.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, PullConsumer, pull},
    stream::{Config, StorageType},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;

use super::{Durability, Log, PARTITIONS, Running, Start};
use crate::server::{Server, free_ports, on_path};

pub const SETTING_FSYNC: &str = "sync_interval: always; 4 file streams, a connection each, the callers' publishes pipelined, \
                                 one acknowledgement a record; pull consumers without acknowledgements, batches of 1024";
pub const SETTING: &str = "sync_interval as it comes (2 min); otherwise like nats-fsync";

/// How many records a reader asks for at once, as many as ours.
const BATCH: usize = 1024;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Starts a server with file storage.
pub async fn start(folder: &Path, durability: Durability) -> anyhow::Result<Start> {
    let Some(binary) = on_path("nats-server") else {
        return Ok(Start::Absent(
            "there is no `nats-server` on the PATH; scripts/bench brings it from PyPI".to_owned(),
        ));
    };
    let [port] = free_ports()?;
    let sync = match durability {
        Durability::Fsynced => "sync_interval: always",
        Durability::Memory => "",
    };
    let store = folder.join("data");
    let config = format!("listen: \"127.0.0.1:{port}\"\njetstream {{\n  store_dir: {store:?}\n  {sync}\n}}\n");
    let file = folder.join("nats.conf");
    std::fs::write(&file, config)?;
    let mut server = Server::start(&binary, &["-c".to_owned(), file.display().to_string()], folder, "nats-server")?;
    let url = format!("nats://127.0.0.1:{port}");
    let client = server.until_ready(async || Ok(async_nats::connect(&url).await?)).await?;
    let version = client.server_info().version.clone();
    let mut connections = Vec::new();
    for partition in 0..PARTITIONS {
        let mut context = jetstream::new(async_nats::connect(&url).await?);
        context.set_timeout(TIMEOUT);
        let config = Config {
            name: format!("playback-{partition}"),
            subjects: vec![subject(partition)],
            storage: StorageType::File,
            num_replicas: 1,
            ..Default::default()
        };
        context.create_stream(config).await.context("the stream can't be made")?;
        connections.push(context);
    }
    Ok(Start::Running(Running { log: Arc::new(Nats { connections }), servers: vec![server], version }))
}

fn subject(partition: u32) -> String {
    format!("playback.{partition}")
}

struct Nats {
    /// One for each partition.
    connections: Vec<jetstream::Context>,
}

#[async_trait]
impl Log for Nats {
    async fn append(&self, partition: u32, record: Bytes) -> anyhow::Result<()> {
        let context = &self.connections[partition as usize];
        context.publish(subject(partition), record).await?.await?;
        Ok(())
    }

    async fn read(&self, partition: u32, records: u64) -> anyhow::Result<u64> {
        let stream = self.connections[partition as usize].get_stream_no_info(format!("playback-{partition}")).await?;
        let config = pull::Config { ack_policy: AckPolicy::None, ..Default::default() };
        let consumer: PullConsumer = stream.create_consumer(config).await?;
        let mut messages = consumer.stream().max_messages_per_batch(BATCH).messages().await?;
        let (mut seen, mut bytes) = (0, 0);
        while seen < records {
            let message = messages.next().await.context("the stream of messages ended")??;
            ensure!(!message.payload.is_empty(), "the stream gave back another record");
            seen += 1;
            bytes += message.payload.len() as u64;
        }
        Ok(bytes)
    }
}
