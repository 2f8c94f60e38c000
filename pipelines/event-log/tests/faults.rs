//! The embedded log under `kill -9` and under a disk that fails for a while. Each test starts
//! this test binary again as the child that suffers it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use bytes::Bytes;
use event_log::{EmbeddedLog, EmbeddedLogOptions, EventLog, LogError, ReadLimit, Stream, TopicSpec};
use event_schemas::{ByteSize, Millis, Offset, Partition, SystemClock, Topic};

const STREAM: Stream = Stream::Main(Topic::Playback);
const CHILD: &str = "EVENT_LOG_TEST_DIRECTORY";
const ALL: ReadLimit = ReadLimit { records: usize::MAX, bytes: usize::MAX };

async fn open(directory: &Path) -> Arc<EmbeddedLog> {
    let options = EmbeddedLogOptions {
        segment_bytes: ByteSize(256 << 10),
        free_space_floor: ByteSize(0),
        ..EmbeddedLogOptions::new(directory, Arc::new(SystemClock))
    };
    let log = EmbeddedLog::open(options).unwrap();
    let (retain_for, retain_bytes) = (Millis::from_days(9), ByteSize::gib(1));
    log.ensure_topic(&TopicSpec { stream: STREAM, partitions: 2, retain_for, retain_bytes }).await.unwrap();
    log
}

fn child(test: &str, directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", test])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn record(caller: u32, n: u64) -> Bytes {
    Bytes::from(format!("{caller} {n} {:0900}", 0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of `what_was_acknowledged_survives_kill_9`"]
async fn child_that_is_killed() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let log = open(Path::new(&directory)).await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8u32 {
        let log = log.clone();
        callers.spawn(async move {
            for n in 0.. {
                let partition = Partition(caller % 2);
                let appended = log.append(STREAM, partition, vec![record(caller, n), record(caller, n)]).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "acked {} {} {caller} {n}", partition, appended.first).unwrap();
                out.flush().unwrap();
            }
        });
    }
    callers.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut acknowledged: Vec<(u32, u64, u32, u64)> = Vec::new();
    for round in 0..3 {
        let mut child = child("child_that_is_killed", &path);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            // The harness prints the test's name without ending the line.
            let Some((_, numbers)) = line.split_once("acked ") else { continue };
            let mut numbers = numbers.split(' ').map(|n| n.parse::<u64>().unwrap());
            let mut next = || numbers.next().unwrap();
            let (partition, first, caller, n) = (next(), next(), next(), next());
            let narrow = |n: u64| u32::try_from(n).unwrap();
            acknowledged.push((narrow(partition), first, narrow(caller), n));
            seen += 1;
            if seen == 300 + round * 111 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= 300, "the child ended early");
        let log = open(&path).await;
        for partition in 0..2 {
            let stored = log.read(STREAM, Partition(partition), Offset(0), ALL).await.unwrap();
            assert!(stored.iter().enumerate().all(|(n, r)| r.offset.0 == n as u64), "no gap");
            assert!(stored.len().is_multiple_of(2), "an append is there as a whole or not at all");
            for (_, first, caller, n) in acknowledged.iter().filter(|(p, ..)| *p == partition) {
                let at = usize::try_from(*first).unwrap();
                assert_eq!(stored[at].bytes, record(*caller, *n));
                assert_eq!(stored[at + 1].bytes, record(*caller, *n));
            }
        }
        log.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of `a_disk_that_fails_for_a_while_loses_nothing`"]
async fn child_whose_disk_fails() {
    use nix::sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigHandler, Signal, signal},
    };
    let Some(directory) = std::env::var_os(CHILD) else { return };
    // SAFETY: ignoring a signal installs no handler.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
    let log = open(Path::new(&directory)).await;
    let partition = Partition(0);
    let mut expected = Vec::new();
    for n in 0..20 {
        log.append(STREAM, partition, vec![record(0, n)]).await.unwrap();
        expected.push(record(0, n));
    }
    let waiting = {
        let log = log.clone();
        tokio::spawn(async move { log.wait(STREAM, Partition(1), Offset(0)).await })
    };
    // From here on every write beyond the first bytes of a file fails.
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 4096, hard).unwrap();
    let first = log.append(STREAM, partition, vec![record(1, 0)]).await.unwrap_err();
    assert!(first.is_unknown_outcome(), "{first}");
    let second = log.append(STREAM, partition, vec![record(1, 1)]).await.unwrap_err();
    assert!(matches!(second, LogError::Failed(_)), "{second}");
    assert!(log.check().await.is_err());
    assert!(log.read(STREAM, partition, Offset(0), ALL).await.is_err());
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    // Opened again by itself; each try waits for the appender's answer.
    while log.append(STREAM, partition, vec![]).await.is_err() {
        tokio::task::yield_now().await;
    }
    log.check().await.unwrap();
    let found = log.watermarks(STREAM, partition).await.unwrap().next;
    assert!(found == Offset(20) || found == Offset(21), "the unknown one is there or not: {found}");
    if found == Offset(21) {
        expected.push(record(1, 0));
    }
    for n in 2..10 {
        let appended = log.append(STREAM, partition, vec![record(1, n)]).await.unwrap();
        assert_eq!(appended.first, Offset(expected.len() as u64), "offsets go on without a gap");
        expected.push(record(1, n));
    }
    log.append(STREAM, Partition(1), vec![record(9, 9)]).await.unwrap();
    waiting.await.unwrap().unwrap();
    let bytes = |records: Vec<event_log::StoredRecord>| records.into_iter().map(|r| r.bytes).collect::<Vec<_>>();
    assert_eq!(bytes(log.read(STREAM, partition, Offset(0), ALL).await.unwrap()), expected);
    log.close().await;
    let log = open(Path::new(&directory)).await;
    assert_eq!(bytes(log.read(STREAM, partition, Offset(0), ALL).await.unwrap()), expected, "and after a restart");
    log.close().await;
    println!("passed the failing disk");
}

#[tokio::test]
async fn a_disk_that_fails_for_a_while_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let output = child("child_whose_disk_fails", &directory.path().join("log")).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("passed the failing disk"), "{said}");
}
