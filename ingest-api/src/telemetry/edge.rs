//! Gathers one partition's events into log records.
//!
//! Each partition has one task. While an append is under way, whatever arrives gathers for the
//! next; when the log is idle, the first events wait a few milliseconds for company. A record is
//! one Arrow batch of many sessions, which nobody parses again. The queue is bounded: when it is
//! full, callers get 429 at once. Where there is a [`Spool`], events are kept on this machine's disk
//! while the log does not answer, and 429 means that it is full too.

use std::{sync::Arc, time::Duration};

use access::Problem;
use bytes::Bytes;
use event_log::LogError;
use event_schemas::{
    Millis, Partition, ViewerId,
    playback::{self, PlaybackEvent},
    records::SchemaId,
};
use futures::future::BoxFuture;
use runtime::{Producer, SendError, describe};
use tokio::sync::{mpsc, oneshot};

use super::spool::{STREAM, Spool};

/// When a client may try again while the queue on disk is full.
const FULL_RETRY: Millis = Millis::from_secs(5);

/// Settings of the edge.
#[derive(Debug, Clone)]
pub struct EdgeOptions {
    /// How long the first events of a record wait for company while the log is idle.
    pub linger: Duration,
    /// The most events in one record.
    pub record_events: usize,
    /// Batches that may wait for each partition; more are answered 429.
    pub queue: usize,
    /// How long the log may take before a record goes to the spool, where there is one.
    pub patience: Duration,
}

impl Default for EdgeOptions {
    fn default() -> Self {
        Self { linger: Duration::from_millis(3), record_events: 8192, queue: 4096, patience: Duration::from_secs(2) }
    }
}

struct Waiting {
    events: Vec<PlaybackEvent>,
    done: oneshot::Sender<Result<(), Problem>>,
}

/// The way of events into the log.
pub struct Edge {
    queues: Vec<mpsc::Sender<Waiting>>,
}

impl Edge {
    /// An edge over a topic of this many partitions, and the futures that do its work: one for
    /// each partition, to be run until the edge is dropped, when they drain and end. `spools` holds
    /// one for each partition, or none at all.
    #[must_use]
    pub fn new(
        producer: Arc<Producer>,
        partitions: u32,
        spools: &[Spool],
        options: &EdgeOptions,
    ) -> (Self, Vec<BoxFuture<'static, ()>>) {
        let mut queues = Vec::new();
        let mut tasks: Vec<BoxFuture<'static, ()>> = Vec::new();
        for partition in 0..partitions {
            let (sender, receiver) = mpsc::channel(options.queue.max(1));
            queues.push(sender);
            let gather = Gather {
                producer: Arc::clone(&producer),
                spool: spools.get(partition as usize).cloned(),
                patience: options.patience,
                partition: Partition(partition),
                receiver,
            };
            tasks.push(Box::pin(gather.run(options.clone())));
        }
        (Self { queues }, tasks)
    }

    /// Appends one viewer's events; resolves when they are durable in the log.
    ///
    /// # Errors
    /// 429 when too many batches wait, 503 when the log takes nothing; the client then sends the
    /// batch again, unchanged.
    pub async fn append(&self, viewer: ViewerId, events: Vec<PlaybackEvent>) -> Result<(), Problem> {
        if events.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(self.queues.len()).unwrap_or(u32::MAX);
        let partition = Partition::of_key(viewer.as_bytes(), count);
        let queue = self.queues.get(partition.0 as usize).ok_or_else(closing)?;
        let (done, answer) = oneshot::channel();
        queue.try_send(Waiting { events, done }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Problem::too_many(
                "telemetry-backlog",
                "more telemetry is arriving than the log takes; send the batch again later",
                Millis::from_secs(1),
            ),
            mpsc::error::TrySendError::Closed(_) => closing(),
        })?;
        answer.await.map_err(|_| closing())?
    }
}

struct Gather {
    producer: Arc<Producer>,
    spool: Option<Spool>,
    patience: Duration,
    partition: Partition,
    receiver: mpsc::Receiver<Waiting>,
}

impl Gather {
    async fn run(mut self, options: EdgeOptions) {
        while let Some(first) = self.receiver.recv().await {
            let mut waiting = vec![first];
            let mut events = waiting[0].events.len();
            let deadline = tokio::time::Instant::now() + options.linger;
            while events < options.record_events {
                match tokio::time::timeout_at(deadline, self.receiver.recv()).await {
                    Ok(Some(next)) => {
                        events += next.events.len();
                        waiting.push(next);
                    }
                    Ok(None) | Err(_) => break,
                }
            }
            let result = self.append(&mut waiting).await;
            if result.is_ok() {
                metrics::counter!("millrace_telemetry_events_total").increment(events as u64);
            }
            for batch in waiting {
                // A caller that has gone away sends the batch again and is recognised.
                let _ = batch.done.send(result.clone());
            }
        }
    }

    async fn append(&self, waiting: &mut [Waiting]) -> Result<(), Problem> {
        let mut events = Vec::with_capacity(waiting.iter().map(|batch| batch.events.len()).sum());
        waiting.iter_mut().for_each(|batch| events.append(&mut batch.events));
        let payload = playback::to_batch(&events)
            .and_then(|batch| playback::encode(&batch))
            .map_err(|error| Problem::internal(&error))?;
        let Some(spool) = &self.spool else {
            return self.send(payload).await.map_err(|error| Problem::from_seam(&error));
        };
        // Behind what waits already: a partition's records keep their order.
        if spool.waiting() == 0 {
            // Given up here, the record may still reach the log: its events are then there twice
            // and taken once.
            match tokio::time::timeout(self.patience, self.send(payload.clone())).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(SendError::NotStored(LogError::Closed))) => return Err(closing()),
                Ok(Err(error)) => {
                    let partition = self.partition;
                    tracing::warn!(%partition, error = describe(&error), "telemetry goes to the queue on disk");
                }
                Err(_) => {
                    let partition = self.partition;
                    tracing::warn!(%partition, "the log takes too long; telemetry goes to the queue on disk");
                }
            }
        }
        spool.push(payload).await.map_err(|error| match error {
            LogError::Full(_) => Problem::too_many(
                "telemetry-backlog",
                "the log does not answer and the queue on disk is full; send the batch again later",
                FULL_RETRY,
            ),
            LogError::Closed => closing(),
            error => Problem::from_seam(&error),
        })
    }

    async fn send(&self, payload: Bytes) -> Result<(), SendError> {
        let started = std::time::Instant::now();
        let records = vec![(Bytes::new(), payload)];
        let sent = self.producer.send(STREAM, self.partition, SchemaId::PlaybackBatch as u16, records).await;
        metrics::histogram!("millrace_telemetry_append_seconds").record(started.elapsed().as_secs_f64());
        sent.map(|_| ())
    }
}

fn closing() -> Problem {
    Problem::unavailable("the server is shutting down; send the batch again")
}
