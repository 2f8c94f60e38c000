//! What the batch jobs compute from the lake and the API shows: views by hour, the retention
//! curve, related videos and the trending ranking.
//!
//! Every figure carries the version of the rules and the offsets it was computed at, so that
//! anyone can compute it again from the lake and compare.

use std::future::Future;

use event_schemas::{Millis, OffsetVector, Timestamp, VideoId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Ranked, ServingError, ServingStore, Stored,
    counters::{VideoCounters, decode, encode},
};

/// The number of points of a retention curve.
pub const RETENTION_POINTS: usize = 100;

/// The ranking of videos by recent views.
pub const TRENDING: &str = "trending";

/// One hour of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HourStats {
    /// The start of the UTC hour, in microseconds since the Unix epoch.
    pub hour: Timestamp,
    /// What was counted in it.
    #[serde(flatten)]
    pub counters: VideoCounters,
}

/// A video by hour; hours in rising order, those without events left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HoursOfVideo {
    /// The version of the counting rules.
    pub rule: u16,
    /// The offsets of the `playback` topic that the figures cover.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub offsets: OffsetVector,
    /// The hours.
    pub hours: Vec<HourStats>,
}

/// One point of a retention curve: a hundredth of the video.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RetentionPoint {
    /// Time watched in this part, rewatches included, over views times the part's length; may
    /// exceed 1.
    pub watched_ratio: f64,
    /// Distinct sessions that saw this part, over the sessions that watched anything; at most 1.
    pub viewers_ratio: f64,
}

/// How much of a video is watched, along its length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RetentionOfVideo {
    /// The version of the counting rules.
    pub rule: u16,
    /// The offsets of the `playback` topic that the figures cover.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub offsets: OffsetVector,
    /// The length of the video, in milliseconds.
    pub duration_ms: Millis,
    /// [`RETENTION_POINTS`] points in the order of playing, or none if nobody has watched.
    pub points: Vec<RetentionPoint>,
}

/// A related video and how strongly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RelatedVideo {
    /// The related video.
    pub video_id: VideoId,
    /// Higher is closer.
    pub score: f64,
}

/// The videos watched by those who watched this one, the closest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RelatedToVideo {
    /// The version of the job's rule.
    pub rule: u16,
    /// The offsets of the `playback` topic that the figures cover.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub offsets: OffsetVector,
    /// The related videos.
    pub videos: Vec<RelatedVideo>,
}

/// A figure of one video, stored under its own prefix with the offsets it covers.
pub trait VideoFigure: Serialize + DeserializeOwned + Send + Sync {
    /// The first part of the key.
    const PREFIX: &'static str;

    /// The offsets that the figure covers.
    fn offsets(&self) -> &OffsetVector;

    /// Its key.
    #[must_use]
    fn key(video: VideoId) -> String {
        format!("{}/{video}", Self::PREFIX)
    }

    /// Stores the figure, unless the stored one covers more.
    ///
    /// # Errors
    /// The store does not answer.
    fn write(
        &self,
        store: &dyn ServingStore,
        video: VideoId,
    ) -> impl Future<Output = Result<Stored, ServingError>> + Send {
        async move {
            let key = Self::key(video);
            store.put(&key, encode(&key, self)?, self.offsets().clone()).await
        }
    }

    /// The stored figure; none if it was never computed.
    ///
    /// # Errors
    /// The store does not answer, or holds something else there.
    fn read(
        store: &dyn ServingStore,
        video: VideoId,
    ) -> impl Future<Output = Result<Option<Self>, ServingError>> + Send {
        async move {
            let key = Self::key(video);
            store.get(&key).await?.map(|stored| decode(&key, &stored.value)).transpose()
        }
    }

    /// Forgets the figure of a deleted video.
    ///
    /// # Errors
    /// The store does not answer.
    fn delete(store: &dyn ServingStore, video: VideoId) -> impl Future<Output = Result<(), ServingError>> + Send {
        async move { store.delete(&Self::key(video)).await }
    }
}

impl VideoFigure for HoursOfVideo {
    const PREFIX: &'static str = "hours";
    fn offsets(&self) -> &OffsetVector {
        &self.offsets
    }
}

impl VideoFigure for RetentionOfVideo {
    const PREFIX: &'static str = "retention";
    fn offsets(&self) -> &OffsetVector {
        &self.offsets
    }
}

impl VideoFigure for RelatedToVideo {
    const PREFIX: &'static str = "related";
    fn offsets(&self) -> &OffsetVector {
        &self.offsets
    }
}

/// Replaces the trending ranking: each video with its score.
///
/// # Errors
/// A score is not a number; the store does not answer.
pub async fn write_trending(
    store: &dyn ServingStore,
    videos: impl IntoIterator<Item = (VideoId, f64)> + Send,
    offsets: OffsetVector,
) -> Result<Stored, ServingError> {
    let entries = videos.into_iter().map(|(video, score)| (video.to_string(), score)).collect();
    store.rank_replace(TRENDING, entries, offsets).await
}

/// Trending videos `skip..skip + limit`, the highest first.
///
/// # Errors
/// The store does not answer.
pub async fn read_trending(
    store: &dyn ServingStore,
    skip: usize,
    limit: usize,
) -> Result<Vec<RelatedVideo>, ServingError> {
    let ranked = store.rank_top(TRENDING, skip, limit).await?;
    // Only `write_trending` fills this ranking, so a member that is no id can't appear.
    Ok(ranked
        .into_iter()
        .filter_map(|Ranked { member, score }| Some(RelatedVideo { video_id: member.parse().ok()?, score }))
        .collect())
}
