//! Asking the writer how far it is, and waiting until it is far enough.

use std::{collections::BTreeMap, sync::Arc};

use event_log::{EventLog, LogError, Stream};
use event_schemas::{Fault, Faulty, OffsetVector, Partition, Topic};
use tokio::sync::{Notify, watch};

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
    /// The next offset of each partition not yet in the table.
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
    /// The writer is gone.
    #[error("the lake writer has stopped")]
    Stopped,
}

impl Faulty for FlushError {
    fn fault(&self) -> Fault {
        match self {
            Self::Log(error) => error.fault(),
            Self::Stopped => Fault::Dependency,
        }
    }
}

/// Asks a running writer. Cheap to clone; valid over all lives of its writer.
#[derive(Clone)]
pub struct LakeHandle {
    pub(crate) log: Arc<dyn EventLog>,
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
    /// now if there is none. The writer commits at once meanwhile. While the writer can't go on,
    /// this waits; the caller sets a limit.
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
        let mut committed = self.board.committed.subscribe();
        committed.wait_for(|committed| committed.offsets.covers(&target)).await.map_err(|_| FlushError::Stopped)?;
        self.status().await
    }

    /// How far the writer is.
    ///
    /// # Errors
    /// The log does not answer.
    pub async fn status(&self) -> Result<LakeStatus, FlushError> {
        let ends = self.ends().await?;
        let Committed { offsets, version } = self.board.committed.borrow().clone();
        let lag = ends.0.iter().map(|(p, next)| (*p, next.0.saturating_sub(offsets.get(*p).0))).collect();
        Ok(LakeStatus { version, committed: offsets, lag })
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
