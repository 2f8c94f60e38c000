//! The log on Fluvio passes the suite: with two copies of each record, with one, and behind a
//! wrapper that fails. All tests share a cluster and keep apart by their topics' prefixes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use event_log::{
    EventLog, LogError,
    conformance::{Backend, resending_and_gates_give_each_record_once},
    event_log_conformance,
    failing::{FailingLog, FaultPlan, Injected},
};
use event_log_fluvio::FluvioLog;
use event_schemas::{Faulty, TestClock};
use support::OnCluster;

const SUITE: &str = "the event log's suite on Fluvio";

/// The back end, or the end of the test.
macro_rules! on_cluster {
    ($replication:expr) => {{
        // It starts a cluster the first time.
        let shared = tokio::task::spawn_blocking(|| support::shared(SUITE)).await.unwrap();
        let Some(address) = shared else { return };
        OnCluster::new(address, $replication)
    }};
}

/// The same log behind the failing wrapper, with nothing to fail.
struct Wrapped(OnCluster);

#[async_trait]
impl Backend for Wrapped {
    async fn open(&self) -> Arc<dyn EventLog> {
        FailingLog::new(self.0.open().await, FaultPlan::default())
    }

    fn clock(&self) -> &TestClock {
        self.0.clock()
    }
}

mod replicated {
    use super::*;
    event_log_conformance!(on_cluster!(2));
}

mod single {
    use super::*;
    event_log_conformance!(on_cluster!(1));
}

mod wrapped {
    use super::*;
    event_log_conformance!(Wrapped(on_cluster!(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_log_still_gives_each_record_once() {
    for seed in 0..2 {
        let backend = on_cluster!(2);
        let plan = FaultPlan { seed, append_failed: 0.1, append_lost: 0.1, append_stored: 0.2, read: 0.2, commit: 0.2 };
        let log = FailingLog::new(backend.open().await, plan);
        let suite = resending_and_gates_give_each_record_once(log.clone(), 3, 60);
        tokio::time::timeout(Duration::from_secs(300), suite).await.unwrap();
        let Injected { append_failed, append_lost, append_stored, read, commit } = log.injected();
        assert!([append_failed, append_lost, append_stored, read, commit].iter().all(|n| *n > 0), "seed {seed}");
        log.close().await;
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error_that_names_it() {
    let backend = OnCluster::new("127.0.0.1:1", 2);
    let Err(error) = FluvioLog::open(&backend.url(), backend.options()).await else { panic!("opened") };
    assert!(matches!(&error, LogError::Failed(why) if why.contains("127.0.0.1:1") && why.contains("`log`")), "{error}");
    assert!(error.is_retryable());
}
