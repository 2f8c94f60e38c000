//! The lake as the past of the `views` stage.

use std::sync::Arc;

use async_trait::async_trait;
use event_schemas::Partition;
use futures::{StreamExt, TryStreamExt};
use lake_sql::SqlEngine;
use views_stage::{History, HistoryError, NoHistory, Past};

/// Reads the rows that the lake has taken. The engine must not limit rows or time too tightly: all
/// rows of a partition are read, in memory that the engine bounds.
pub struct LakeHistory {
    engine: Arc<SqlEngine>,
}

impl LakeHistory {
    /// Reads by `engine`.
    #[must_use]
    pub const fn new(engine: Arc<SqlEngine>) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl History for LakeHistory {
    async fn past(&self, partition: Partition) -> Result<Past, HistoryError> {
        let snapshot = self.engine.snapshot().await.map_err(HistoryError::new)?;
        if snapshot.is_empty() {
            return NoHistory.past(partition).await;
        }
        let until = snapshot.offsets(partition.0 + 1).await.map_err(HistoryError::new)?.get(partition);
        let rows = snapshot
            .stream(&format!(
                "select session_id, seq, viewer_id, video_id, kind, media_from_ms, media_to_ms, granted, dropped_by, \
                 source, video_duration_ms, event_ts, server_ts, log_offset, producer, producer_epoch, producer_seq \
                 from playback_events where topic_partition = {partition} \
                 order by log_generation, log_offset, log_index"
            ))
            .await
            .map_err(HistoryError::new)?;
        Ok(Past { until, rows: rows.map_err(HistoryError::new).boxed() })
    }
}
