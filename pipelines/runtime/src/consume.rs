//! The loop of a stage whose effects may be repeated: it reads a partition from its committed
//! position, hands batches to the stage, and commits the position after each.
//!
//! A failing dependency is waited for, for as long as it takes, and shown on the health board.
//! A record that can't be processed goes to the topic's dead letters and the partition goes on.

use std::{panic::AssertUnwindSafe, sync::Arc};

use async_trait::async_trait;
use event_log::{EventLog, LogError, ReadLimit, Stream};
use event_schemas::{Clock, Fault, Faulty, Offset, Partition, Topic, rules::ProducerGate};
use futures::FutureExt;
use metrics::{counter, gauge};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff,
    dead_letters::{Letter, keep_dead_letter},
    describe,
    health::HealthHandle,
    producer::{Producer, SendError},
    reader::{Admitted, Delivery, Gate, PartitionReader},
    tasks::panic_text,
};

/// Tries after the first for an error that may pass but is no dependency's.
const RETRIES: usize = 3;

/// Why a stage could not take a batch.
#[derive(Debug)]
pub struct StageError {
    fault: Fault,
    retryable: bool,
    text: String,
}

impl StageError {
    /// The batch holds something that will never be processed: a bad record, or a bug.
    pub fn unprocessable(error: &dyn std::error::Error) -> Self {
        Self { fault: Fault::Program, retryable: false, text: describe(error) }
    }

    /// Something the stage needs is down.
    pub fn dependency(error: &dyn std::error::Error) -> Self {
        Self { fault: Fault::Dependency, retryable: true, text: describe(error) }
    }
}

impl<E: Faulty> From<E> for StageError {
    fn from(error: E) -> Self {
        Self { fault: error.fault(), retryable: error.is_retryable(), text: describe(&error) }
    }
}

impl std::fmt::Display for StageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A stage whose effects may be repeated: taking a record twice has the effect of taking it once.
#[async_trait]
pub trait Stage: Send + Sync {
    /// Its name as a consumer of the log: never changed, or it begins anew.
    fn name(&self) -> &str;

    /// Takes a batch of one partition, in order; on return its effects are durable.
    ///
    /// On an error it is handed the same records again, perhaps one by one: it need not undo
    /// anything.
    ///
    /// # Errors
    /// [`Fault::Dependency`]: tried again for as long as it takes. Otherwise tried again a few
    /// times if retryable, then record by record; what still fails becomes a dead letter.
    async fn handle(&self, batch: &[Admitted]) -> Result<(), StageError>;
}

/// What [`run_idempotent`] works with.
pub struct Consumption {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Writes the dead letters; their stream must exist.
    pub producer: Arc<Producer>,
    /// Stamps dead letters.
    pub clock: Arc<dyn Clock>,
    /// The topic to read.
    pub topic: Topic,
    /// The partition to read.
    pub partition: Partition,
    /// The most one batch holds.
    pub limit: ReadLimit,
    /// Where failures are shown.
    pub health: HealthHandle,
    /// Ends the loop, between two batches or between two tries.
    pub cancel: CancellationToken,
}

/// Runs `stage` over a partition until cancelled or until the log closes.
///
/// Every record is handed to the stage at least once and each producer's in order; one that was
/// handed over before the last commit of the position may come again after a restart.
///
/// # Errors
/// [`LogError`]s that trying again can't mend, such as an unknown topic.
pub async fn run_idempotent(stage: &dyn Stage, consumption: Consumption) -> Result<(), LogError> {
    Loop { stage, c: consumption }.run().await
}

/// How trying a batch ended.
enum Tried {
    Done,
    Cancelled,
    GaveUp { attempts: u32, reason: String },
}

struct Loop<'a> {
    stage: &'a dyn Stage,
    c: Consumption,
}

