//! The stage's I/O: read, apply, publish, send on.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use event_log::{EventLog, LogError, ReadLimit, Stream};
use event_schemas::{
    Offset, OffsetVector, Partition, Topic, VideoId,
    records::{JsonRecord, SchemaId},
};
use futures::{StreamExt, TryStreamExt, stream};
use intake::PartitionIntake;
use metrics::{counter, gauge};
use runtime::Producer;
use serving_store::{ServingError, ServingStore, counters::VideoCounters};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{
    History, Past, ViewsError, ViewsState,
    state::{Applied, Expiry},
};

/// The stage's name as a consumer of the log.
pub const CONSUMER: &str = "views";

const STREAM: Stream = Stream::Main(Topic::Playback);

/// What one read asks for.
const READ: ReadLimit = ReadLimit { records: 512, bytes: 2 << 20 };

/// Counted views sent together.
const SEND_AT_ONCE: usize = 1024;

/// Writes to the serving store under way at once.
const PUBLISH_AT_ONCE: usize = 16;

/// What the stage works with.
#[derive(Clone)]
pub struct ViewsDeps {
    /// The log to read and to send counted views to.
    pub log: Arc<dyn EventLog>,
    /// Sends counted views.
    pub producer: Arc<Producer>,
    /// Where the counters go.
    pub store: Arc<dyn ServingStore>,
    /// The stage's own state.
    pub state: ViewsState,
    /// What was taken before, should the state be lost.
    pub history: Arc<dyn History>,
}

/// How often to look whether the serving store has lost what it held.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Counts one partition until cancelled. At the start, and whenever the serving store has lost what
/// it held, every total is written to it.
///
/// A counted view is in the `views` topic at least once. After a crash it may be there twice: the
/// same viewer, video, session and event time say that it is the same view.
///
/// # Errors
/// See [`ViewsError`]; called again, it goes on where the state stands.
pub async fn run_partition(deps: ViewsDeps, partition: Partition, cancel: CancellationToken) -> Result<(), ViewsError> {
    deps.log.register_consumer(CONSUMER, STREAM).await?;
    // What this process has not counted yet, another may have counted and sent.
    let sent_before = deps.log.committed_position(CONSUMER, STREAM, partition).await?;
    let mut intake = begin(&deps, partition, sent_before).await?;
    publish_all(&deps, partition, intake.next).await?;
    send(&deps, partition).await?;
    deps.log.commit_position(CONSUMER, STREAM, partition, intake.next).await?;
    let mut expiry = Expiry::default();
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            _ = look.tick() => {
                if deps.store.get(&marker(partition)).await?.is_none() {
                    publish_all(&deps, partition, intake.next).await?;
                }
                continue;
            }
            waited = deps.log.wait(STREAM, partition, intake.next) => match waited {
                Err(LogError::Closed) => return Ok(()),
                waited => waited?,
            },
        }
        let records = match deps.log.read(STREAM, partition, intake.next, READ).await {
            Err(LogError::Closed) => return Ok(()),
            records => records?,
        };
        let began = std::mem::take(&mut intake);
        let (now, applied) = blocking(&deps, move |state| {
            let mut intake = began;
            let applied = state.apply(partition, &mut intake, &records, sent_before)?;
            Ok((intake, applied))
        })
        .await?;
        intake = now;
        count(partition, &intake, &applied);
        publish(&deps, partition, intake.next, applied.totals).await?;
        send(&deps, partition).await?;
        deps.log.commit_position(CONSUMER, STREAM, partition, intake.next).await?;
        let (watermark, from) = (intake.watermark, expiry);
        expiry = blocking(&deps, move |state| state.expire(partition, watermark, &from)).await?;
    }
}

/// The state to go on from.
async fn begin(deps: &ViewsDeps, partition: Partition, sent_before: Offset) -> Result<PartitionIntake, ViewsError> {
    let ends = deps.log.watermarks(STREAM, partition).await?;
    match blocking(deps, move |state| state.load(partition)).await? {
        Some(intake) if intake.next > ends.next => {
            Err(ViewsError::LogBehind { partition, state: intake.next, log: ends.next })
        }
        Some(intake) if intake.next >= ends.first => Ok(intake),
        None if ends.first == Offset(0) => Ok(PartitionIntake::default()),
        _ => restore(deps, partition, ends.first, sent_before).await,
    }
}

