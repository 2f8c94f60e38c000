//! Servers that a measurement starts for itself, on free ports, and stops when it ends.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use nix::sys::{prctl::set_pdeathsig, signal::Signal};
use tokio::time::Instant;

/// The longest a server may take until it answers.
const START: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(10);

/// The program of this name, if there is one on the PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Ports that nobody listens on.
///
/// # Errors
/// The loopback interface gives none.
pub fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
        *port = listener.local_addr()?.port();
        // Held until all are taken, so that no two are the same.
        listeners.push(listener);
    }
    Ok(ports)
}

/// A process of a server, killed with the value, and by the kernel if this process ends before.
pub struct Server {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Server {
    /// Starts `binary`; what it prints goes to a file in `folder`. It dies with the thread that
    /// calls this: call it from the main thread.
    ///
    /// # Errors
    /// The program can't be started.
    pub fn start(binary: &Path, arguments: &[String], folder: &Path, name: &str) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log)?;
        let mut command = Command::new(binary);
        command.args(arguments).env("HOME", folder).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        // SAFETY: `prctl` may be called between fork and exec.
        unsafe {
            command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
        }
        let child = command.spawn().with_context(|| format!("{} can't be started", binary.display()))?;
        Ok(Self { child, name: name.to_owned(), log })
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tries `ready` until it succeeds.
    ///
    /// # Errors
    /// The server ended, or it did not answer in time; with the end of what it printed.
    pub async fn until_ready<T>(&mut self, mut ready: impl AsyncFnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + START;
        loop {
            let error = match tokio::time::timeout_at(deadline, ready()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "no answer".to_owned(),
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, self.last_words());
            }
            ensure!(Instant::now() < deadline, "{} was not ready in time: {error}; {}", self.name, self.last_words());
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" | ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
