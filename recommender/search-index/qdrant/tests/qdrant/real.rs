//! A real server for a test: a throw-away one on free ports, with its data in a directory of its
//! own, or one that the environment names.

use std::{
    env,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Says that `suite` can't be run here, past the capture of what passing tests print. Qdrant comes
/// from no registry of packages, so that it is never required.
pub fn not_run(suite: &str, why: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "not run: {suite}: {why}");
}

fn program() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join("qdrant")).find(|path| path.is_file())
}

/// The address of a running server, if the environment names one.
pub fn named() -> Option<String> {
    env::var("MILLRACE_TEST_QDRANT").ok().filter(|address| !address.is_empty())
}

/// A server of the test's own.
pub struct Real {
    child: tokio::process::Child,
    pub http: u16,
    pub grpc: u16,
    key: Option<&'static str>,
}

impl Real {
    /// A server with its data in `directory`; none, said aloud, where there is no program.
    pub async fn start(suite: &str, directory: &Path, key: Option<&'static str>) -> Option<Self> {
        let Some(program) = program() else {
            not_run(suite, "no qdrant on the PATH");
            return None;
        };
        let ports = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [http, grpc] = ports.map(|listener| listener.local_addr().unwrap().port());
        Some(Self::start_on(&program, directory, http, grpc, key).await)
    }

    async fn start_on(program: &Path, directory: &Path, http: u16, grpc: u16, key: Option<&'static str>) -> Self {
        let mut command = Command::new(program);
        command
            .current_dir(directory)
            .env("QDRANT__SERVICE__HOST", "127.0.0.1")
            .env("QDRANT__SERVICE__HTTP_PORT", http.to_string())
            .env("QDRANT__SERVICE__GRPC_PORT", grpc.to_string())
            .env("QDRANT__STORAGE__STORAGE_PATH", directory.join("storage"))
            .env("QDRANT__STORAGE__SNAPSHOTS_PATH", directory.join("snapshots"))
            .env("QDRANT__STORAGE__TEMP_PATH", directory.join("temp"))
            .env("QDRANT__TELEMETRY_DISABLED", "true")
            .env("QDRANT__LOG_LEVEL", "INFO")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(key) = key {
            command.env("QDRANT__SERVICE__API_KEY", key);
        }
        // SAFETY: between fork and exec only prctl is called, which is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).map_err(std::io::Error::from)
            });
        }
        let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        loop {
            let line = lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("the server ended: {said}"));
            said.push_str(&line);
            said.push('\n');
            if line.contains("gRPC listening on") {
                break;
            }
        }
        // Who reads nothing stops the server in the end.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, http, grpc, key }
    }

    pub fn url(&self, collection: &str) -> String {
        let key = self.key.map_or_else(String::new, |key| format!(":{key}@"));
        format!("qdrant://{key}127.0.0.1:{}?collection={collection}&rest_port={}", self.grpc, self.http)
    }

    /// Ends the server; `again` starts one in its place.
    pub async fn stop(mut self) -> (u16, u16) {
        self.child.kill().await.unwrap();
        (self.http, self.grpc)
    }

    pub async fn again(directory: &Path, (http, grpc): (u16, u16)) -> Self {
        Self::start_on(&program().unwrap(), directory, http, grpc, None).await
    }
}

/// Addresses of collections that no one else uses, on a server of the test's own or a named one.
pub enum Somewhere {
    Own(Box<Real>, #[allow(dead_code, reason = "lives as long as the server")] tempfile::TempDir),
    Named(String),
}

impl Somewhere {
    pub async fn find(suite: &str) -> Option<Self> {
        if let Some(address) = named() {
            return Some(Self::Named(address));
        }
        let directory = tempfile::tempdir().unwrap();
        let real = Real::start(suite, directory.path(), None).await?;
        Some(Self::Own(Box::new(real), directory))
    }

    pub fn url(&self) -> String {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Own(real, _) => real.url(&format!("test-{number}")),
            Self::Named(address) => {
                let name = format!("collection={}{number}", named_prefix());
                if address.contains('?') { format!("{address}&{name}") } else { format!("{address}?{name}") }
            }
        }
    }

    /// Takes the collections of this test run off a named server.
    pub async fn clean(&self) {
        let Self::Named(address) = self else { return };
        let url: url::Url = address.parse().unwrap();
        let tls = url.query_pairs().any(|(key, value)| key == "tls" && value == "true");
        let scheme = if tls { "https" } else { "http" };
        let grpc = format!("{scheme}://{}:{}", url.host_str().unwrap(), url.port().unwrap_or(6334));
        let key = url.password().map(str::to_owned);
        let client = qdrant_client::Qdrant::from_url(&grpc).api_key(key).skip_compatibility_check().build().unwrap();
        for collection in client.list_collections().await.unwrap().collections {
            if collection.name.starts_with(&named_prefix()) {
                client.delete_collection(collection.name).await.unwrap();
            }
        }
    }
}

fn named_prefix() -> String {
    format!("millrace-test-{}-", std::process::id())
}
