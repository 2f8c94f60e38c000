//! Follows the `transcodes` and `videos` topics and announces each change of a video on its
//! fan-out channel, for the event streams of this process.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use event_log::{EventLog, LogError, ReadLimit, Stream};
use event_schemas::{
    Envelope, Partition, Topic, VideoId,
    records::{JsonRecord as _, TranscodeRecord, VideoRecord},
};
use serving_store::ServingStore;
use tokio_util::sync::CancellationToken;

use crate::events::channel;

const RETRY: Duration = Duration::from_millis(500);

fn video_of(topic: Topic, envelope: &Envelope) -> Option<VideoId> {
    match topic {
        Topic::Transcodes => TranscodeRecord::from_envelope(envelope).ok().map(|record| record.video_id),
        Topic::Videos => VideoRecord::from_envelope(envelope).ok().map(|record| record.video_id),
        _ => None,
    }
}

async fn follow_from_end(
    log: &dyn EventLog,
    store: &dyn ServingStore,
    topic: Topic,
    partition: Partition,
) -> Result<(), LogError> {
    let stream = Stream::Main(topic);
    let mut next = log.watermarks(stream, partition).await?.next;
    loop {
        log.wait(stream, partition, next).await?;
        for record in log.read(stream, partition, next, ReadLimit::default()).await? {
            next = record.offset.next();
            let video = Envelope::decode(&record.bytes).ok().and_then(|envelope| video_of(topic, &envelope));
            if let Some(video) = video
                && let Err(error) = store.publish(&channel(video), Bytes::new()).await
            {
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
    cancel: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            result = follow_from_end(log.as_ref(), store.as_ref(), topic, partition) => {
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
