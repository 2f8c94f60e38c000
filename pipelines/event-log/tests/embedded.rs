//! The embedded log passes the suite, also behind a wrapper, and survives what can happen to it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use event_log::{
    EmbeddedLog, EmbeddedLogOptions, EventLog, LogError,
    conformance::{
        Backend,
        retention::{HoldingBackend, TestSpace},
    },
    event_log_conformance, event_log_retention_conformance,
    failing::{FailingLog, FaultPlan, Injected},
};
use event_schemas::{ByteSize, TestClock, Timestamp};

struct Embedded {
    directory: tempfile::TempDir,
    clock: Arc<TestClock>,
    space: Arc<TestSpace>,
}

impl Embedded {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: Arc::new(TestClock::at(Timestamp::from_millis(1_700_000_000_000))),
            space: Arc::default(),
        }
    }

    fn options(&self) -> EmbeddedLogOptions {
        EmbeddedLogOptions {
            segment_bytes: ByteSize(4 << 10),
            space_probe: self.space.clone(),
            ..EmbeddedLogOptions::new(self.directory.path().join("log"), self.clock.clone())
        }
    }
}

#[async_trait]
impl Backend for Embedded {
    async fn open(&self) -> Arc<dyn EventLog> {
        EmbeddedLog::open(self.options()).unwrap()
    }

    fn clock(&self) -> &TestClock {
        &self.clock
    }
}

impl HoldingBackend for Embedded {
    fn fill_disk(&self, full: bool) {
        self.space.fill(full);
    }
}

/// The same log behind the failing wrapper, with nothing to fail.
struct Wrapped(Embedded);

#[async_trait]
impl Backend for Wrapped {
    async fn open(&self) -> Arc<dyn EventLog> {
        FailingLog::new(self.0.open().await, FaultPlan::default())
    }

    fn clock(&self) -> &TestClock {
        self.0.clock()
    }
}

impl HoldingBackend for Wrapped {
    fn fill_disk(&self, full: bool) {
        self.0.fill_disk(full);
    }
}

mod embedded {
    use super::*;
    event_log_conformance!(Embedded::new());
    event_log_retention_conformance!(Embedded::new());
}

mod wrapped {
    use super::*;
    event_log_conformance!(Wrapped(Embedded::new()));
    event_log_retention_conformance!(Wrapped(Embedded::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_log_still_gives_each_record_once() {
    for seed in 0..3 {
        let backend = Embedded::new();
        let plan = FaultPlan { seed, append_failed: 0.1, append_lost: 0.1, append_stored: 0.2, read: 0.2, commit: 0.2 };
        let log = FailingLog::new(backend.open().await, plan);
        let suite = event_log::conformance::resending_and_gates_give_each_record_once(log.clone(), 3, 60);
        tokio::time::timeout(Duration::from_secs(120), suite).await.unwrap();
        let Injected { append_failed, append_lost, append_stored, read, commit } = log.injected();
        assert!([append_failed, append_lost, append_stored, read, commit].iter().all(|n| *n > 0), "seed {seed}");
        log.close().await;
    }
}

#[tokio::test]
async fn a_second_opening_is_refused_while_the_first_lives() {
    let backend = Embedded::new();
    let log = backend.open().await;
    let Err(error) = EmbeddedLog::open(backend.options()) else { panic!("opened twice") };
    assert!(matches!(&error, LogError::Failed(reason) if reason.contains("Locked")), "{error}");
    log.close().await;
    backend.open().await.close().await;
}

#[tokio::test]
async fn a_log_made_anew_has_the_generation_it_is_given() {
    let backend = Embedded::new();
    let stream = event_log::Stream::Main(event_schemas::Topic::Views);
    for (given, expected) in [(1, 1), (7, 1)] {
        let log = EmbeddedLog::open(EmbeddedLogOptions { new_generation: given, ..backend.options() }).unwrap();
        let spec = event_log::TopicSpec {
            stream,
            partitions: 1,
            retain_for: event_schemas::Millis::from_days(1),
            retain_bytes: ByteSize::mib(1),
        };
        log.ensure_topic(&spec).await.unwrap();
        let ends = log.watermarks(stream, event_schemas::Partition(0)).await.unwrap();
        assert_eq!(ends.generation, expected, "the first one stays");
        log.close().await;
    }
}
