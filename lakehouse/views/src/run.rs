//! The jobs' I/O: which videos have new rows, the queries, the store.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arrow::array::{Array, RecordBatch};
use bytes::Bytes;
use event_schemas::{Clock, Fault, Faulty, Millis, OffsetVector, VideoId};
use lake_sql::{Snapshot, SqlEngine, SqlError, bigints, doubles, instants, texts};
use metrics::{counter, histogram};
use serving_store::{ServingError, ServingStore, counters::VideoCounters, stats::VideoFigure};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::decide::{HourRow, PointRow, hours, retention, touched};

/// How many videos one query is about.
const VIDEOS_AT_ONCE: usize = 200;

/// A refresh is followed by at least this many times its own duration of rest.
const REST: u32 = 4;

/// The key whose absence says that the store has lost the figures.
const MARKER: &str = "marker/lake-views";

/// How the jobs work.
#[derive(Debug, Clone, Copy)]
pub struct LakeViewsConfig {
    /// How often to look whether the lake has changed.
    pub refresh_every: Duration,
    /// Hours older than this are left out of the figure by hour.
    pub hours_kept: Millis,
    /// Partitions of the `playback` topic.
    pub partitions: u32,
}

impl LakeViewsConfig {
    /// Looks every ten seconds and keeps the hours of ninety days.
    #[must_use]
    pub const fn new(partitions: u32) -> Self {
        Self { refresh_every: Duration::from_secs(10), hours_kept: Millis::from_days(90), partitions }
    }
}

