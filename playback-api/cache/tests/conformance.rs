//! The conformance suite on every back end and on the failing wrapper.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

use std::sync::Arc;

use bytes::Bytes;
use event_schemas::{Offset, OffsetVector, Partition, SystemClock};
use serving_store::{
    MemoryStore, ServingError, ServingStore, Stored, conformance,
    counters::VideoCounters,
    failing::{FailingStore, FailurePlan},
};

fn memory() -> Arc<dyn ServingStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_conforms() {
    conformance::run_all(|| async { memory() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_is_shared_by_all_who_hold_it() {
    conformance::run_shared(|| async {
        let store = memory();
        [Arc::clone(&store), store]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failing_store_conforms_for_those_who_repeat() {
    conformance::run_all(|| async {
        Arc::new(FailingStore::new(memory(), FailurePlan { seed: 3, before: 0.2, after: 0.2 })) as _
    })
    .await;
}

#[tokio::test]
async fn injected_failures_follow_their_seed_and_heal() {
    let run = |seed| async move {
        let inner = memory();
        let store = FailingStore::new(Arc::clone(&inner), FailurePlan { seed, before: 0.3, after: 0.3 });
        let mut outcomes = Vec::new();
        for n in 0..40u64 {
            let key = n.to_string();
            let outcome = store.put(&key, Bytes::new(), OffsetVector::default()).await;
            let there = inner.get(&key).await.unwrap().is_some();
            match &outcome {
                Ok(stored) => assert!(*stored == Stored::Replaced && there),
                Err(ServingError::Unavailable(why)) => assert_eq!(there, why.contains("after"), "{why}"),
                Err(error) => panic!("{error}"),
            }
            outcomes.push(outcome.map_err(|error| error.to_string()));
        }
        store.heal();
        for _ in 0..40 {
            store.check().await.unwrap();
        }
        outcomes
    };
    let first = run(7).await;
    assert!(first.iter().any(Result::is_ok) && first.iter().any(Result::is_err));
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
}

#[tokio::test]
async fn a_value_of_another_shape_is_named() {
    let store = memory();
    let video = event_schemas::VideoId::generate();
    let key = serving_store::counters::key(video, Partition(0));
    store.put(&key, Bytes::from_static(b"nonsense"), OffsetVector::single(Partition(0), Offset(1))).await.unwrap();
    let error = VideoCounters::read_many(&*store, &[video], 1).await.unwrap_err();
    assert!(error.to_string().contains(&key), "{error}");
}
