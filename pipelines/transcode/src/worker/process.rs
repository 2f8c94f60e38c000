//! The child as a process: started with nothing but a socket, killed when its owner lets go of it, and
//! always reaped.

use std::{
    ffi::OsString,
    io::{self, Read},
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use tokio::{net::UnixStream, sync::oneshot};

/// The program to start as a child, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildProgram {
    /// The program.
    pub path: PathBuf,
    /// Its arguments; they must lead it straight to [`crate::child::child_main`].
    pub arguments: Vec<OsString>,
}

impl ChildProgram {
    /// This very program with the hidden subcommand `transcode-child`.
    ///
    /// # Errors
    /// The program's path can't be found out.
    pub fn current() -> io::Result<Self> {
        Ok(Self { path: std::env::current_exe()?, arguments: vec!["transcode-child".into()] })
    }
}

/// What a child wrote to standard error, cut to this length.
const MAX_STDERR: u64 = 8 << 10;

/// How a child ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: io::Result<ExitStatus>,
    pub(super) stderr: String,
}

/// A running child. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    reaped: Arc<Mutex<bool>>,
    ended: oneshot::Receiver<Ended>,
}

impl Process {
    /// Starts a child; returns it with the worker's end of its socket.
    ///
    /// A thread that lives as long as the child starts and reaps it: the child asks to be killed when
    /// the thread that started it ends, and a thread of the runtime may end at any time.
    pub(super) async fn start(program: &ChildProgram) -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let stream = UnixStream::from_std(ours)?;
        let mut command = Command::new(&program.path);
        command
            .args(&program.arguments)
            .env_clear()
            // Few heaps, so that the limit on address space measures use.
            .env("MALLOC_ARENA_MAX", "2")
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let reaped = Arc::new(Mutex::new(false));
        let (started, starting) = oneshot::channel();
        let (ended_sender, ended) = oneshot::channel();
        let flag = Arc::clone(&reaped);
        std::thread::Builder::new()
            .name("transcode-child".to_owned())
            .spawn(move || supervise(command, started, ended_sender, &flag))?;
        let pid = starting.await.map_err(io::Error::other)??;
        Ok((Self { pid, reaped, ended }, stream))
    }

    /// The process id.
    pub(super) fn id(&self) -> u32 {
        u32::try_from(self.pid.as_raw()).unwrap_or(0)
    }

    /// Kills the process, unless it has ended.
    pub(super) fn kill(&self) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            // Not reaped: the id is still this child's. It may have ended a moment ago, which is fine.
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }

    /// Resolves when the process has ended and been reaped. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Ended {
        match (&mut self.ended).await {
            Ok(ended) => ended,
            Err(lost) => Ended { status: Err(io::Error::other(lost)), stderr: String::new() },
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn supervise(
    mut command: Command,
    started: oneshot::Sender<io::Result<Pid>>,
    ended: oneshot::Sender<Ended>,
    reaped: &Mutex<bool>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    // Closes our copy of the child's end of the socket.
    drop(command);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
    if started.send(Ok(pid)).is_err() {
        // Nobody waits any more.
        let _ = child.kill();
    }
    let mut stderr = Vec::new();
    if let Some(pipe) = child.stderr.take() {
        // What comes after the limit is lost, and the pipe closed on it.
        let _ = pipe.take(MAX_STDERR).read_to_end(&mut stderr);
    }
    // Wait without reaping, then reap under the lock: nobody signals an id that has been given away.
    let waited = loop {
        match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other,
        }
    };
    let status = {
        let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
        let status = waited.map_err(io::Error::from).and_then(|_| child.wait());
        *reaped = true;
        status
    };
    let _ = ended.send(Ended { status, stderr: String::from_utf8_lossy(&stderr).trim().to_owned() });
}
