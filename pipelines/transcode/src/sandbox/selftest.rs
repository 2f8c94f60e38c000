//! What a child tries from inside its sandbox, to show that the walls stand.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::unix::{net::UnixStream, process::CommandExt},
    process::Command,
};

use nix::libc;
use serde::{Deserialize, Serialize};

/// The outcome of trying what must be denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// Each attempt.
    pub attempts: Vec<Attempt>,
}

/// One thing tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What, such as `open a file`.
    pub what: String,
    /// True if it failed, as it must.
    pub denied: bool,
    /// The error met, if any.
    pub error: Option<String>,
}

impl SelfTest {
    /// True if everything was denied.
    #[must_use]
    pub fn all_denied(&self) -> bool {
        !self.attempts.is_empty() && self.attempts.iter().all(|attempt| attempt.denied)
    }
}

pub(super) fn run() -> SelfTest {
    let nowhere = (Ipv4Addr::LOCALHOST, 9);
    let mut attempts = Vec::new();
    let mut tried = |what: &str, outcome: io::Result<()>| {
        attempts.push(Attempt {
            what: what.to_owned(),
            // A connection that is refused was attempted.
            denied: outcome.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)),
            error: outcome.err().map(|error| error.to_string()),
        });
    };
    tried("open a file", File::open("/etc/passwd").map(drop));
    tried("create a file", File::create("/tmp/millrace-sandbox-test").map(drop));
    tried("list a directory", std::fs::read_dir("/").map(drop));
    tried("read a file's attributes", std::fs::metadata("/etc/passwd").map(drop));
    tried("connect to an address", TcpStream::connect(nowhere).map(drop));
    tried("listen on an address", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop));
    tried("send a datagram", UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop));
    tried("open a local socket", UnixStream::pair().map(drop));
    tried("start a program", Command::new("/bin/true").spawn().map(drop));
    // Were it allowed, this process would become the program and never report.
    tried("become a program", Err(Command::new("/bin/true").exec()));
    tried("fork", fork());
    tried("trace a process", trace());
    tried("signal another process", signal_parent());
    tried("make memory executable", executable_memory());
    SelfTest { attempts }
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn fork() -> io::Result<()> {
    // SAFETY: should the call succeed, the new process does nothing but end at once, by a call that
    // runs no destructors and takes no locks.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(0);
        }
        check(pid.into())
    }
}

fn trace() -> io::Result<()> {
    // SAFETY: process 0 never exists, so that the call changes nothing even where it is allowed.
    check(unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_SEIZE, 0, 0, 0) })
}

fn signal_parent() -> io::Result<()> {
    // SAFETY: signal 0 only asks whether the process could be signalled.
    check(unsafe { libc::syscall(libc::SYS_kill, libc::getppid(), 0) })
}

fn executable_memory() -> io::Result<()> {
    let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh anonymous mapping that nothing refers to; left to the end of the process.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}
