//! The three counters of a video, kept as one absolute partial for each partition of the
//! `playback` topic.
//!
//! The stage that owns a partition writes its partial with the offset it has reached; readers add
//! the partials up. No counter is ever incremented in the store, so a replay can't count twice.

use bytes::Bytes;
use event_schemas::{Millis, Offset, OffsetVector, Partition, VideoId};
use serde::{Deserialize, Serialize};

use crate::{ServingError, ServingStore, Stored};

/// What is counted of one video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct VideoCounters {
    /// Playbacks that showed a first frame.
    pub starts: u64,
    /// Qualified views.
    pub views: u64,
    /// Views that went on past ten seconds by intent.
    pub engaged: u64,
    /// Time watched, rewatches included, in milliseconds.
    pub watch_ms: Millis,
}

impl std::ops::AddAssign for VideoCounters {
    fn add_assign(&mut self, other: Self) {
        self.starts = self.starts.saturating_add(other.starts);
        self.views = self.views.saturating_add(other.views);
        self.engaged = self.engaged.saturating_add(other.engaged);
        self.watch_ms = Millis(self.watch_ms.0.saturating_add(other.watch_ms.0));
    }
}

/// The counters of a video over all partitions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CountersAt {
    /// The sums.
    #[serde(flatten)]
    pub counters: VideoCounters,
    /// The next offset of each `playback` partition that has a partial for this video.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub offsets: OffsetVector,
}

/// The key of one partition's partial.
#[must_use]
pub fn key(video: VideoId, partition: Partition) -> String {
    format!("counters/{video}/{partition}")
}

impl VideoCounters {
    /// Stores this as the absolute partial of `partition`, having taken into account everything
    /// before `next`.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn write(
        &self,
        store: &dyn ServingStore,
        video: VideoId,
        partition: Partition,
        next: Offset,
    ) -> Result<Stored, ServingError> {
        let key = key(video, partition);
        let value = encode(&key, self)?;
        store.put(&key, value, OffsetVector::single(partition, next)).await
    }

    /// The sums for each of `videos`, in their order, over partitions `0..partitions`; zeros
    /// where nothing is stored.
    ///
    /// # Errors
    /// The store does not answer, or holds a value that is not a partial.
    pub async fn read_many(
        store: &dyn ServingStore,
        videos: &[VideoId],
        partitions: u32,
    ) -> Result<Vec<CountersAt>, ServingError> {
        if partitions == 0 {
            return Ok(vec![CountersAt::default(); videos.len()]);
        }
        let keys: Vec<String> =
            videos.iter().flat_map(|video| (0..partitions).map(|p| key(*video, Partition(p)))).collect();
        let values = store.get_many(&keys).await?;
        let per_video = partitions as usize;
        keys.chunks(per_video)
            .zip(values.chunks(per_video))
            .map(|(keys, values)| {
                let mut sum = CountersAt::default();
                for (key, stored) in keys.iter().zip(values) {
                    let Some(stored) = stored else { continue };
                    sum.counters += decode::<Self>(key, &stored.value)?;
                    sum.offsets.0.extend(stored.offsets.0.iter().map(|(partition, next)| (*partition, *next)));
                }
                Ok(sum)
            })
            .collect()
    }

    /// Forgets the partials of a deleted video.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn delete(store: &dyn ServingStore, video: VideoId, partitions: u32) -> Result<(), ServingError> {
        for partition in 0..partitions {
            store.delete(&key(video, Partition(partition))).await?;
        }
        Ok(())
    }
}

pub(crate) fn encode<T: Serialize>(key: &str, value: &T) -> Result<Bytes, ServingError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|source| ServingError::Malformed { key: key.to_owned(), source })
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(key: &str, value: &'a [u8]) -> Result<T, ServingError> {
    serde_json::from_slice(value).map_err(|source| ServingError::Malformed { key: key.to_owned(), source })
}
