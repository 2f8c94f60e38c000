//! Moves the outbox to the log.
//!
//! A row is deleted once its record is durable in the log, so every record arrives at least once, each
//! key's in the order of the transactions. After a crash, or when two relays overlap for the end of a
//! lease, some come again: consumers go by the version that the records carry.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use catalog::{Catalog, CatalogError, OutboxRow};
use event_log::{LogError, Stream};
use event_schemas::{Clock, Fault, Faulty, Millis};
use futures::future::join_all;
use metrics::counter;
use runtime::{HealthHandle, Producer, SendError};
use tokio_util::sync::CancellationToken;

use crate::{
    decide::{Lane, lanes},
    tenure::Tenure,
};

/// The lease under which one relay works.
const LEASE: &str = "relay";

/// How a [`Relay`] works.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Who holds the lease: stable over restarts of a process, different between processes.
    pub owner: String,
    /// How long the lease lasts unless renewed.
    pub lease: Millis,
    /// How often the outbox is read when nobody wakes the relay.
    pub poll: Duration,
    /// The most rows one step delivers.
    pub batch: u32,
}

impl RelayConfig {
    /// A lease of 15 seconds, a look every 500 ms, 256 rows a step.
    #[must_use]
    pub fn new(owner: impl Into<String>) -> Self {
        Self { owner: owner.into(), lease: Millis::from_secs(15), poll: Duration::from_millis(500), batch: 256 }
    }
}

/// Why rows were not delivered. They stay in the outbox.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The outbox could not be read or cleared.
    #[error("the outbox failed")]
    Catalog(#[from] CatalogError),
    /// The log does not say how many partitions a topic has.
    #[error("the log failed")]
    Log(#[from] LogError),
    /// The log did not take a record.
    #[error("the log did not take a record")]
    Send(#[from] SendError),
}

impl Faulty for RelayError {
    fn fault(&self) -> Fault {
        match self {
            Self::Catalog(error) => error.fault(),
            Self::Log(error) => error.fault(),
            Self::Send(error) => error.fault(),
        }
    }
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another relay holds the lease.
    Standby,
    /// So many rows were delivered; true if there may be more.
    Delivered(usize, bool),
}

/// Delivers the outbox.
pub struct Relay {
    catalog: Arc<dyn Catalog>,
    producer: Arc<Producer>,
    clock: Arc<dyn Clock>,
    config: RelayConfig,
}

impl Relay {
    /// A relay from `catalog` to the log that `producer` writes to.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, producer: Arc<Producer>, clock: Arc<dyn Clock>, config: RelayConfig) -> Self {
        Self { catalog, producer, clock, config }
    }

    /// This relay's claim to the lease, for [`Self::step`].
    #[must_use]
    pub fn tenure(&self) -> Tenure {
        let (catalog, clock) = (Arc::clone(&self.catalog), Arc::clone(&self.clock));
        Tenure::new(catalog, clock, LEASE, self.config.owner.clone(), self.config.lease)
    }

    /// Delivers until cancelled. A failing catalog or log is waited for, for as long as it takes.
    pub async fn run(&self, health: HealthHandle, cancel: CancellationToken) {
        let mut tenure = self.tenure();
        let mut delays = delays();
        let mut is_failing = false;
        loop {
            // A step is finished even after the cancellation: it ends when the log answers.
            let wait = match self.step(&mut tenure).await {
                Ok(step) => {
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("the relay delivers again");
                        delays = self::delays();
                    }
                    health.good();
                    if matches!(step, Step::Delivered(_, true)) { Duration::ZERO } else { self.config.poll }
                }
                Err(error) => {
                    let text = runtime::describe(&error);
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(error = text, "the relay can't deliver and tries again");
                    }
                    health.failing(text);
                    delays.next().unwrap_or(self.config.poll)
                }
            };
            let changed = async {
                if is_failing {
                    std::future::pending().await
                } else {
                    self.catalog.outbox_changed().await;
                }
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                () = changed => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        tenure.give_up().await;
    }

    /// Delivers one batch, if this relay holds the lease.
    ///
    /// # Errors
    /// Rows that were not delivered stay; those that were are gone, or come again at worst.
    pub async fn step(&self, tenure: &mut Tenure) -> Result<Step, RelayError> {
        if !tenure.hold().await? {
            return Ok(Step::Standby);
        }
        let rows = self.catalog.outbox(self.config.batch).await?;
        if rows.is_empty() {
            return Ok(Step::Delivered(0, false));
        }
        let is_full = rows.len() >= self.config.batch as usize;
        let mut partitions = HashMap::new();
        for row in &rows {
            if let Entry::Vacant(entry) = partitions.entry(row.topic) {
                entry.insert(self.producer.partitions(Stream::Main(row.topic)).await?);
            }
        }
        let mut delivered = Vec::with_capacity(rows.len());
        let mut failure = None;
        let sent = join_all(lanes(rows, &partitions).into_iter().map(|lane| self.send(lane))).await;
        for (ids, error) in sent {
            delivered.extend(ids);
            failure = failure.or(error);
        }
        if !delivered.is_empty() {
            self.catalog.outbox_delivered(&delivered).await?;
            counter!("millrace_outbox_delivered_total").increment(delivered.len() as u64);
        }
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(Step::Delivered(delivered.len(), is_full)),
        }
    }

    /// Sends a lane up to the first failure, so that nothing passes what failed.
    async fn send(&self, lane: Lane) -> (Vec<i64>, Option<SendError>) {
        let mut ids = Vec::new();
        for run in lane.runs {
            let Some(schema) = run.first().map(|row| row.schema) else { continue };
            let run_ids: Vec<_> = run.iter().map(|row| row.id).collect();
            let record = |row: OutboxRow| (Bytes::from(row.key), Bytes::from(row.payload));
            let records = run.into_iter().map(record).collect();
            match self.producer.send(Stream::Main(lane.topic), lane.partition, schema, records).await {
                Ok(_) => ids.extend(run_ids),
                Err(error) => return (ids, Some(error)),
            }
        }
        (ids, None)
    }
}

fn delays() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times()
        .build()
}