impl Loop<'_> {
    async fn run(&self) -> Result<(), LogError> {
        let (name, stream, partition) = (self.stage.name(), Stream::Main(self.c.topic), self.c.partition);
        let mut delays = backoff::forever();
        let mut reader = loop {
            match self.begin().await {
                Ok(reader) => break reader,
                Err(error) if self.bear(&error, &mut delays).await? => {}
                Err(_) => return Ok(()),
            }
        };
        loop {
            let read = tokio::select! {
                biased;
                () = self.c.cancel.cancelled() => return Ok(()),
                read = reader.next(self.c.limit) => read,
            };
            let delivery = match read {
                Ok(delivery) => delivery,
                Err(error) if self.bear(&error, &mut delays).await? => continue,
                Err(_) => return Ok(()),
            };
            delays = backoff::forever();
            if !self.settle(&delivery).await? {
                return Ok(());
            }
            let next = delivery.next;
            while let Err(error) = self.c.log.commit_position(name, stream, partition, next).await {
                if !self.bear(&error, &mut delays).await? {
                    return Ok(());
                }
            }
            self.c.health.good();
            counter!("millrace_stage_records_total", "stage" => name.to_owned())
                .increment(delivery.records.len() as u64);
            if let Ok(ends) = self.c.log.watermarks(stream, partition).await {
                let labels = [("stage", name.to_owned()), ("partition", partition.to_string())];
                gauge!("millrace_stage_lag_records", &labels).set(ends.next.0.saturating_sub(next.0) as f64);
            }
        }
    }

    async fn begin(&self) -> Result<PartitionReader, LogError> {
        let (name, stream, partition) = (self.stage.name(), Stream::Main(self.c.topic), self.c.partition);
        self.c.log.register_consumer(name, stream).await?;
        let committed = self.c.log.committed_position(name, stream, partition).await?;
        let first = self.c.log.watermarks(stream, partition).await?.first;
        if committed < first && committed > Offset(0) {
            tracing::error!(stage = name, %stream, %partition, %committed, %first, "records were dropped unread");
        }
        let gate = Gate::Midway(ProducerGate::default());
        Ok(PartitionReader::new(self.c.log.clone(), stream, partition, committed.max(first), gate))
    }

    /// Shows a failure of the log and waits before the next try; false if there is to be none.
    async fn bear(&self, error: &LogError, delays: &mut backoff::Delays) -> Result<bool, LogError> {
        if matches!(error, LogError::Closed) {
            return Ok(false);
        }
        if !error.is_retryable() {
            return Err(error.clone());
        }
        self.c.health.failing(describe(error));
        Ok(backoff::pause(delays.next().unwrap_or_default(), &self.c.cancel).await)
    }

    /// Has the stage take a delivery, or puts aside what can't be taken. False if cancelled.
    async fn settle(&self, delivery: &Delivery) -> Result<bool, LogError> {
        for record in &delivery.undecodable {
            let reason = record.error.to_string();
            let letter = Letter { offset: record.offset, stored: &record.stored, attempts: 0, reason };
            if !self.put_aside(letter).await? {
                return Ok(false);
            }
        }
        if delivery.records.is_empty() {
            return Ok(true);
        }
        match self.attempt(&delivery.records).await {
            Tried::Done => return Ok(true),
            Tried::Cancelled => return Ok(false),
            Tried::GaveUp { .. } => {}
        }
        for record in &delivery.records {
            match self.attempt(std::slice::from_ref(record)).await {
                Tried::Done => {}
                Tried::Cancelled => return Ok(false),
                Tried::GaveUp { attempts, reason } => {
                    let letter = Letter { offset: record.offset, stored: &record.stored, attempts, reason };
                    if !self.put_aside(letter).await? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    async fn attempt(&self, batch: &[Admitted]) -> Tried {
        let mut waits = backoff::forever();
        let mut retries = backoff::bounded(RETRIES);
        for attempts in 1.. {
            let outcome = AssertUnwindSafe(self.stage.handle(batch)).catch_unwind().await;
            let error = match outcome {
                Ok(Ok(())) => return Tried::Done,
                Ok(Err(error)) => error,
                Err(panic) => {
                    let text = format!("the stage panicked: {}", panic_text(&*panic));
                    StageError { fault: Fault::Program, retryable: false, text }
                }
            };
            counter!("millrace_stage_failures_total", "stage" => self.stage.name().to_owned()).increment(1);
            let delay = match error.fault {
                Fault::Dependency => {
                    tracing::warn!(stage = self.stage.name(), %error, "a stage waits for what it needs");
                    self.c.health.failing(error.text.clone());
                    waits.next()
                }
                _ if error.retryable => retries.next(),
                _ => None,
            };
            match delay {
                None => return Tried::GaveUp { attempts, reason: error.text },
                Some(delay) if backoff::pause(delay, &self.c.cancel).await => {}
                Some(_) => return Tried::Cancelled,
            }
        }
        Tried::Cancelled
    }

    /// Stores a dead letter, perhaps more than once if the log fails. False if cancelled.
    async fn put_aside(&self, letter: Letter<'_>) -> Result<bool, LogError> {
        let stage = self.stage.name();
        let (topic, partition, offset) = (self.c.topic, self.c.partition, letter.offset);
        tracing::error!(stage, %topic, %partition, %offset, reason = letter.reason, "a record becomes a dead letter");
        let at = self.c.clock.now();
        let mut delays = backoff::forever();
        while let Err(error) = keep_dead_letter(&self.c.producer, stage, topic, partition, &letter, at).await {
            let error = match error {
                SendError::NotStored(error) | SendError::Unresolved(error) | SendError::Blocked(error) => error,
                SendError::Record(error) => LogError::Failed(describe(&*error)),
            };
            if !self.bear(&error, &mut delays).await? {
                return Ok(false);
            }
        }
        counter!("millrace_stage_dead_letters_total", "stage" => stage.to_owned()).increment(1);
        Ok(true)
    }
}
