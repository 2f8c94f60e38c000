//! One round of one back end, in a process of its own: start, append, read back, stop.

use std::{
    fs::File,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::{Log, PARTITIONS, Running, Start, Subject};
use crate::{
    callers::{Calls, Plan, work},
    machine::{CpuSeconds, Meter},
    payload::Payloads,
};

/// The longest the reading may take.
const READING: Duration = Duration::from_secs(120);

/// What the suite tells the child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// The back end.
    pub subject: Subject,
    /// How long it is worked with.
    pub plan: Plan,
    /// Where to make a folder for its data.
    pub folder: PathBuf,
}

/// What the child tells the suite.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The back end is not on this machine, and why.
    NotRun(String),
    /// It was measured.
    Measured(Box<Round>),
}

/// One round's measurements.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Round {
    /// Version of the back end.
    pub version: String,
    /// The mean size of a record, bytes.
    pub record_bytes: f64,
    /// The appends.
    pub append: Calls,
    /// The reading, of what was appended while warming up too.
    pub read: Reading,
    /// Resident memory after the appends, bytes: of the client (and a back end that is a library),
    pub client_memory: u64,
    /// and of the servers.
    pub server_memory: u64,
}

/// All partitions read from the start to the end, side by side.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Reading {
    /// Records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Processor time meanwhile.
    pub cpu: CpuSeconds,
}

/// Measures. Called on the main thread, with which the servers die.
///
/// # Errors
/// The back end can't be started, fails, or does not give back what it acknowledged.
pub async fn measure(task: Task) -> anyhow::Result<Outcome> {
    let folder = tempfile::Builder::new().prefix(task.subject.name()).tempdir_in(&task.folder)?;
    let payloads = Arc::new(Payloads::new()?);
    let Running { log, servers, version } = match task.subject.start(folder.path()).await? {
        Start::Absent(why) => return Ok(Outcome::NotRun(why)),
        Start::Running(running) => running,
    };
    // What earlier rounds left to be written is no part of this one.
    nix::unistd::syncfs(File::open(folder.path())?)?;
    let meter = Meter::new(&servers.iter().map(crate::server::Server::id).collect::<Vec<_>>())?;
    let appended: Arc<[AtomicU64]> = (0..PARTITIONS).map(|_| AtomicU64::new(0)).collect();
    let call = {
        let (log, payloads, appended) = (log.clone(), payloads.clone(), appended.clone());
        move |n: u64| {
            let (log, payloads, appended) = (log.clone(), payloads.clone(), appended.clone());
            async move {
                let partition = u32::try_from(n % u64::from(PARTITIONS))?;
                log.append(partition, payloads.get(n)).await?;
                appended[partition as usize].fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    };
    let append = work(task.plan, &meter, call).await.context("appending")?;
    let [client_memory, server_memory] = meter.memory()?;
    let appended: Vec<u64> = appended.iter().map(|count| count.load(Ordering::Acquire)).collect();
    let read = tokio::time::timeout(READING, read(&log, &meter, &appended)).await;
    let read = read.context("reading took too long")?.context("reading")?;
    log.close().await;
    let record_bytes = payloads.mean_bytes();
    Ok(Outcome::Measured(Box::new(Round { version, record_bytes, append, read, client_memory, server_memory })))
}

async fn read(log: &Arc<dyn Log>, meter: &Meter, appended: &[u64]) -> anyhow::Result<Reading> {
    let (cpu, began) = (meter.read()?, Instant::now());
    let readers = (0u32..).zip(appended).map(|(partition, records)| {
        let (log, records) = (log.clone(), *records);
        tokio::spawn(async move { log.read(partition, records).await })
    });
    let mut bytes = 0;
    for reader in futures::future::join_all(readers).await {
        bytes += reader.context("a reader was broken off")??;
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), meter.since(cpu)?);
    let records: u64 = appended.iter().sum();
    ensure!(records > 0 && bytes > records, "{records} records were read and hold {bytes} bytes");
    Ok(Reading { records, bytes, seconds, cpu })
}
