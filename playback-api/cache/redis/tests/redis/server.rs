//! A Redis that lives as long as a test.

use std::{
    io::{BufRead, BufReader, Write as _},
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serving_store_redis::{Options, RedisStore};
use tempfile::TempDir;

/// Says past the capture of what passing tests print that something could not be run.
pub fn not_run(why: &str) {
    let _ = writeln!(std::io::stderr(), "not run: serving-store-redis: {why}");
    assert!(std::env::var("MILLRACE_REQUIRE_ALL").as_deref() != Ok("1"), "{why}");
}

/// A server, its port and its data.
pub struct Server {
    child: Option<Child>,
    pub port: u16,
    data: TempDir,
    arguments: Vec<String>,
}

impl Server {
    /// One that keeps nothing on disk; none if there is no such program.
    pub fn start() -> Option<Self> {
        Self::with(&["--save", ""])
    }

    /// One with further arguments.
    pub fn with(arguments: &[&str]) -> Option<Self> {
        let there = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        if there.is_err() {
            not_run("no redis-server on the PATH");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut server = Self { child: None, port, data: TempDir::new().unwrap(), arguments };
        server.run();
        Some(server)
    }

    /// Starts the server, again on the same port and data, and waits until it takes connections.
    pub fn run(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"]).arg(self.data.path());
        command.args(["--unixsocket", "redis.sock", "--enable-debug-command", "local"]).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // SAFETY: between fork and exec only this one system call is made, which allocates nothing.
        unsafe {
            command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut lines = String::new();
        while !lines.contains("Ready to accept connections") {
            assert!(log.read_line(&mut lines).unwrap() > 0, "redis-server ended:\n{lines}");
        }
        // Read on, so that the server never waits for us.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        self.child = Some(child);
    }

    /// Stops it the orderly way, so that it saves what it is told to save.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.child.take().unwrap().wait().unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().unwrap().id();
        kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn data(&self) -> &Path {
        self.data.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.data().join("redis.sock")
    }

    /// A store in this server with a prefix of its own.
    pub async fn store(&self) -> std::sync::Arc<RedisStore> {
        RedisStore::open(&self.url(), &fresh()).await.unwrap()
    }

    /// A connection that knows nothing of stores.
    pub async fn raw(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Options with a prefix that nobody else uses, and time enough for a busy machine.
pub fn fresh() -> Options {
    let prefix = format!("millrace-test-{:016x}:", rand::random::<u64>());
    Options { prefix, call_timeout: event_schemas::Millis::from_secs(20), ..Options::default() }
}
