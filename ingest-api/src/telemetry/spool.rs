//! A bounded queue on this machine's disk, for the time that the log does not answer.
//!
//! While records of a partition wait here, newer ones queue up behind them; a forwarder sends them
//! on in their order once the log is back. They are acknowledged when they are durable here. What
//! was sent on but not yet crossed off when the process died is sent again; its events are
//! recognised by session and number, like those of a client that retries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use event_log::{EventLog, LogError, ReadLimit, Stream};
use event_schemas::{Offset, Partition, Topic, records::SchemaId};
use metrics::gauge;
use runtime::{HealthHandle, Producer, SendError, describe};
use tokio_util::sync::CancellationToken;

/// The topic, here and there.
pub(super) const STREAM: Stream = Stream::Main(Topic::Playback);

/// The forwarder's name as a consumer of the queue.
const CONSUMER: &str = "forwarder";

/// Sent on together.
const FORWARD: ReadLimit = ReadLimit { records: 64, bytes: 2 << 20 };

/// The queue of one partition. Clones share everything.
#[derive(Clone)]
pub struct Spool {
    queue: Arc<dyn EventLog>,
    partition: Partition,
    ends: Arc<Ends>,
}

/// Offsets in the queue.
struct Ends {
    /// The first not yet known to be sent on.
    done: AtomicU64,
    /// One past the last.
    next: AtomicU64,
}

impl Spool {
    /// The queue of `partition` in `queue`, a log of this process's own that holds the topic
    /// `playback` and no other's records. What waits there from before waits on.
    ///
    /// # Errors
    /// The queue can't be read.
    pub async fn open(queue: Arc<dyn EventLog>, partition: Partition) -> Result<Self, LogError> {
        queue.register_consumer(CONSUMER, STREAM).await?;
        let ends = queue.watermarks(STREAM, partition).await?;
        let done = queue.committed_position(CONSUMER, STREAM, partition).await?.max(ends.first);
        let ends = Ends { done: done.0.into(), next: ends.next.0.into() };
        let spool = Self { queue, partition, ends: Arc::new(ends) };
        spool.show();
        Ok(spool)
    }

    /// The number of records that wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.ends.next.load(Ordering::Acquire).saturating_sub(self.ends.done.load(Ordering::Acquire))
    }

    /// Keeps a record; resolves when it is durable.
    ///
    /// # Errors
    /// [`LogError::Full`] when the queue has no room.
    pub(super) async fn push(&self, payload: Bytes) -> Result<(), LogError> {
        let kept = self.queue.append(STREAM, self.partition, vec![payload]).await?;
        self.ends.next.fetch_max(kept.first.0 + 1, Ordering::AcqRel);
        self.show();
        Ok(())
    }

    /// Sends on what waits until cancelled.
    ///
    /// # Errors
    /// The queue can't be read. While the log does not answer this waits.
    pub async fn forward(
        &self,
        producer: &Producer,
        health: HealthHandle,
        cancel: CancellationToken,
    ) -> Result<(), LogError> {
        loop {
            let from = Offset(self.ends.done.load(Ordering::Acquire));
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                waited = self.queue.wait(STREAM, self.partition, from) => match waited {
                    Err(LogError::Closed) => return Ok(()),
                    waited => waited?,
                },
            }
            let records = self.queue.read(STREAM, self.partition, from, FORWARD).await?;
            let Some(last) = records.last() else { continue };
            let next = last.offset.next();
            let payloads: Vec<(Bytes, Bytes)> =
                records.into_iter().map(|record| (Bytes::new(), record.bytes)).collect();
            if !self.send(producer, &payloads, &health, &cancel).await {
                return Ok(());
            }
            self.queue.commit_position(CONSUMER, STREAM, self.partition, next).await?;
            self.ends.done.store(next.0, Ordering::Release);
            self.show();
            if self.waiting() == 0 {
                tracing::info!(partition = %self.partition, "the queue on disk has been sent on");
                health.good();
            }
        }
    }

    /// Sends until it succeeds; false if cancelled.
    async fn send(
        &self,
        producer: &Producer,
        payloads: &[(Bytes, Bytes)],
        health: &HealthHandle,
        cancel: &CancellationToken,
    ) -> bool {
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            let schema = SchemaId::PlaybackBatch as u16;
            let error: SendError = tokio::select! {
                biased;
                () = cancel.cancelled() => return false,
                sent = producer.send(STREAM, self.partition, schema, payloads.to_vec()) => match sent {
                    Ok(_) => return true,
                    Err(error) => error,
                },
            };
            let waiting = self.waiting();
            health.failing(format!("{waiting} telemetry records wait on disk for the log: {}", describe(&error)));
            tokio::select! {
                biased;
                () = cancel.cancelled() => return false,
                () = tokio::time::sleep(delays.next().unwrap_or_default()) => {}
            }
        }
    }

    fn show(&self) {
        gauge!("millrace_telemetry_spooled_records", "partition" => self.partition.to_string())
            .set(self.waiting() as f64);
    }
}
