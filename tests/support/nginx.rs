//! The edge: nginx with the configuration of `deploy/edge` before a running server.

use std::{
    fs::File,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::{prctl, signal::Signal},
    unistd::geteuid,
};
use serde_json::Value;

use super::{
    api::{Api, Credentials, Site},
    processes::signal,
    server::Server,
    wait::{SHORT, wait_until},
};

/// nginx on free ports. It is stopped when this is dropped.
pub struct Edge {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    status: String,
    folder: tempfile::TempDir,
    child: Child,
}

/// The folder of the edge's configuration.
pub fn configuration() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/edge")
}

/// nginx, if it is there; Debian keeps it where only root's PATH looks.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.find_map(|folder| Some(folder.join("nginx")).filter(|file| file.is_file()))
}

/// Two ports that were free a moment ago.
fn free_ports() -> [u16; 2] {
    [(); 2]
        .map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a port"))
        .map(|listener| listener.local_addr().expect("its address").port())
}

/// Everything of the configuration as it is delivered, with addresses of its own.
fn write(folder: &Path, listen: u16, status: u16, playback: &str, ingest: &str) {
    let (from, to) = (configuration(), folder.join("edge"));
    std::fs::create_dir_all(to.join("settings")).expect("a folder");
    for name in ["nginx.conf", "headers.conf", "media.conf", "pass.conf", "settings/store.conf"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let upstream = |role: &str, address: &str| {
        let address = address.trim_start_matches("http://");
        format!("upstream {role} {{ server {address} max_fails=0; keepalive 16; }}\n")
    };
    for (name, text) in [
        ("listen", format!("listen 127.0.0.1:{listen};\n")),
        ("status", format!("listen 127.0.0.1:{status};\n")),
        ("upstreams", upstream("playback", playback) + &upstream("ingest", ingest)),
    ] {
        std::fs::write(to.join(format!("settings/{name}.conf")), text).expect("a setting");
    }
}

impl Edge {
    /// Starts this nginx before a server and waits until it answers.
    pub async fn start(nginx: &Path, origin: &Server) -> Self {
        Self::before(nginx, &origin.url, &origin.url).await
    }

    /// Starts it before a playback role and an ingest role.
    pub async fn before(nginx: &Path, playback: &str, ingest: &str) -> Self {
        for _ in 0..5 {
            let folder = tempfile::Builder::new().prefix("millrace-edge-").tempdir().expect("a folder");
            let [listen, status] = free_ports();
            write(folder.path(), listen, status, playback, ingest);
            let mut command = Command::new(nginx);
            command
                .args(["-e", "stderr"])
                .arg("-p")
                .arg(folder.path())
                .arg("-c")
                .arg(folder.path().join("edge/nginx.conf"));
            // Workers of root's nginx are nobody otherwise, to whom the folder is closed.
            let user = if geteuid().is_root() { "user root; " } else { "" };
            command.arg("-g").arg(format!("{user}worker_shutdown_timeout 1s;"));
            let errors = File::create(folder.path().join("errors.log")).expect("a log");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
            // SAFETY: the closure makes one system call, which is safe between fork and exec.
            // SIGTERM lets the master end its workers.
            unsafe {
                command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGTERM)?));
            }
            let child = command.spawn().expect("nginx starts");
            let urls = [listen, status].map(|port| format!("http://127.0.0.1:{port}"));
            let [url, status] = urls;
            let mut edge = Self { url, status, folder, child };
            if edge.answers().await {
                return edge;
            }
            assert!(edge.errors().contains("in use"), "nginx ended at once:\n{}", edge.errors());
        }
        panic!("no free ports were found");
    }

    async fn answers(&mut self) -> bool {
        let probe = Api::new(&self.status, Credentials::None);
        wait_until("nginx answers", SHORT, async || {
            if self.child.try_wait().expect("its state").is_some() {
                return Ok(false);
            }
            let reply = probe.try_send(probe.request(reqwest::Method::GET, "/healthz")).await;
            reply.map(|reply| reply.status == 200).map_err(|error| error.to_string())
        })
        .await
    }

    /// The same person, by way of the edge.
    pub fn for_(&self, api: &Api) -> Api {
        Api::new(&self.url, api.credentials.clone())
    }

    /// A client of nobody signed in.
    pub fn stranger(&self) -> Api {
        Api::new(&self.url, Credentials::None)
    }

    /// Requests that nginx has read and not yet answered, the question itself not counted.
    pub async fn under_way(&self) -> u64 {
        let text = Api::new(&self.status, Credentials::None).get("/status").await.expect(200).text();
        let writing = text.split("Writing: ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        writing.map_or_else(|| panic!("{text}"), |writing: u64| writing - 1)
    }

    /// The log of media requests.
    pub fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("media.log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// What nginx complains of.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("errors.log")).unwrap_or_default()
    }
}

impl Site for Edge {
    fn address(&self) -> &str {
        &self.url
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // Not SIGKILL, which would leave the workers behind.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            signal(self.child.id(), Signal::SIGTERM);
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- what nginx complained of ---\n{}", self.errors());
        }
    }
}
