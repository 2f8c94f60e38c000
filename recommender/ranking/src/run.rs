//! Computes the rankings anew whenever the lake has changed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arrow::array::Array as _;
use bytes::Bytes;
use event_schemas::{Clock, Fault, Faulty, OffsetVector, Timestamp, VideoId};
use lake_sql::{Snapshot, SqlEngine, SqlError, bigints, doubles, instants, texts};
use serving_store::{
    ServingError, ServingStore,
    stats::{RelatedToVideo, VideoFigure as _, write_trending},
};
use tokio_util::sync::CancellationToken;

use crate::decide::{HourOfViews, Pair, WINDOW, related, trending};

/// The key whose absence says that the store has lost the rankings.
const MARKER: &str = "marker/rankings";

/// Settings of the rankings.
#[derive(Debug, Clone)]
pub struct RankingConfig {
    /// How often to look whether the lake has changed.
    pub refresh_every: Duration,
    /// Trending decays even while nothing is watched: it is computed anew at least this often.
    pub decay_every: Duration,
    /// Partitions of the `playback` topic.
    pub partitions: u32,
}

/// Rankings could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum RankingError {
    /// The lake or the query.
    #[error("the rankings can't be computed from the lake")]
    Sql(#[from] SqlError),
    /// The store.
    #[error("the rankings can't be kept")]
    Store(#[from] ServingError),
    /// A row of the lake is not what it should be.
    #[error("the lake holds a video id that is none: `{0}`")]
    Malformed(String),
}

impl Faulty for RankingError {
    fn fault(&self) -> Fault {
        match self {
            Self::Sql(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::Malformed(_) => Fault::Program,
        }
    }
}

/// The job that keeps the rankings.
pub struct Rankings {
    /// The lake.
    pub engine: Arc<SqlEngine>,
    /// Where the rankings go.
    pub store: Arc<dyn ServingStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Settings.
    pub config: RankingConfig,
}

fn ids(values: &arrow::array::StringArray) -> Result<Vec<VideoId>, RankingError> {
    (0..values.len())
        .map(|row| values.value(row).parse().map_err(|_| RankingError::Malformed(values.value(row).to_owned())))
        .collect()
}

async fn hours(snapshot: &Snapshot, since: Timestamp) -> Result<Vec<HourOfViews>, RankingError> {
    let sql = format!(
        "select video_id, hour, views from video_stats_hour where views > 0 and hour >= to_timestamp_micros({})",
        since.as_micros()
    );
    let rows = snapshot.query(&sql).await?.into_one()?;
    let (videos, views) = (ids(&texts(&rows, "video_id")?)?, bigints(&rows, "views")?);
    let hours = instants(&rows, "hour")?;
    Ok(videos
        .into_iter()
        .zip(hours)
        .zip(views.values())
        .map(|((video, hour), views)| HourOfViews { video, hour, views: *views })
        .collect())
}

async fn pairs(snapshot: &Snapshot) -> Result<Vec<Pair>, RankingError> {
    let rows = snapshot.query("select video_id, related_id, score from co_watch").await?.into_one()?;
    let (videos, others) = (ids(&texts(&rows, "video_id")?)?, ids(&texts(&rows, "related_id")?)?);
    let scores = doubles(&rows, "score")?;
    Ok(videos
        .into_iter()
        .zip(others)
        .zip(scores.values())
        .map(|((video, related), score)| Pair { video, related, score: *score })
        .collect())
}

impl Rankings {
    async fn related(
        &self,
        snapshot: &Snapshot,
        offsets: &OffsetVector,
        before: &BTreeSet<VideoId>,
    ) -> Result<BTreeSet<VideoId>, RankingError> {
        let lists = related(&pairs(snapshot).await?, offsets);
        for (video, list) in &lists {
            list.write(self.store.as_ref(), *video).await?;
        }
        let now: BTreeSet<VideoId> = lists.into_keys().collect();
        for gone in before.difference(&now) {
            RelatedToVideo::delete(self.store.as_ref(), *gone).await?;
        }
        Ok(now)
    }

    async fn trending(&self, snapshot: &Snapshot, offsets: OffsetVector) -> Result<(), RankingError> {
        let now = self.clock.now();
        let scores = trending(&hours(snapshot, now - WINDOW).await?, now);
        write_trending(self.store.as_ref(), scores, offsets).await?;
        Ok(())
    }

    /// Computes everything once.
    ///
    /// # Errors
    /// See [`RankingError`].
    pub async fn rebuild(&self) -> Result<(), RankingError> {
        let snapshot = self.engine.snapshot().await?;
        if snapshot.is_empty() {
            return Ok(());
        }
        let offsets = snapshot.offsets(self.config.partitions).await?;
        self.trending(&snapshot, offsets.clone()).await?;
        self.related(&snapshot, &offsets, &BTreeSet::new()).await?;
        Ok(())
    }

    /// Runs until cancelled. Everything is computed when the lake has changed, and whenever the store
    /// has lost it.
    ///
    /// # Errors
    /// See [`RankingError`]; started again, everything is computed anew.
    pub async fn run(&self, cancel: CancellationToken) -> Result<(), RankingError> {
        let mut version = None;
        let mut with_related = BTreeSet::new();
        let mut decayed = tokio::time::Instant::now();
        loop {
            let snapshot = self.engine.snapshot().await?;
            let newest = snapshot.version("playback_events");
            let is_lost = self.store.get(MARKER).await?.is_none();
            let is_new = newest.is_some() && (newest != version || is_lost);
            if is_new || (newest.is_some() && decayed.elapsed() >= self.config.decay_every) {
                let started = std::time::Instant::now();
                let offsets = snapshot.offsets(self.config.partitions).await?;
                self.trending(&snapshot, offsets.clone()).await?;
                decayed = tokio::time::Instant::now();
                if is_new {
                    with_related = self.related(&snapshot, &offsets, &with_related).await?;
                    self.store.put(MARKER, Bytes::new(), OffsetVector::default()).await?;
                }
                version = newest;
                metrics::histogram!("millrace_rankings_refresh_seconds").record(started.elapsed().as_secs_f64());
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.config.refresh_every) => {}
            }
        }
    }
}
