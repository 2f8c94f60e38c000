//! Follows the `transcodes` and `videos` topics and announces each change of a video on its
//! fan-out channel, for the event streams of this process; forgets the figures of deleted videos.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use event_log::{EventLog, LogError, ReadLimit, Stream};
use event_schemas::{
    Envelope, Partition, Topic, VideoId,
    records::{JsonRecord as _, TranscodeRecord, VideoRecord},
};
use serving_store::{
    ServingError, ServingStore,
    counters::VideoCounters,
    stats::{HoursOfVideo, RelatedToVideo, RetentionOfVideo, TRENDING, VideoFigure as _},
};
use tokio_util::sync::CancellationToken;

use crate::events::channel;

const RETRY: Duration = Duration::from_millis(500);

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

async fn follow_from_end(
    log: &dyn EventLog,
    store: &dyn ServingStore,
    topic: Topic,
    partition: Partition,
    playback_partitions: u32,
) -> Result<(), LogError> {
    let stream = Stream::Main(topic);
    let mut next = log.watermarks(stream, partition).await?.next;
    loop {
        log.wait(stream, partition, next).await?;
        for record in log.read(stream, partition, next, ReadLimit::default()).await? {
            next = record.offset.next();
            let video = Envelope::decode(&record.bytes).ok().and_then(|envelope| video_of(topic, &envelope));
            let Some((video, deleted)) = video else { continue };
            if deleted && let Err(error) = forget(store, video, playback_partitions).await {
                tracing::debug!(%error, "the figures of a deleted video stay for now");
            }
            if let Err(error) = store.publish(&channel(video), Bytes::new()).await {
                tracing::debug!(%error, "a change was not announced");
            }
        }
    }
}

/// Follows one partition from its present end until cancelled. Announcements are hints, so what
/// happens while the log is down is not made up for.
pub async fn run(
    log: Arc<dyn EventLog>,
    store: Arc<dyn ServingStore>,
    topic: Topic,
    partition: Partition,
    playback_partitions: u32,
    cancel: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            result = follow_from_end(log.as_ref(), store.as_ref(), topic, partition, playback_partitions) => {
                if let Err(error) = result {
                    tracing::debug!(%topic, %partition, %error, "following a topic failed; trying again");
                }
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}
