//! A writer killed at any moment: what it was told is stored is there, whole, and nothing else
//! of it stays behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    path::Path as FsPath,
    process::{Command, Stdio},
    sync::Arc,
};

use event_schemas::ByteSize;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, path::Path};
use objects::{DurableLocal, FileSystemProbe, FreeSpaceGuard};

const DIRECTORY: &str = "MILLRACE_TEST_CRASH_DIRECTORY";
const SIZE: usize = 200_000;

async fn open(root: &FsPath) -> DurableLocal {
    DurableLocal::open(root, FreeSpaceGuard::new(root, ByteSize(0), Arc::new(FileSystemProbe))).await.unwrap()
}

fn contents(n: u64) -> Vec<u8> {
    n.to_le_bytes().repeat(SIZE / 8)
}

fn location(n: u64) -> Path {
    Path::from(format!("{}/{n}", n % 3))
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "started by the test below, with a directory to write to"]
async fn writer() {
    let root = std::env::var_os(DIRECTORY).unwrap();
    let store = open(FsPath::new(&root)).await;
    let mut unfinished = store.put_multipart(&Path::from("unfinished")).await.unwrap();
    unfinished.put_part("x".into()).await.unwrap();
    let writers = (0..4).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in (writer..).step_by(4) {
                if n % 2 == 0 {
                    store.put_opts(&location(n), contents(n).into(), PutMode::Create.into()).await.unwrap();
                } else {
                    let mut upload = store.put_multipart(&location(n)).await.unwrap();
                    let (first, second) = (contents(n)[..1000].to_vec(), contents(n)[1000..].to_vec());
                    upload.put_part(first.into()).await.unwrap();
                    upload.put_part(second.into()).await.unwrap();
                    upload.complete().await.unwrap();
                }
                let mut out = std::io::stdout().lock();
                writeln!(out, "stored {n}").unwrap();
                out.flush().unwrap();
            }
        })
    });
    futures::future::join_all(writers).await;
    drop(unfinished);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    for kill_after in [1, 7, 20, 33] {
        let root = dir.path().join(kill_after.to_string());
        std::fs::create_dir(&root).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer", "--exact", "--ignored", "--nocapture"])
            .env(DIRECTORY, &root)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = BTreeSet::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.by_ref() {
            acknowledged.extend(stored(&line.unwrap()));
            if acknowledged.len() == kill_after {
                child.kill().unwrap();
                break;
            }
        }
        // What the writer said before the signal arrived counts too; the last line may be cut.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        acknowledged.extend(rest.iter().filter_map(|line| stored(line)));
        child.wait().unwrap();
        assert!(acknowledged.len() >= kill_after, "the writer ended by itself");
        let left_behind = std::fs::read_dir(root.join(".staging"))
            .unwrap()
            .map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap().count())
            .sum::<usize>();
        assert!(left_behind > 0, "nothing was left to clear away");

        let store = open(&root).await;
        for n in &acknowledged {
            let bytes = store.get(&location(*n)).await.unwrap().bytes().await.unwrap();
            assert_eq!(bytes, contents(*n), "object {n}");
        }
        let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
        for object in &objects {
            assert_eq!(object.size as usize, SIZE, "{} is not whole", object.location);
        }
        assert!(objects.len() >= acknowledged.len());
        let staging: Vec<_> = std::fs::read_dir(root.join(".staging")).unwrap().collect();
        assert_eq!(staging.len(), 1, "only the new process's directory");
    }
}

fn stored(line: &str) -> Option<u64> {
    line.rsplit_once("stored ")?.1.parse().ok()
}
