//! A log that fails on purpose, by a seed: for the tests of whoever uses a log.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use event_schemas::{Offset, Partition};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{Appended, EventLog, LogError, ReadLimit, StoredRecord, Stream, TopicSpec, Watermarks};

/// How often each call fails, from 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultPlan {
    /// The seed of the injected failures.
    pub seed: u64,
    /// An append fails and has stored nothing.
    pub append_failed: f64,
    /// An append has an unknown outcome and has stored nothing.
    pub append_lost: f64,
    /// An append has an unknown outcome and has stored everything.
    pub append_stored: f64,
    /// A read fails.
    pub read: f64,
    /// A commit of a position fails; half of these have taken effect.
    pub commit: f64,
}

/// How many failures were injected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in `FaultPlan`")]
pub struct Injected {
    pub append_failed: u64,
    pub append_lost: u64,
    pub append_stored: u64,
    pub read: u64,
    pub commit: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AppendFault {
    Failed,
    Lost,
    Stored,
}

struct State {
    plan: FaultPlan,
    dice: StdRng,
    injected: Injected,
}

/// A log that passes calls on, and fails some of them.
pub struct FailingLog {
    inner: Arc<dyn EventLog>,
    state: Mutex<State>,
}

impl FailingLog {
    /// A log that fails by `plan` and keeps its records in `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn EventLog>, plan: FaultPlan) -> Arc<Self> {
        let state = State { plan, dice: StdRng::seed_from_u64(plan.seed), injected: Injected::default() };
        Arc::new(Self { inner, state: Mutex::new(state) })
    }

    /// What was injected so far.
    #[must_use]
    pub fn injected(&self) -> Injected {
        self.state.lock().injected
    }

    /// Fails by another plan from now on; the seed is drawn anew from it.
    pub fn set_plan(&self, plan: FaultPlan) {
        let mut state = self.state.lock();
        state.plan = plan;
        state.dice = StdRng::seed_from_u64(plan.seed);
    }

    fn append_fault(&self) -> Option<AppendFault> {
        let mut state = self.state.lock();
        let plan = state.plan;
        let draw: f64 = state.dice.random();
        if draw < plan.append_failed {
            state.injected.append_failed += 1;
            Some(AppendFault::Failed)
        } else if draw < plan.append_failed + plan.append_lost {
            state.injected.append_lost += 1;
            Some(AppendFault::Lost)
        } else if draw < plan.append_failed + plan.append_lost + plan.append_stored {
            state.injected.append_stored += 1;
            Some(AppendFault::Stored)
        } else {
            None
        }
    }
}

fn unknown() -> LogError {
    LogError::Unknown("injected".to_owned())
}

fn failed() -> LogError {
    LogError::Failed("injected".to_owned())
}

#[async_trait]
impl EventLog for FailingLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.inner.ensure_topic(spec).await
    }

    async fn partitions(&self, stream: Stream) -> Result<u32, LogError> {
        self.inner.partitions(stream).await
    }

    async fn append(&self, stream: Stream, partition: Partition, records: Vec<Bytes>) -> Result<Appended, LogError> {
        match self.append_fault() {
            Some(AppendFault::Failed) => Err(failed()),
            Some(AppendFault::Lost) => Err(unknown()),
            Some(AppendFault::Stored) => {
                self.inner.append(stream, partition, records).await?;
                Err(unknown())
            }
            None => self.inner.append(stream, partition, records).await,
        }
    }

    async fn read(
        &self,
        stream: Stream,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<StoredRecord>, LogError> {
        let fails = {
            let mut state = self.state.lock();
            let rate = state.plan.read;
            let fails = state.dice.random::<f64>() < rate;
            state.injected.read += u64::from(fails);
            fails
        };
        if fails { Err(failed()) } else { self.inner.read(stream, partition, from, limit).await }
    }

    async fn wait(&self, stream: Stream, partition: Partition, from: Offset) -> Result<(), LogError> {
        self.inner.wait(stream, partition, from).await
    }

    async fn watermarks(&self, stream: Stream, partition: Partition) -> Result<Watermarks, LogError> {
        self.inner.watermarks(stream, partition).await
    }

    async fn register_consumer(&self, consumer: &str, stream: Stream) -> Result<(), LogError> {
        self.inner.register_consumer(consumer, stream).await
    }

    async fn commit_position(
        &self,
        consumer: &str,
        stream: Stream,
        partition: Partition,
        next: Offset,
    ) -> Result<(), LogError> {
        let (fails, stored) = {
            let mut state = self.state.lock();
            let rate = state.plan.commit;
            let fails = state.dice.random::<f64>() < rate;
            state.injected.commit += u64::from(fails);
            (fails, state.dice.random::<bool>())
        };
        if !fails || stored {
            self.inner.commit_position(consumer, stream, partition, next).await?;
        }
        if fails { Err(unknown()) } else { Ok(()) }
    }

    async fn committed_position(
        &self,
        consumer: &str,
        stream: Stream,
        partition: Partition,
    ) -> Result<Offset, LogError> {
        self.inner.committed_position(consumer, stream, partition).await
    }

    async fn check(&self) -> Result<(), LogError> {
        self.inner.check().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
