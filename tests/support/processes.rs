//! Processes as `/proc` shows them, and signals to those that a test has started.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// What `/proc/PID/stat` says: the state's letter and the parent.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let mut fields = text[text.rfind(')')? + 1..].split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether the process runs; one that has ended and is not reaped does not.
pub fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// The processes that `parent` has started and that still run.
pub fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|(state, of)| of == parent && state != 'Z'))
        .collect()
}

/// The transcoding children of a server.
pub fn transcoders(server: u32) -> Vec<u32> {
    let is_transcoder = |pid: &u32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).nth(1) == Some(b"transcode-child")
    };
    children(server).into_iter().filter(is_transcoder).collect()
}

/// Sends a signal.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id"));
    kill(pid, signal).unwrap_or_else(|error| panic!("{signal} to {pid}: {error}"));
}
