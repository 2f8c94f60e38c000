//! Asking the writer how far it is, and waiting until it is far enough.

use std::{collections::BTreeMap, sync::Arc};

use event_log::{EventLog, LogError, Stream};
use event_schemas::{Fault, Faulty, OffsetVector, Partition, Topic};
use lake_tables::{Lake, LakeError, schema, txn};
use tokio::sync::{Notify, watch};

/// How often to look at what other writers have committed.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(250);

/// What the writer has committed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Committed {
    pub offsets: OffsetVector,
    pub version: Option<u64>,
}

/// What the writer and its handles share.
#[derive(Debug)]
pub(crate) struct Board {
    pub committed: watch::Sender<Committed>,
    /// Wakes the writer to commit at once.
    pub flush: Notify,
    /// How many wait for a flush.
    pub waiting: std::sync::atomic::AtomicUsize,
}

impl Default for Board {
    fn default() -> Self {
        Self { committed: watch::Sender::new(Committed::default()), flush: Notify::new(), waiting: 0.into() }
    }
}

/// How far the lake is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeStatus {
    /// The version of `playback_events` that the writer committed last; none before its first.
    pub version: Option<u64>,
    /// The next offset of each partition not yet in the table, whoever writes it.
    pub committed: OffsetVector,
    /// Records of each partition that are in the log and not yet in the table.
    pub lag: BTreeMap<Partition, u64>,
}

/// Why a flush did not end well.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// The log can't say what there is to write.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The lake can't say what other writers have committed.
    #[error("the lake can't be read")]
    Lake(#[from] LakeError),
    /// The writer is gone.
    #[error("the lake writer has stopped")]
    Stopped,
}

impl Faulty for FlushError {
    fn fault(&self) -> Fault {
        match self {
            Self::Log(error) => error.fault(),
            Self::Lake(error) => error.fault(),
            Self::Stopped => Fault::Dependency,
        }
    }
}

/// Asks a running writer. Cheap to clone; valid over all lives of its writer.
#[derive(Clone)]
pub struct LakeHandle {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) lake: Lake,
    pub(crate) board: Arc<Board>,
}

/// Counts somebody who waits, until dropped.
struct Waiting<'a>(&'a Board);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
    }
}

impl LakeHandle {
    /// Resolves when the table holds everything before `target`, or everything that is in the log
    /// now if there is none. The writer commits at once meanwhile; other writers commit their
    /// partitions when they do. While a writer can't go on, this waits; the caller sets a limit.
    ///
    /// # Errors
    /// See [`FlushError`].
    pub async fn flush(&self, target: Option<OffsetVector>) -> Result<LakeStatus, FlushError> {
        let target = match target {
            Some(target) => target,
            None => self.ends().await?,
        };
        self.board.waiting.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        let _waiting = Waiting(&self.board);
        self.board.flush.notify_one();
        let mut changes = self.board.committed.subscribe();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            if self.committed().await?.covers(&target) {
                return self.status().await;
            }
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| FlushError::Stopped)?,
                _ = look.tick() => {}
            }
        }
    }

    /// How far the lake is.
    ///
    /// # Errors
    /// The log or the lake does not answer.
    pub async fn status(&self) -> Result<LakeStatus, FlushError> {
        let ends = self.ends().await?;
        let version = self.board.committed.borrow().version;
        let committed = self.committed().await?;
        let lag = ends.0.iter().map(|(p, next)| (*p, next.0.saturating_sub(committed.get(*p).0))).collect();
        Ok(LakeStatus { version, committed, lag })
    }

    /// What the table holds: of this writer's partitions as it knows, of others' as the table says.
    async fn committed(&self) -> Result<OffsetVector, FlushError> {
        let own = self.board.committed.borrow().offsets.clone();
        let partitions = self.log.partitions(Stream::Main(Topic::Playback)).await?;
        if (0..partitions).all(|partition| own.0.contains_key(&Partition(partition))) {
            return Ok(own);
        }
        let Some(table) = self.lake.open(schema::playback_events()).await? else { return Ok(own) };
        let mut all = txn::offsets(&table, Topic::Playback, partitions).await?;
        for (partition, next) in own.0 {
            let known = all.0.entry(partition).or_default();
            *known = next.max(*known);
        }
        Ok(all)
    }

    async fn ends(&self) -> Result<OffsetVector, LogError> {
        let stream = Stream::Main(Topic::Playback);
        let mut ends = OffsetVector::default();
        for partition in (0..self.log.partitions(stream).await?).map(Partition) {
            ends.0.insert(partition, self.log.watermarks(stream, partition).await?.next);
        }
        Ok(ends)
    }
}
