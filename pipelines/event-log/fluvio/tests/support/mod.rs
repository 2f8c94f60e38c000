//! A throw-away Fluvio cluster of `fluvio-run` processes, and logs on it.

#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "a test; not every file uses everything")]

use std::{
    collections::HashMap,
    fs::File,
    io::Write,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use async_trait::async_trait;
use event_log::{EventLog, conformance::Backend};
use event_log_fluvio::{FluvioLog, FluvioLogOptions, GenerationError, Generations};
use event_schemas::{Clock, TestClock, Timestamp};
use fluvio::{
    FluvioAdmin, FluvioClusterConfig,
    metadata::{customspu::CustomSpuSpec, spu::SpuSpec, topic::TopicSpec},
};
use fluvio_controlplane_metadata::spu::{Endpoint, IngressPort};
use parking_lot::Mutex;

/// The longest a test waits for anything.
pub const LONG: Duration = Duration::from_secs(180);
const FIRST_BROKER: i32 = 5001;

/// Says that a suite can't be run here. Fluvio comes from no registry of packages, so that it is
/// never required.
pub fn not_run(suite: &str, why: &str) {
    // Past the capture of what passing tests print; a closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "not run: {suite}: {why}");
}

/// Waits until `holds` says so.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("not within {LONG:?}: {what}"));
}

/// Generations that live as long as the test.
#[derive(Default)]
pub struct MemoryGenerations(Mutex<HashMap<String, u64>>);

#[async_trait]
impl Generations for MemoryGenerations {
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

/// A process of the cluster, killed with the value.
struct Process {
    child: Option<Child>,
    binary: PathBuf,
    args: Vec<String>,
    log: PathBuf,
}

impl Process {
    /// Starts it; it dies with the thread that calls this.
    fn start(&mut self) {
        let out = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.binary);
        command
            .args(&self.args)
            .env("HOME", self.log.parent().unwrap())
            .env("FLUVIO_METRIC_SPU", self.log.with_extension("metrics"))
            .env("RUST_LOG", std::env::var("MILLRACE_TEST_FLUVIO_LOG").unwrap_or_else(|_| "warn".to_owned()))
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out);
        // SAFETY: `prctl` is safe to call between fork and exec.
        unsafe {
            command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?));
        }
        self.child = Some(command.spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A cluster that the test started.
pub struct Cluster {
    pub address: String,
    controller: Mutex<Process>,
    brokers: Vec<Mutex<Process>>,
}

fn binary(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|d| d.join(name)).find(|p| p.is_file())
}

/// Ports nobody listens on.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

impl Cluster {
    /// Starts a controller and so many brokers with their data in `directory`; nothing if there is
    /// no `fluvio-run` on the PATH.
    ///
    /// The processes die with the thread that starts them: call it from one that lives long.
    pub async fn start(brokers: usize, directory: &Path) -> Option<Self> {
        let binary = binary("fluvio-run")?;
        let path = |name: &str| directory.join(name);
        let [public, private] = free_ports();
        let process = |args: Vec<String>, log: PathBuf| {
            let mut process = Process { child: None, binary: binary.clone(), args, log };
            process.start();
            process
        };
        let local = |port: u16| format!("127.0.0.1:{port}");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let metadata = path("metadata");
        std::fs::create_dir(&metadata).unwrap();
        let args =
            ["sc", "--local", &text(&metadata), "--bind-public", &local(public), "--bind-private", &local(private)];
        let controller = process(args.map(str::to_owned).to_vec(), path("controller.log"));
        let address = local(public);
        let mut started = Vec::new();
        for n in 0..brokers {
            let id = FIRST_BROKER + i32::try_from(n).unwrap();
            let [outside, inside] = free_ports();
            let spec = CustomSpuSpec {
                id,
                public_endpoint: IngressPort::from_port_host(outside, "127.0.0.1".to_owned()),
                private_endpoint: Endpoint { port: inside, host: "127.0.0.1".to_owned(), ..Default::default() },
                rack: None,
                public_endpoint_local: None,
            };
            until("the controller registers a broker", async || {
                let Ok(admin) = admin(&address).await else { return false };
                admin.create(format!("custom-spu-{id}"), false, spec.clone()).await.is_ok()
            })
            .await;
            let data = path(&format!("data-{id}"));
            std::fs::create_dir(&data).unwrap();
            let (id, data) = (id.to_string(), text(&data));
            let args = [
                "spu",
                "-i",
                &id,
                "-p",
                &local(outside),
                "-v",
                &local(inside),
                "--sc-addr",
                &local(private),
                "--log-base-dir",
                &data,
            ];
            started.push(Mutex::new(process(args.map(str::to_owned).to_vec(), path(&format!("broker-{id}.log")))));
        }
        let cluster = Self { address, controller: Mutex::new(controller), brokers: started };
        until("all brokers are up", async || cluster.online().await == brokers).await;
        Some(cluster)
    }

    /// How many brokers the controller sees.
    pub async fn online(&self) -> usize {
        let Ok(admin) = admin(&self.address).await else { return 0 };
        let brokers = admin.all::<SpuSpec>().await.unwrap_or_default();
        brokers.iter().filter(|broker| broker.status.is_online()).count()
    }

    /// `kill -9` for a broker.
    pub fn kill_broker(&self, n: usize) {
        self.brokers[n].lock().kill();
    }

