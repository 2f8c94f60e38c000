//! What a process answers while the shared store is away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::sync::Arc;

use bytes::Bytes;
use event_schemas::{Millis, OffsetVector, SystemClock};
use serving_store::{
    Enduring, MemoryStore, Quota, RateDecision, ServingStore, conformance,
    failing::{FailingStore, FailurePlan},
};

/// A store that answers, and can be cut off from it.
fn shared() -> Arc<FailingStore> {
    let inner = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let store = FailingStore::new(inner, FailurePlan { seed: 1, before: 1.0, after: 0.0 });
    store.heal();
    Arc::new(store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_is_a_store_like_any_other_while_the_shared_one_answers() {
    conformance::run_all(|| async { Arc::new(Enduring::new(shared(), Arc::new(SystemClock))) as _ }).await;
}

#[tokio::test]
async fn what_was_read_is_answered_while_the_shared_store_is_away() {
    let shared = shared();
    let store = Enduring::new(shared.clone(), Arc::new(SystemClock));
    let none = OffsetVector::default;
    for key in ["read", "unread"] {
        store.put(key, Bytes::from(key), none()).await.unwrap();
    }
    store.rank_replace("top", vec![("a".into(), 2.0), ("b".into(), 1.0)], none()).await.unwrap();
    assert!(store.get("read").await.unwrap().is_some() && store.get("absent").await.unwrap().is_none());
    let top = store.rank_top("top", 0, 10).await.unwrap();

    shared.fail_again();
    assert_eq!(store.get("read").await.unwrap().unwrap().value, "read");
    assert_eq!(store.get("absent").await.unwrap(), None, "known to be absent");
    assert!(store.get("unread").await.is_err(), "nothing is made up");
    let several = store.get_many(&["unread".to_owned(), "read".to_owned()]).await.unwrap();
    assert!(several[0].is_none() && several[1].is_some());
    assert_eq!(store.rank_top("top", 0, 10).await.unwrap(), top);
    assert!(store.rank_top("top", 10, 10).await.is_err());
    assert!(store.put("read", Bytes::new(), none()).await.is_err() && store.check().await.is_err());
    let quota = Quota { burst: 2, per: Millis::from_secs(3600) };
    let mut decisions = Vec::new();
    for _ in 0..3 {
        decisions.push(store.take("sign-in", quota).await.unwrap() == RateDecision::Allowed);
    }
    assert_eq!(decisions, [true, true, false], "limits hold in the process");

    shared.heal();
    assert_eq!(store.get("unread").await.unwrap().unwrap().value, "unread");
    store.delete("read").await.unwrap();
    shared.fail_again();
    assert!(store.get("read").await.is_err(), "what was deleted is not remembered");
}