/// Makes the state anew: it is absent, or was left behind while another process counted on and the
/// log dropped what lies between.
async fn restore(
    deps: &ViewsDeps,
    partition: Partition,
    first: Offset,
    sent_before: Offset,
) -> Result<PartitionIntake, ViewsError> {
    let Past { until, mut rows } = deps.history.past(partition).await?;
    if until < first {
        return Err(ViewsError::StateLost { partition, lake: until, first });
    }
    tracing::warn!(%partition, %until, "the counts of a partition are made anew from the lake");
    let mut restoring = blocking(deps, move |state| state.begin_restoring(partition, sent_before)).await?;
    while let Some(batch) = rows.try_next().await? {
        restoring = blocking(deps, move |state| {
            let mut restoring = restoring;
            state.restore(&mut restoring, &batch)?;
            Ok(restoring)
        })
        .await?;
    }
    blocking(deps, move |state| state.finish_restoring(restoring, until)).await
}

async fn blocking<T: Send + 'static>(
    deps: &ViewsDeps,
    work: impl FnOnce(&ViewsState) -> Result<T, intake::IntakeError> + Send + 'static,
) -> Result<T, ViewsError> {
    let state = deps.state.clone();
    Ok(tokio::task::spawn_blocking(move || work(&state)).await??)
}

/// The key whose absence says that the serving store has lost the totals of `partition`.
fn marker(partition: Partition) -> String {
    format!("marker/views/{partition}")
}

/// Writes every total of the partition, and last the mark that they are there.
async fn publish_all(deps: &ViewsDeps, partition: Partition, next: Offset) -> Result<(), ViewsError> {
    let totals = blocking(deps, move |state| state.totals(partition)).await?;
    tracing::info!(%partition, videos = totals.len(), "every total is written to the serving store");
    publish(deps, partition, next, totals.into_iter().collect()).await?;
    deps.store.put(&marker(partition), Bytes::new(), OffsetVector::default()).await?;
    Ok(())
}

/// Writes the totals, then tells whoever watches a video's page.
async fn publish(
    deps: &ViewsDeps,
    partition: Partition,
    next: Offset,
    totals: BTreeMap<VideoId, VideoCounters>,
) -> Result<(), ViewsError> {
    let store = deps.store.as_ref();
    stream::iter(totals)
        .map(Ok::<_, ServingError>)
        .try_for_each_concurrent(PUBLISH_AT_ONCE, |(video, total)| async move {
            total.write(store, video, partition, next).await?;
            // The message says only that something changed; readers take the figures from the store.
            store.publish(&format!("videos/{video}"), Bytes::new()).await
        })
        .await?;
    Ok(())
}

/// Sends the counted views that wait, and forgets them.
async fn send(deps: &ViewsDeps, partition: Partition) -> Result<(), ViewsError> {
    let to = Stream::Main(Topic::Views);
    loop {
        let waiting = blocking(deps, move |state| state.waiting(partition, SEND_AT_ONCE)).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        let partitions = deps.producer.partitions(to).await?;
        let mut records: BTreeMap<Partition, Vec<(Bytes, Bytes)>> = BTreeMap::new();
        for waiting in &waiting {
            let key = Bytes::copy_from_slice(waiting.view.viewer_id.as_bytes());
            let payload = waiting.view.to_payload().map_err(|e| runtime::SendError::Record(Arc::new(e)))?;
            records.entry(Partition::of_key(&key, partitions)).or_default().push((key, payload));
        }
        for (partition, records) in records {
            deps.producer.send(to, partition, SchemaId::View as u16, records).await?;
        }
        counter!("millrace_views_counted_total").increment(waiting.len() as u64);
        blocking(deps, move |state| state.sent(&waiting)).await?;
    }
}

fn count(partition: Partition, intake: &PartitionIntake, applied: &Applied) {
    counter!("millrace_views_rows_total").increment(applied.rows as u64);
    counter!("millrace_views_duplicate_rows_total").increment(applied.duplicates as u64);
    counter!("millrace_views_skipped_records_total").increment(applied.skipped as u64);
    counter!("millrace_views_unreadable_records_total").increment(applied.unreadable as u64);
    gauge!("millrace_views_next_offset", "partition" => partition.to_string()).set(intake.next.0 as f64);
}