    /// Starts it again on its port and its data.
    pub fn start_broker(&self, n: usize) {
        self.brokers[n].lock().start();
    }

    /// `kill -9` for the controller.
    pub fn kill_controller(&self) {
        self.controller.lock().kill();
    }

    /// Starts it again on its port and its metadata.
    pub fn start_controller(&self) {
        self.controller.lock().start();
    }

    /// The number of the broker that leads partition 0 of a topic.
    pub async fn leader(&self, topic: &str) -> usize {
        use fluvio::metadata::partition::PartitionSpec;
        let partitions = admin(&self.address).await.unwrap().all::<PartitionSpec>().await.unwrap();
        let name = format!("{topic}-0");
        let leader = partitions.iter().find(|p| p.name == name).unwrap().spec.leader;
        usize::try_from(leader - FIRST_BROKER).unwrap()
    }
}

async fn admin(address: &str) -> Result<FluvioAdmin, String> {
    let config = FluvioClusterConfig::new(address);
    let connecting = FluvioAdmin::connect_with_config(&config);
    let connected = tokio::time::timeout(Duration::from_secs(5), connecting).await;
    connected.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

/// Deletes a topic.
pub async fn delete_topic(address: &str, name: &str) {
    admin(address).await.unwrap().delete::<TopicSpec>(name.to_owned()).await.unwrap();
}

/// Starts a cluster from a thread that lives as long as the program, for the length of one test.
pub async fn cluster(suite: &str, brokers: usize) -> Option<Throwaway> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (reply, started) = tokio::sync::oneshot::channel();
    let path = directory.path().to_owned();
    keep_running(move |runtime| {
        let cluster = runtime.block_on(Cluster::start(brokers, &path)).map(Arc::new);
        reply.send(cluster.clone()).unwrap_or_else(|_| panic!("the test ended"));
    });
    let cluster = started.await.unwrap();
    if cluster.is_none() {
        not_run(suite, "there is no `fluvio-run` on the PATH");
    }
    Some(Throwaway { cluster: cluster?, _directory: directory })
}

/// A cluster for one test, and its data.
pub struct Throwaway {
    pub cluster: Arc<Cluster>,
    _directory: tempfile::TempDir,
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        self.cluster.kill_controller();
        (0..self.cluster.brokers.len()).for_each(|n| self.cluster.kill_broker(n));
    }
}

/// Runs `start` on a thread that never ends: processes die with the thread that started them.
fn keep_running(start: impl FnOnce(&tokio::runtime::Runtime) + Send + 'static) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        start(&runtime);
        loop {
            std::thread::park();
        }
    });
}

/// The address of the cluster that the tests of this file share: the one in
/// `MILLRACE_TEST_FLUVIO`, else one of two brokers, started once.
pub fn shared(suite: &str) -> Option<String> {
    static ADDRESS: OnceLock<Option<String>> = OnceLock::new();
    let address = ADDRESS.get_or_init(|| {
        if let Ok(address) = std::env::var("MILLRACE_TEST_FLUVIO") {
            return Some(address.trim_start_matches("fluvio://").to_owned());
        }
        // One directory, emptied by the next run: nothing runs any more when the program ends.
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shared-fluvio");
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let (reply, started) = mpsc::channel();
        keep_running(move |runtime| {
            let cluster = runtime.block_on(Cluster::start(2, &directory));
            reply.send(cluster.as_ref().map(|c| c.address.clone())).unwrap();
            std::mem::forget(cluster);
        });
        started.recv().unwrap()
    });
    if address.is_none() {
        not_run(suite, "there is no `fluvio-run` on the PATH, and no cluster in MILLRACE_TEST_FLUVIO");
    }
    address.clone()
}

/// A prefix no other test uses.
pub fn prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::SeqCst);
    let run = uuid::Uuid::new_v4().simple().to_string();
    format!("t{}-{n}", &run[..8])
}

/// Topics of a prefix on a cluster, opened as often as one likes.
pub struct OnCluster {
    pub address: String,
    pub prefix: String,
    pub replication: u32,
    pub clock: Arc<TestClock>,
    pub generations: Arc<MemoryGenerations>,
}

impl OnCluster {
    pub fn new(address: impl Into<String>, replication: u32) -> Self {
        Self {
            address: address.into(),
            prefix: prefix(),
            replication,
            clock: Arc::new(TestClock::at(Timestamp::from_millis(1_700_000_000_000))),
            generations: Arc::default(),
        }
    }

    pub fn url(&self) -> String {
        format!("fluvio://{}?replication={}&prefix={}", self.address, self.replication, self.prefix)
    }

    pub fn options(&self) -> FluvioLogOptions {
        let clock: Arc<dyn Clock> = self.clock.clone();
        FluvioLogOptions {
            request_timeout: Duration::from_secs(20),
            provision_timeout: LONG,
            ..FluvioLogOptions::new(clock, self.generations.clone())
        }
    }

    pub async fn log(&self) -> Arc<FluvioLog> {
        FluvioLog::open(&self.url(), self.options()).await.unwrap()
    }
}

#[async_trait]
impl Backend for OnCluster {
    async fn open(&self) -> Arc<dyn EventLog> {
        self.log().await
    }

    fn clock(&self) -> &TestClock {
        &self.clock
    }
}
