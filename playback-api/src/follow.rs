//! The stage that follows the `transcodes` and `videos` topics and announces each change of a video
//! on its fan-out channel, for the event streams of every playback process; it forgets the figures
//! of deleted videos. One process does it for all, the owner of the topic's partition.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use event_schemas::{
    Envelope, Topic, VideoId,
    records::{JsonRecord as _, TranscodeRecord, VideoRecord},
};
use runtime::{Admitted, Stage, StageError};
use serving_store::{
    ServingError, ServingStore,
    counters::VideoCounters,
    stats::{HoursOfVideo, RelatedToVideo, RetentionOfVideo, TRENDING, VideoFigure as _},
};

use crate::events::channel;

/// The video that a record is about, and whether it is gone.
fn video_of(topic: Topic, envelope: &Envelope) -> Option<(VideoId, bool)> {
    match topic {
        Topic::Transcodes => TranscodeRecord::from_envelope(envelope).ok().map(|record| (record.video_id, false)),
        Topic::Videos => VideoRecord::from_envelope(envelope).ok().map(|record| (record.video_id, record.deleted)),
        _ => None,
    }
}

/// Forgets the figures of a deleted video. What arrives late may write some of them again; the
/// access policy hides them either way.
async fn forget(store: &dyn ServingStore, video: VideoId, partitions: u32) -> Result<(), ServingError> {
    VideoCounters::delete(store, video, partitions).await?;
    HoursOfVideo::delete(store, video).await?;
    RetentionOfVideo::delete(store, video).await?;
    RelatedToVideo::delete(store, video).await?;
    store.rank_remove(TRENDING, &video.to_string()).await
}

/// The stage, for one of the two topics.
pub struct Announcer {
    /// Where figures are forgotten and changes announced.
    pub store: Arc<dyn ServingStore>,
    /// The topic read: `transcodes` or `videos`.
    pub topic: Topic,
    /// Partitions of `playback`, by which counters are kept.
    pub playback_partitions: u32,
}

#[async_trait]
impl Stage for Announcer {
    fn name(&self) -> &str {
        "announcer"
    }

    async fn handle(&self, batch: &[Admitted]) -> Result<(), StageError> {
        // Once a video, whatever the number of its records. What another version of the program
        // wrote and this one can't read is not this stage's to put aside.
        let mut changed: BTreeMap<VideoId, bool> = BTreeMap::new();
        for (video, deleted) in batch.iter().filter_map(|record| video_of(self.topic, &record.envelope)) {
            *changed.entry(video).or_default() |= deleted;
        }
        for (video, deleted) in changed {
            if deleted {
                forget(self.store.as_ref(), video, self.playback_partitions).await?;
            }
            self.store.publish(&channel(video), Bytes::new()).await?;
        }
        Ok(())
    }
}
