//! The loop over one partition of the `videos` topic.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use event_log::{EventLog, LogError, Stream};
use event_schemas::{Fault, Faulty, Offset, Partition, Topic, rules::ProducerGate};
use metrics::{counter, gauge};
use runtime::{
    Consumption, Delivery, Gate, PartitionReader, SendError,
    dead_letters::{Letter, keep_dead_letter},
    describe,
};
use search_index::{Position, SearchError, SearchIndex};

use crate::decide::{Refused, decide};

/// The stage's name as a consumer of the log, and in dead letters.
pub const CONSUMER: &str = "index";

const STREAM: Stream = Stream::Main(Topic::Videos);

/// What ends the loop: something that trying again can't mend.
#[derive(Debug, thiserror::Error)]
pub enum IndexStageError {
    /// The log refuses.
    #[error("the index stage can't read the log")]
    Log(#[from] LogError),
    /// The index is damaged, or its engine failed.
    #[error("the index stage can't write the search index")]
    Index(#[from] SearchError),
    /// A dead letter can't be sent.
    #[error("the index stage can't put a record aside")]
    DeadLetter(#[from] SendError),
}

impl Faulty for IndexStageError {
    fn fault(&self) -> Fault {
        match self {
            Self::Log(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::DeadLetter(error) => error.fault(),
        }
    }

    fn is_retryable(&self) -> bool {
        match self {
            Self::Log(error) => error.is_retryable(),
            Self::Index(error) => error.is_retryable(),
            Self::DeadLetter(error) => error.is_retryable(),
        }
    }
}

/// Whether the log no longer keeps records that the index has not seen, as for an index made
/// anew after retention. The loops then fill it from what is left; the caller has to have the
/// other videos published to the topic again.
///
/// # Errors
/// The log or the index does not answer.
pub async fn history_is_missing(log: &dyn EventLog, index: &dyn SearchIndex) -> Result<bool, IndexStageError> {
    for partition in (0..log.partitions(STREAM).await?).map(Partition) {
        let ends = log.watermarks(STREAM, partition).await?;
        let applied = index.position(partition).await?.filter(|at| at.generation == ends.generation);
        if applied.map_or(Offset(0), |at| at.next) < ends.first {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Keeps `index` in step with one partition of the `videos` topic until cancelled or until the
/// log closes. `work.topic` is not looked at: this stage reads `videos`.
///
/// The position lies in the index, committed with the changes: after a crash no record is left
/// out, and one that comes again changes nothing, since the index goes by versions. A record that
/// can't be understood becomes a dead letter before the position passes it. While the log, the
/// index or the disk is down the loop waits and shows it on the health board.
///
/// # Errors
/// See [`IndexStageError`]; started again, the loop goes on where the index stands.
pub async fn run_partition(index: Arc<dyn SearchIndex>, work: Consumption) -> Result<(), IndexStageError> {
    Loop { index, work }.run().await
}

struct Loop {
    index: Arc<dyn SearchIndex>,
    work: Consumption,
}

impl Loop {
    async fn run(&self) -> Result<(), IndexStageError> {
        let mut delays = delays();
        let (mut reader, generation) = loop {
            match self.begin().await {
                Ok(begun) => break begun,
                Err(error) if self.may_go_on(&error, &mut delays).await => {}
                Err(error) => return ended(error),
            }
        };
        loop {
            // A reader whose read failed has not moved: it gives the same records again.
            let read = tokio::select! {
                biased;
                () = self.work.cancel.cancelled() => return Ok(()),
                read = reader.next(self.work.limit) => read.map_err(IndexStageError::from),
            };
            let delivery = match read {
                Ok(delivery) => delivery,
                Err(error) if self.may_go_on(&error, &mut delays).await => continue,
                Err(error) => return ended(error),
            };
            delays = self::delays();
            let mut letters = 0;
            while let Err(error) = self.take(&delivery, generation, &mut letters).await {
                if !self.may_go_on(&error, &mut delays).await {
                    return ended(error);
                }
            }
            self.work.health.good();
        }
    }

    /// Where the index stands; the beginning if it stands in another life of the log.
    async fn begin(&self) -> Result<(PartitionReader, u64), IndexStageError> {
        let (log, partition) = (&self.work.log, self.work.partition);
        log.register_consumer(CONSUMER, STREAM).await?;
        let ends = log.watermarks(STREAM, partition).await?;
        let from = match self.index.position(partition).await? {
            Some(at) if at.generation == ends.generation && at.next <= ends.next => at.next,
            Some(at) => {
                tracing::warn!(%partition, ?at, ?ends, "the index stands in another log: reading from the beginning");
                ends.first
            }
            None => ends.first,
        };
        if from < ends.first {
            tracing::error!(%partition, %from, first = %ends.first, "the log has dropped records the index lacks");
        }
        let gate = Gate::Midway(ProducerGate::default());
        let reader = PartitionReader::new(Arc::clone(log), STREAM, partition, from.max(ends.first), gate);
        Ok((reader, ends.generation))
    }

    /// Takes a delivery with everything that follows from it; `letters` counts the dead letters
    /// already kept, so that a repetition does not keep them again.
    async fn take(&self, delivery: &Delivery, generation: u64, letters: &mut usize) -> Result<(), IndexStageError> {
        let partition = self.work.partition;
        let decision = decide(delivery);
        for refused in decision.refused.iter().skip(*letters) {
            self.put_aside(refused).await?;
            *letters += 1;
        }
        let position = Position { generation, next: delivery.next };
        let applied = self.index.apply(decision.changes, Some((partition, position))).await?;
        counter!("millrace_index_changes_total", "outcome" => "changed").increment(applied.changed as u64);
        counter!("millrace_index_changes_total", "outcome" => "stale").increment(applied.stale as u64);
        // Tells retention and lag only: the position that counts is in the index.
        if let Err(error) = self.work.log.commit_position(CONSUMER, STREAM, partition, delivery.next).await {
            tracing::warn!(%partition, %error, "the index stage's position was not noted in the log");
        }
        if let Ok(ends) = self.work.log.watermarks(STREAM, partition).await {
            let lag = ends.next.0.saturating_sub(delivery.next.0);
            gauge!("millrace_index_lag_records", "partition" => partition.to_string()).set(lag as f64);
        }
        Ok(())
    }

    async fn put_aside(&self, refused: &Refused) -> Result<(), IndexStageError> {
        let Consumption { producer, clock, partition, .. } = &self.work;
        let Refused { offset, stored, reason } = refused;
        let letter = Letter { offset: *offset, stored, attempts: 1, reason: reason.clone() };
        keep_dead_letter(producer, CONSUMER, Topic::Videos, *partition, &letter, clock.now()).await?;
        tracing::error!(%partition, %offset, reason, "a record becomes a dead letter");
        counter!("millrace_index_dead_letters_total").increment(1);
        Ok(())
    }

    /// Shows an error that may pass and waits for the next try; false if this is the end.
    async fn may_go_on(&self, error: &IndexStageError, delays: &mut ExponentialBackoff) -> bool {
        let closed = matches!(
            error,
            IndexStageError::Log(LogError::Closed)
                | IndexStageError::DeadLetter(SendError::NotStored(LogError::Closed))
        );
        if closed || !error.is_retryable() {
            return false;
        }
        self.work.health.failing(describe(error));
        tokio::select! {
            biased;
            () = self.work.cancel.cancelled() => false,
            () = tokio::time::sleep(delays.next().unwrap_or_default()) => true,
        }
    }
}

/// How the loop ends after an error that it does not wait for: a closed log or a cancellation is
/// an orderly end.
fn ended(error: IndexStageError) -> Result<(), IndexStageError> {
    if error.is_retryable() { Ok(()) } else { Err(error) }
}

/// Delays that never end, up to ten seconds.
fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(10))
        .with_jitter()
        .without_max_times()
        .build()
}
