//! A throw-away PostgreSQL for tests: in a temporary folder, on a port of its own, gone with the test process.
//! PostgreSQL refuses to run as root; started by root it runs as the user `postgres`.

use std::{
    io::{BufReader, Write as _},
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Once,
        mpsc::{Sender, channel},
    },
};

use nix::{
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{Pid, Uid, User, chown},
};

/// The password of the user `millrace`; its `@` must be percent-encoded in a URL.
pub const PASSWORD: &str = "se@cret";

/// A server, stopped and removed when dropped.
pub struct Server {
    bin: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    fsync: &'static str,
    postmaster: Option<Child>,
}

impl Server {
    /// Makes a database cluster and starts its server. The cluster's locale sorts text as people do, not by bytes.
    pub fn start(fsync: &'static str) -> Result<Self, String> {
        let bin = bin_dir()?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        if let Some(user) = other_user()? {
            chown(folder.path(), Some(user.uid), Some(user.gid)).map_err(|error| error.to_string())?;
        }
        let password = folder.path().join("password");
        std::fs::write(&password, PASSWORD).map_err(|error| error.to_string())?;
        let made = command(&bin.join("initdb"))?
            .arg("--pgdata")
            .arg(folder.path().join("data"))
            .args(["--username=millrace", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", "--no-instructions"])
            .args(["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US", "--pwfile"])
            .arg(&password)
            .output()
            .map_err(|error| format!("initdb: {error}"))?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)));
        }
        let free = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let port = free.local_addr().map_err(|error| error.to_string())?.port();
        drop(free);
        let mut server = Self { bin, folder, port, fsync, postmaster: None };
        server.restart()?;
        Ok(server)
    }

    /// Starts the server again, on the same port and data.
    pub fn restart(&mut self) -> Result<(), String> {
        let mut command = command(&self.bin.join("postgres"))?;
        command
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .arg("-k")
            .arg(self.folder.path())
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300", "-c", "log_min_messages=log"])
            .args(["-c", "log_line_prefix=%e ", "-p"])
            .arg(self.port.to_string())
            .arg("-c")
            .arg(format!("fsync={}", self.fsync))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut postmaster = spawn(command)?;
        let (ready, is_ready) = channel();
        if let Some(stderr) = postmaster.stderr.take() {
            std::thread::spawn(move || watch(BufReader::new(stderr), &ready));
        }
        self.postmaster = Some(postmaster);
        is_ready.recv().map_err(|_| "the server ended".to_owned())?
    }

    /// Stops the server as `pg_ctl stop -m immediate` does: like a crash.
    pub fn crash(&mut self) {
        if let Some(mut postmaster) = self.postmaster.take() {
            let pid = Pid::from_raw(i32::try_from(postmaster.id()).unwrap());
            // A test may have stopped it.
            for signal in [Signal::SIGQUIT, Signal::SIGCONT] {
                nix::sys::signal::kill(pid, signal).unwrap();
            }
            postmaster.wait().unwrap();
        }
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://millrace:{}@127.0.0.1:{}/{database}", PASSWORD.replace('@', "%40"), self.port)
    }

    /// The process that the others are children of.
    pub fn pid(&self) -> i64 {
        self.postmaster.as_ref().map_or(0, |postmaster| postmaster.id().into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

/// Tells once that the server is ready, or what it said when it ended before, and reads on so that it can write.
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

/// A child gets its parent's death by the thread that made it, so all are made by one that lasts.
fn spawn(mut command: Command) -> Result<Child, String> {
    static SPAWNER: std::sync::OnceLock<Sender<(Command, Sender<std::io::Result<Child>>)>> = std::sync::OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = channel::<(Command, Sender<std::io::Result<Child>>)>();
        std::thread::spawn(move || {
            for (mut command, reply) in receiver {
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    // SAFETY: between fork and exec only `prctl` is called, which is async-signal-safe. It comes after the change
    // of user, which would undo it.
    unsafe { command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from)) };
    let (reply, child) = channel();
    spawner.send((command, reply)).map_err(|error| error.to_string())?;
    child.recv().map_err(|error| error.to_string())?.map_err(|error| error.to_string())
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

/// Where the server's programs lie: on the PATH, where `pg_config` says, or where Debian puts the latest.
fn bin_dir() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(told) = Command::new("pg_config").arg("--bindir").output() {
        candidates.push(String::from_utf8_lossy(&told.stdout).trim().into());
    }
    let mut versions: Vec<u32> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable();
    candidates.extend(versions.iter().rev().map(|version| format!("/usr/lib/postgresql/{version}/bin").into()));
    candidates
        .into_iter()
        .find(|dir| dir.join("postgres").exists() && dir.join("initdb").exists())
        .ok_or_else(|| "no PostgreSQL server is installed (Debian: apt install postgresql)".to_owned())
}

/// The server all tests of this process share, and where its maintenance database is; none if there is none.
/// `MILLRACE_TEST_POSTGRES` names a running one instead, by the URL of a database whose user may make others.
pub fn shared() -> Option<String> {
    static URL: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    URL.get_or_init(|| {
        if let Ok(url) = std::env::var("MILLRACE_TEST_POSTGRES") {
            return Some(url);
        }
        // What this server holds need not outlast the tests, so it need not wait for the disk.
        let server = started("off")?;
        let url = server.url("postgres");
        *SHARED.lock().unwrap() = Some(server);
        // SAFETY: `stop_shared` takes no argument, does not unwind, and the handler may be registered at any time.
        unsafe { libc::atexit(stop_shared) };
        Some(url)
    })
    .clone()
}

/// Whether the shared server goes on without the tests.
pub fn is_lasting() -> bool {
    std::env::var_os("MILLRACE_TEST_POSTGRES").is_some()
}

static SHARED: std::sync::Mutex<Option<Server>> = std::sync::Mutex::new(None);

extern "C" fn stop_shared() {
    if let Ok(mut server) = SHARED.lock() {
        drop(server.take());
    }
}

/// A server of the test's own; none, told once, where PostgreSQL is not installed.
pub fn started(fsync: &'static str) -> Option<Server> {
    static TOLD: Once = Once::new();
    match Server::start(fsync) {
        Ok(server) => Some(server),
        Err(why) => {
            let must = std::env::var("MILLRACE_REQUIRE_ALL").is_ok_and(|value| value == "1");
            assert!(!must, "the catalog's suite on PostgreSQL could not be run: {why}");
            TOLD.call_once(|| {
                let _ = writeln!(std::io::stderr(), "not run: the catalog's suite on PostgreSQL: {}", why.trim());
            });
            None
        }
    }
}
