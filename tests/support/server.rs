//! The real program, `millrace serve`, on a data directory of its own.

use std::{
    fs::OpenOptions,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use nix::sys::{prctl, signal::Signal};
use reqwest::Method;

use super::{
    api::{Api, Credentials, Site},
    command::millrace,
    processes::signal,
    wait::{LONG, wait_until},
};

/// Quick to commit and refresh, so that tests need not wait for figures.
const SETTINGS: [&str; 3] = ["lake.commit_ms=200", "lake.refresh_ms=200", "shutdown_ms=5000"];

const READY: &str = "/readyz";

/// A server. It is killed when this is dropped; should the test fail, its log is shown.
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    folder: tempfile::TempDir,
    settings: Vec<String>,
    /// Variables of the process, such as credentials that the program takes from there.
    variables: Vec<(String, String)>,
    port: u16,
    child: Option<Child>,
}

/// A port that was free a moment ago. It is sought below the ports that the system gives to
/// outgoing connections, so that none of these takes it while a server restarts.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different places.
    let base = u16::try_from(std::process::id() % 100).expect("below 100") * 100;
    loop {
        let port = 20_000 + (base + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Server {
    /// Starts a server with these settings, each `key=value`, and waits until it is ready.
    pub async fn start(settings: &[&str]) -> Self {
        Self::start_in(tempfile::Builder::new().prefix("millrace-test-").tempdir().expect("a folder"), settings).await
    }

    /// Starts a server that keeps everything in this folder.
    pub async fn start_in(folder: tempfile::TempDir, settings: &[&str]) -> Self {
        Self::start_as(folder, settings, &[]).await
    }

    /// Starts a server with these variables too.
    pub async fn start_as(folder: tempfile::TempDir, settings: &[&str], variables: &[(String, String)]) -> Self {
        let settings = SETTINGS.iter().chain(settings).map(|set| (*set).to_owned()).collect();
        let mut server =
            Self { url: String::new(), folder, settings, variables: variables.to_vec(), port: 0, child: None };
        for _ in 0..5 {
            server.port = free_port();
            server.url = format!("http://127.0.0.1:{}", server.port);
            server.spawn(&[]);
            if server.answers(READY).await {
                return server;
            }
            assert!(server.log().contains("in use"), "the server ended at once:\n{}", server.log());
        }
        panic!("no free port was found");
    }

    fn spawn(&mut self, more: &[&str]) {
        assert!(self.child.is_none(), "the server runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("the server's log");
        let mut command = millrace();
        command.current_dir(self.folder()).arg("--data-dir").arg(self.data());
        for set in self.settings.iter().map(String::as_str).chain(more.iter().copied()) {
            command.args(["--set", set]);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(["serve", "--listen", &format!("127.0.0.1:{}", self.port)]);
        command.stdout(log.try_clone().expect("the log")).stderr(log);
        // SAFETY: the closure makes one system call, which is safe between fork and exec. Should
        // the test's thread end without a destructor, the server ends with it.
        unsafe {
            command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        self.child = Some(command.spawn().expect("the program starts"));
    }

    /// Waits until this address is answered with 200; false if the server ended instead.
    async fn answers(&mut self, path: &str) -> bool {
        let stranger = self.stranger();
        let child = self.child.as_mut().expect("a process");
        let ready = wait_until(format!("{path} is answered with 200"), LONG, async || {
            if child.try_wait().expect("its state").is_some() {
                return Ok(false);
            }
            match stranger.try_send(stranger.request(Method::GET, path)).await {
                Ok(reply) if reply.status == 200 => Ok(true),
                Ok(reply) => Err(reply.text()),
                Err(error) => Err(error.to_string()),
            }
        });
        let ready = ready.await;
        if !ready {
            self.child = None;
        }
        ready
    }

    /// The settings and variables that other commands need to reach what this server reaches.
    pub fn configure(&self, command: &mut std::process::Command) {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        for set in &self.settings {
            command.args(["--set", set]);
        }
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// The folder around the data directory.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// The files under a folder of the data directory, with their paths relative to it.
    pub fn files(&self, under: &str) -> Vec<String> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let (data, mut found) = (self.data(), Vec::new());
        walk(&data.join(under), &mut found);
        let relative = |path: &PathBuf| path.strip_prefix(&data).map_or_else(|_| path.clone(), Path::to_path_buf);
        let mut files: Vec<String> = found.iter().map(|path| relative(path).display().to_string()).collect();
        files.sort();
        files
    }

    fn log_path(&self) -> PathBuf {
        self.folder().join("server.log")
    }

    /// What the server has logged, restarts included.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A client of nobody signed in.
    pub fn stranger(&self) -> Api {
        Api::new(&self.url, Credentials::None)
    }

    /// The value of a metric with these labels since the server started; 0 before it first moves.
    pub async fn metric(&self, name_and_labels: &str) -> f64 {
        let text = self.stranger().get("/metrics").await.expect(200).text();
        let value = text.lines().find_map(|line| line.strip_prefix(name_and_labels)?.trim().parse().ok());
        value.unwrap_or(0.0)
    }

    /// `kill -9`, in the middle of whatever the server does.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it has ended");
    }

    /// Starts the server again on the same data directory and address.
    pub async fn restart(&mut self) {
        self.restart_with(&[]).await;
    }

    /// Starts the server again, with more settings.
    pub async fn restart_with(&mut self, more: &[&str]) {
        self.spawn(more);
        assert!(self.answers(READY).await, "the server did not come back:\n{}", self.log());
    }

    /// Starts the server again with settings under which it is alive but may say that it lacks
    /// something.
    pub async fn restart_lacking(&mut self, more: &[&str]) {
        self.spawn(more);
        assert!(self.answers("/healthz").await, "the server did not come back:\n{}", self.log());
    }

    /// SIGTERM; returns how the server ended.
    pub async fn terminate(&mut self, patience: Duration) -> ExitStatus {
        signal(self.pid(), Signal::SIGTERM);
        let child = self.child.as_mut().expect("the server runs");
        let status = wait_until("the server has ended after SIGTERM", patience, async || {
            child.try_wait().expect("its state").ok_or_else(|| "it runs".to_owned())
        });
        let status = status.await;
        self.child = None;
        status
    }
}

impl Site for Server {
    fn address(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the server's log, last lines ---");
            for line in &lines[lines.len().saturating_sub(60)..] {
                eprintln!("{}", line.chars().take(500).collect::<String>());
            }
        }
    }
}