/// Figures could not be computed or kept.
#[derive(Debug, thiserror::Error)]
pub enum LakeViewsError {
    /// The lake or a query failed.
    #[error("the figures can't be computed from the lake")]
    Sql(#[from] SqlError),
    /// The serving store failed.
    #[error("the figures can't be kept")]
    Store(#[from] ServingError),
    /// The lake holds a value that its writer does not write.
    #[error("the lake holds an unreadable value: `{0}`")]
    Malformed(String),
}

impl Faulty for LakeViewsError {
    fn fault(&self) -> Fault {
        match self {
            Self::Sql(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::Malformed(_) => Fault::Program,
        }
    }
}

/// What a rebuild wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rebuilt {
    /// The videos with counters.
    pub videos: usize,
    /// What the figures have taken into account.
    pub offsets: OffsetVector,
}

/// The jobs that keep views by hour and retention curves.
pub struct LakeViews {
    engine: Arc<SqlEngine>,
    store: Arc<dyn ServingStore>,
    clock: Arc<dyn Clock>,
    config: LakeViewsConfig,
    wanted: Notify,
}

impl LakeViews {
    /// The jobs; nothing happens before [`Self::run`].
    #[must_use]
    pub fn new(
        engine: Arc<SqlEngine>,
        store: Arc<dyn ServingStore>,
        clock: Arc<dyn Clock>,
        config: LakeViewsConfig,
    ) -> Arc<Self> {
        Arc::new(Self { engine, store, clock, config, wanted: Notify::new() })
    }

    /// Has [`Self::run`] look at the lake now.
    pub fn refresh_soon(&self) {
        self.wanted.notify_one();
    }

    /// Keeps the figures up to date until cancelled. The first time, and whenever the store has lost
    /// them, every video's are computed; then those of videos with new rows.
    ///
    /// # Errors
    /// See [`LakeViewsError`]; called again, everything is computed anew.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) -> Result<(), LakeViewsError> {
        let mut done = OffsetVector::default();
        loop {
            let began = Instant::now();
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                refreshed = self.refresh_or_begin_anew(&done) => done = refreshed?,
            }
            let rest = self.config.refresh_every.max(began.elapsed() * REST);
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(rest) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    async fn refresh_or_begin_anew(&self, done: &OffsetVector) -> Result<OffsetVector, LakeViewsError> {
        if self.store.get(MARKER).await?.is_some() {
            return self.refresh(done).await;
        }
        let done = self.refresh(&OffsetVector::default()).await?;
        self.store.put(MARKER, Bytes::new(), OffsetVector::default()).await?;
        Ok(done)
    }

    /// Computes the figures of every video with rows that `done` has not taken into account, from
    /// the newest snapshot, and returns what that has.
    ///
    /// # Errors
    /// See [`LakeViewsError`]. Figures of some videos may be new then; that does no harm.
    pub async fn refresh(&self, done: &OffsetVector) -> Result<OffsetVector, LakeViewsError> {
        let snapshot = self.engine.snapshot().await?;
        if snapshot.is_empty() {
            return Ok(done.clone());
        }
        let offsets = snapshot.offsets(self.config.partitions).await?;
        let Some(query) = touched(done, &offsets) else { return Ok(offsets) };
        let began = Instant::now();
        let rows = snapshot.query(&query).await?.into_one()?;
        let videos = ids(&texts(&rows, "video_id")?)?;
        for videos in videos.chunks(VIDEOS_AT_ONCE) {
            let videos: BTreeSet<VideoId> = videos.iter().copied().collect();
            let scope = snapshot.of_videos(&videos).await?;
            self.hours(&scope, &offsets).await?;
            self.retention(&scope, &offsets).await?;
        }
        counter!("millrace_lake_views_videos_total").increment(videos.len() as u64);
        histogram!("millrace_lake_views_refresh_seconds").record(began.elapsed().as_secs_f64());
        Ok(offsets)
    }

    /// Writes every video's counters as the lake has them, each partition's with its offset, and
    /// every other figure. What a live stage has written at later offsets stays.
    ///
    /// # Errors
    /// See [`LakeViewsError`]. Some figures may be written then; called again, it does no harm.
    pub async fn rebuild(&self) -> Result<Rebuilt, LakeViewsError> {
        let snapshot = self.engine.snapshot().await?;
        let mut rebuilt = Rebuilt::default();
        if snapshot.is_empty() {
            return Ok(rebuilt);
        }
        rebuilt.offsets = snapshot.offsets(self.config.partitions).await?;
        let mut videos = BTreeSet::new();
        for (partition, next) in &rebuilt.offsets.0 {
            let scope = snapshot.of_partition(*partition).await?;
            let rows = scope.query("select * from video_stats").await?.into_one()?;
            for (video, total) in totals(&rows)? {
                total.write(self.store.as_ref(), video, *partition, *next).await?;
                videos.insert(video);
            }
        }
        rebuilt.videos = videos.len();
        self.refresh(&OffsetVector::default()).await?;
        Ok(rebuilt)
    }

    async fn hours(&self, scope: &Snapshot, offsets: &OffsetVector) -> Result<(), LakeViewsError> {
        let rows = scope.query("select * from video_stats_hour").await?.into_one()?;
        let found: Vec<HourRow> = totals(&rows)?
            .into_iter()
            .zip(instants(&rows, "hour")?)
            .map(|((video, counters), hour)| HourRow { video, hour, counters })
            .collect();
        let since = self.clock.now() - self.config.hours_kept;
        for (video, figure) in hours(&found, since, offsets) {
            figure.write(self.store.as_ref(), video).await?;
        }
        Ok(())
    }

    async fn retention(&self, scope: &Snapshot, offsets: &OffsetVector) -> Result<(), LakeViewsError> {
        let rows = scope.query("select * from retention").await?.into_one()?;
        let videos = ids(&texts(&rows, "video_id")?)?;
        let (point, duration) = (bigints(&rows, "point")?, bigints(&rows, "duration_ms")?);
        let (watched, viewers) = (doubles(&rows, "watched_ratio")?, doubles(&rows, "viewers_ratio")?);
        let mut found = Vec::with_capacity(videos.len());
        for (n, video) in videos.into_iter().enumerate() {
            let point = usize::try_from(point.value(n));
            found.push(PointRow {
                video,
                point: point.map_err(|error| LakeViewsError::Malformed(error.to_string()))?,
                duration: Millis(duration.value(n)),
                watched_ratio: watched.is_valid(n).then(|| watched.value(n)),
                viewers_ratio: viewers.value(n),
            });
        }
        for (video, figure) in retention(&found, offsets) {
            figure.write(self.store.as_ref(), video).await?;
        }
        Ok(())
    }
}

/// The counters in each row.
fn totals(rows: &RecordBatch) -> Result<Vec<(VideoId, VideoCounters)>, LakeViewsError> {
    let videos = ids(&texts(rows, "video_id")?)?;
    let (starts, views) = (bigints(rows, "starts")?, bigints(rows, "views")?);
    let (engaged, watch_ms) = (bigints(rows, "engaged_views")?, bigints(rows, "watch_ms")?);
    let unsigned = |value: i64| u64::try_from(value).map_err(|_| LakeViewsError::Malformed(value.to_string()));
    let counters = |n| {
        Ok::<_, LakeViewsError>(VideoCounters {
            starts: unsigned(starts.value(n))?,
            views: unsigned(views.value(n))?,
            engaged: unsigned(engaged.value(n))?,
            watch_ms: Millis(watch_ms.value(n)),
        })
    };
    videos.into_iter().enumerate().map(|(n, video)| Ok((video, counters(n)?))).collect()
}

fn ids(values: &arrow::array::StringArray) -> Result<Vec<VideoId>, LakeViewsError> {
    values.iter().flatten().map(|text| text.parse().map_err(|_| LakeViewsError::Malformed(text.to_owned()))).collect()
}
