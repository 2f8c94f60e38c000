//! Where the stage's state comes from when it is lost or left behind by the log: the rows that
//! the lake has taken. The binary hands in the lake's implementation.

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use event_schemas::{Fault, Faulty, Offset, Partition};
use futures::stream::BoxStream;

/// The past of a partition.
pub struct Past {
    /// The first offset that the lake has not taken.
    pub until: Offset,
    /// Every row before `until`, with the columns of `playback_events`, in the order of
    /// (`log_generation`, `log_offset`, `log_index`).
    pub rows: BoxStream<'static, Result<RecordBatch, HistoryError>>,
}

/// The past could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the lake can't be read")]
pub struct HistoryError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl HistoryError {
    /// Whatever stood in the way.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl Faulty for HistoryError {
    fn fault(&self) -> Fault {
        Fault::Dependency
    }
}

/// Reads back what was taken before.
#[async_trait]
pub trait History: Send + Sync + 'static {
    /// The past of `partition` as one snapshot of the lake has it; empty and until 0 for a lake that
    /// holds nothing of it.
    ///
    /// # Errors
    /// The lake can't be read.
    async fn past(&self, partition: Partition) -> Result<Past, HistoryError>;
}

/// For a stage without a lake: nothing is remembered.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHistory;

#[async_trait]
impl History for NoHistory {
    async fn past(&self, _: Partition) -> Result<Past, HistoryError> {
        Ok(Past { until: Offset(0), rows: Box::pin(futures::stream::empty()) })
    }
}
