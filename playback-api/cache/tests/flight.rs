//! Stampede protection when the store is down, and by a clock that stands still.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use event_schemas::{Millis, SystemClock, TestClock};
use serving_store::{
    FlightError, Freshness, LeaseToken, MemoryStore, ServingError, ServingStore, SingleFlight,
    failing::{FailingStore, FailurePlan},
};

const TTL: Freshness = Freshness { fresh: Millis::from_secs(10), stale: Millis::from_secs(20) };
const LEASE: Millis = Millis::from_secs(5);

fn numbered(computed: &Arc<AtomicU32>) -> impl FnOnce() -> futures::future::Ready<Result<Bytes, ServingError>> + use<> {
    let computed = Arc::clone(computed);
    move || futures::future::ok(Bytes::from(computed.fetch_add(1, Ordering::SeqCst).to_string()))
}

#[tokio::test]
async fn without_a_store_each_process_computes_one_at_a_time() {
    let inner = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let store = Arc::new(FailingStore::new(inner, FailurePlan { seed: 1, before: 1.0, after: 0.0 }));
    let flights = SingleFlight::<ServingError>::new(store, LEASE);
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (flights, running, most) = (Arc::clone(&flights), Arc::clone(&running), Arc::clone(&most));
            tokio::spawn(async move {
                let compute = || async move {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(Bytes::from("answer"))
                };
                flights.get_or_compute("k", TTL, compute).await.unwrap()
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "answer");
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_is_fresh_then_old_then_gone() {
    let clock = Arc::new(TestClock::default());
    let store = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
    let flights = SingleFlight::<ServingError>::new(Arc::clone(&store) as _, LEASE);
    let computed = Arc::new(AtomicU32::new(0));
    let ask = async || flights.get_or_compute("k", TTL, numbered(&computed)).await.unwrap();
    assert_eq!(ask().await, "0");
    clock.advance(Millis(9_999));
    assert_eq!(ask().await, "0");
    assert_eq!(computed.load(Ordering::SeqCst), 1, "fresh");
    clock.advance(Millis(1));
    assert_eq!(ask().await, "0", "old, and computed anew behind our back");
    while store.cache_get("k").await.unwrap().unwrap().value != "1" {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask().await, "1");
    clock.advance(Millis::from_secs(30));
    assert_eq!(ask().await, "2", "gone");
}

#[tokio::test]
async fn a_dead_process_holds_nobody_up_longer_than_its_lease() {
    let clock = Arc::new(TestClock::default());
    let store = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
    assert!(store.try_lease("k", LeaseToken::generate(), LEASE).await.unwrap());
    let flights = SingleFlight::<ServingError>::new(Arc::clone(&store) as _, LEASE);
    let computed = Arc::new(AtomicU32::new(0));
    let compute = numbered(&computed);
    let waiting = tokio::spawn(async move { flights.get_or_compute("k", TTL, compute).await });
    while store.channels() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(computed.load(Ordering::SeqCst), 0, "somebody else is at it");
    clock.advance(LEASE);
    // The word that it is over never comes.
    assert_eq!(waiting.await.unwrap().unwrap(), "0");
}

#[tokio::test]
async fn a_panic_is_told_and_the_next_caller_computes() {
    let store = Arc::new(MemoryStore::new(Arc::new(TestClock::default())));
    let flights = SingleFlight::<ServingError>::new(store, LEASE);
    let broken = flights
        .get_or_compute("k", TTL, || async {
            assert!(std::env::args().count() == 0, "on purpose");
            Ok(Bytes::new())
        })
        .await;
    assert!(matches!(broken, Err(FlightError::BrokenOff)), "{broken:?}");
    let computed = Arc::new(AtomicU32::new(0));
    assert_eq!(flights.get_or_compute("k", TTL, numbered(&computed)).await.unwrap(), "0");
}
