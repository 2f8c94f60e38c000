//! A Fluvio cluster of `fluvio-run` processes: a controller and brokers.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fluvio::{
    FluvioAdmin, FluvioClusterConfig,
    metadata::{customspu::CustomSpuSpec, spu::SpuSpec},
};
use fluvio_controlplane_metadata::spu::{Endpoint, IngressPort};
use tempfile::TempDir;

use crate::process::{free_ports, kill, on_path, spawn};

/// The longest the cluster may take to come up.
const PATIENCE: Duration = Duration::from_secs(90);
const FIRST_BROKER: i32 = 5001;

struct Process {
    child: Option<Child>,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
}

impl Process {
    fn start(&mut self) -> Result<(), String> {
        let out = File::options().create(true).append(true).open(&self.log).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null());
        command.env("HOME", self.log.parent().unwrap_or(Path::new("/")));
        command.env("FLUVIO_METRIC_SPU", self.log.with_extension("metrics"));
        command.env("RUST_LOG", "warn");
        command.stdout(out.try_clone().map_err(|error| error.to_string())?).stderr(out);
        self.child = Some(spawn(command)?);
        Ok(())
    }
}

/// A cluster, stopped when dropped.
pub struct Fluvio {
    address: String,
    processes: Vec<Process>,
    folder: TempDir,
}

impl Fluvio {
    /// Starts a controller and so many brokers.
    ///
    /// # Errors
    /// Why there can be none.
    pub async fn start(brokers: usize) -> Result<Self, String> {
        let program = on_path("fluvio-run").ok_or("there is no `fluvio-run` on the PATH")?;
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let [public, private] = free_ports();
        let mut cluster = Self { address: local(public), processes: Vec::new(), folder };
        let metadata = cluster.make("metadata")?;
        let arguments =
            ["sc", "--local", &metadata, "--bind-public", &local(public), "--bind-private", &local(private)];
        cluster.add(&program, "controller", &arguments)?;
        for n in 0..brokers {
            let id = FIRST_BROKER + i32::try_from(n).map_err(|error| error.to_string())?;
            let [outside, inside] = free_ports();
            cluster.register(id, outside, inside).await?;
            let data = cluster.make(&format!("data-{id}"))?;
            let (number, outside, inside, private) = (id.to_string(), local(outside), local(inside), local(private));
            let arguments =
                ["spu", "-i", &number, "-p", &outside, "-v", &inside, "--sc-addr", &private, "--log-base-dir", &data];
            cluster.add(&program, &format!("broker-{id}"), &arguments)?;
        }
        cluster.until_up().await?;
        Ok(cluster)
    }

    fn make(&self, name: &str) -> Result<String, String> {
        let path = self.folder.path().join(name);
        std::fs::create_dir(&path).map_err(|error| error.to_string())?;
        Ok(path.display().to_string())
    }

    fn add(&mut self, program: &Path, name: &str, arguments: &[&str]) -> Result<(), String> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let log = self.folder.path().join(format!("{name}.log"));
        let mut process = Process { child: None, program: program.to_owned(), arguments, log };
        process.start()?;
        self.processes.push(process);
        Ok(())
    }

    async fn register(&self, id: i32, outside: u16, inside: u16) -> Result<(), String> {
        let spec = CustomSpuSpec {
            id,
            public_endpoint: IngressPort::from_port_host(outside, "127.0.0.1".to_owned()),
            private_endpoint: Endpoint { port: inside, host: "127.0.0.1".to_owned(), ..Default::default() },
            rack: None,
            public_endpoint_local: None,
        };
        self.until("the controller registers a broker", async || {
            let admin = self.admin().await?;
            admin.create(format!("custom-spu-{id}"), false, spec.clone()).await.map_err(|error| error.to_string())
        })
        .await
    }

    async fn until_up(&self) -> Result<(), String> {
        let wanted = self.processes.len() - 1;
        self.until("all brokers are up", async || {
            let all = self.admin().await?.all::<SpuSpec>().await.map_err(|error| error.to_string())?;
            let online = all.iter().filter(|broker| broker.status.is_online()).count();
            if online == wanted { Ok(()) } else { Err(format!("{online} of {wanted} brokers")) }
        })
        .await
    }

    async fn until(&self, what: &str, mut reached: impl AsyncFnMut() -> Result<(), String>) -> Result<(), String> {
        let began = Instant::now();
        loop {
            match reached().await {
                Ok(()) => return Ok(()),
                Err(error) if began.elapsed() > PATIENCE => {
                    return Err(format!("not within {PATIENCE:?}: {what}: {error}"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn admin(&self) -> Result<FluvioAdmin, String> {
        let config = FluvioClusterConfig::new(&self.address);
        let connecting = tokio::time::timeout(Duration::from_secs(5), FluvioAdmin::connect_with_config(&config));
        connecting.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// `kill -9` for the controller and all brokers.
    pub fn kill(&mut self) {
        for process in &mut self.processes {
            kill(&mut process.child);
        }
    }

    /// Starts all of it again on its ports and data.
    ///
    /// # Panics
    /// It does not come up.
    pub async fn restart(&mut self) {
        for process in &mut self.processes {
            process.start().expect("it starts");
        }
        self.until_up().await.expect("it comes up");
    }

    /// The setting `log` for it: one copy of each record for one broker, else two.
    #[must_use]
    pub fn url(&self) -> String {
        let copies = (self.processes.len() - 1).min(2);
        format!("fluvio://{}?replication={copies}", self.address)
    }
}

impl Drop for Fluvio {
    fn drop(&mut self) {
        self.kill();
    }
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
