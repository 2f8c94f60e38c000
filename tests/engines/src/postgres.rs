//! PostgreSQL. It refuses to run as root; started by root it runs as the user `postgres`.

use std::{
    io::BufReader,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Sender, channel},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid, User, chown},
};
use tempfile::TempDir;

use crate::process::{free_ports, spawn};

/// The password of the user `millrace`; its `@` must be percent-encoded in a URL.
const PASSWORD: &str = "se@cret";

/// A server, stopped when dropped.
pub struct Postgres {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Postgres {
    /// Makes a cluster and starts its server, with `fsync` on.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn start() -> Result<Self, String> {
        let programs = programs()?;
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        if let Some(user) = other_user()? {
            chown(folder.path(), Some(user.uid), Some(user.gid)).map_err(|error| error.to_string())?;
        }
        let password = folder.path().join("password");
        std::fs::write(&password, PASSWORD).map_err(|error| error.to_string())?;
        let made = command(&programs.join("initdb"))?
            .arg("--pgdata")
            .arg(folder.path().join("data"))
            .args(["--username=millrace", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", "--no-instructions"])
            .args(["--locale=C.UTF-8", "--pwfile"])
            .arg(&password)
            .output()
            .map_err(|error| format!("initdb: {error}"))?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)));
        }
        let [port] = free_ports();
        let mut server = Self { programs, folder, port, child: None };
        server.restart()?;
        Ok(server)
    }

    /// Starts the server on its port and data.
    ///
    /// # Errors
    /// What it said when it ended.
    pub fn restart(&mut self) -> Result<(), String> {
        let mut command = command(&self.programs.join("postgres"))?;
        command.arg("-D").arg(self.folder.path().join("data")).arg("-k").arg(self.folder.path());
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300", "-p", &self.port.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = spawn(command)?;
        let (ready, is_ready) = channel();
        if let Some(stderr) = child.stderr.take() {
            std::thread::spawn(move || watch(BufReader::new(stderr), &ready));
        }
        self.child = Some(child);
        is_ready.recv().map_err(|_| "the server ended".to_owned())?
    }

    /// Stops it as `pg_ctl stop -m immediate` does: like a crash.
    pub fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
            let _ = kill(pid, Signal::SIGQUIT);
            let _ = child.wait();
        }
    }

    /// The URL of a database; `postgres` exists.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://millrace:{}@127.0.0.1:{}/{database}", PASSWORD.replace('@', "%40"), self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.crash();
    }
}

/// Tells once that the server is ready, or what it said when it ended before, and reads on so that
/// it can write.
fn watch(lines: impl std::io::BufRead, ready: &Sender<Result<(), String>>) {
    let mut said = String::new();
    for line in lines.lines().map_while(Result::ok) {
        if line.contains("database system is ready to accept connections") {
            let _ = ready.send(Ok(()));
        }
        if said.len() < 4096 {
            said.push_str(&line);
            said.push('\n');
        }
    }
    let _ = ready.send(Err(said));
}

/// Whom the server runs as, if not as who runs the test.
fn other_user() -> Result<Option<User>, String> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres").map_err(|error| error.to_string())?;
    user.map(Some).ok_or_else(|| "root can't run PostgreSQL, and there is no user `postgres`".to_owned())
}

fn command(program: &Path) -> Result<Command, String> {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C.UTF-8").current_dir("/");
    if let Some(user) = other_user()? {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    Ok(command)
}

/// Where the server's programs lie: on the PATH, or where Debian puts the latest.
fn programs() -> Result<PathBuf, String> {
    let mut folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let mut versions: Vec<u32> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable();
    folders.extend(versions.iter().rev().map(|version| format!("/usr/lib/postgresql/{version}/bin").into()));
    folders
        .into_iter()
        .find(|folder| folder.join("postgres").exists() && folder.join("initdb").exists())
        .ok_or_else(|| "no PostgreSQL server is installed (Debian: apt install postgresql)".to_owned())
}
