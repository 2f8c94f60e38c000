//! A process that is killed at any moment loses nothing that it acknowledged.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use catalog::{
    Catalog, Chunk, JobKind, SqlCatalog, SqlOptions,
    conformance::{LEASE, at, chunk, creator, new_upload},
    sqlite_url,
};
use event_schemas::UploadId;

const STORE: &str = "CATALOG_CRASH_TEST_STORE";
const CHUNKS: u64 = 400;

async fn open(dir: &Path) -> Arc<SqlCatalog> {
    SqlCatalog::open(&sqlite_url(&dir.join("catalog.db")), SqlOptions::default()).await.unwrap()
}

/// Not a test of its own: the process that the test below kills.
#[tokio::test]
#[ignore = "run by chunks_acknowledged_before_a_kill_are_there"]
async fn victim() {
    let Some(dir) = std::env::var_os(STORE) else { return };
    let catalog = open(dir.as_ref()).await;
    let owner = creator(&*catalog, "alice").await;
    let upload = catalog.create_upload(new_upload(&owner, Some(CHUNKS), at(0))).await.unwrap();
    let mut out = std::io::stderr();
    for start in 0..CHUNKS {
        let piece = chunk(upload.id, start, 1);
        catalog.append_chunk(upload.id, piece.clone(), at(1), at(2)).await.unwrap();
        writeln!(out, "acknowledged {} {start} {}", upload.id, piece.key).unwrap();
    }
}

/// Starts the victim, kills it after `acknowledgements` chunks, and returns what it acknowledged.
fn run_and_kill(dir: &Path, acknowledgements: usize) -> (UploadId, Vec<Chunk>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .env(STORE, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    let mut id = None;
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut killed = false;
    // After the kill the pipe still holds what was acknowledged meanwhile.
    while let Some(Ok(line)) = lines.next() {
        let words: Vec<_> = line.split(' ').collect();
        if let ["acknowledged", upload, start, key] = words[..] {
            id = Some(upload.parse().unwrap());
            acknowledged.push(Chunk { start: start.parse().unwrap(), length: 1, key: key.to_owned() });
        }
        if acknowledged.len() == acknowledgements && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the process ended by itself");
    (id.unwrap(), acknowledged)
}

#[tokio::test]
async fn chunks_acknowledged_before_a_kill_are_there() {
    for acknowledgements in [1, 17, 60] {
        let dir = tempfile::tempdir().unwrap();
        let (id, acknowledged) = run_and_kill(dir.path(), acknowledgements);
        let catalog = open(dir.path()).await;
        let chunks = catalog.chunks(id).await.unwrap();
        assert!(chunks.starts_with(&acknowledged), "{} of {} are there", chunks.len(), acknowledged.len());
        // At most the one that was under way is there besides; the offset agrees with the rows.
        assert!(chunks.len() <= acknowledged.len() + 1);
        let mut offset = catalog.upload(id).await.unwrap().unwrap().offset;
        assert_eq!(offset, chunks.len() as u64);
        while offset < CHUNKS {
            catalog.append_chunk(id, chunk(id, offset, CHUNKS - offset), at(3), at(4)).await.unwrap();
            offset = CHUNKS;
        }
        assert_eq!(catalog.outbox(10).await.unwrap().len(), 2);
        assert!(catalog.lease_job(JobKind::Transcode, "w", at(5), LEASE).await.unwrap().is_some());
    }
}
