//! Redis goes away, comes back, or stops answering.

use bytes::Bytes;
use event_schemas::{Fault, Faulty as _, Millis, Offset, OffsetVector, Partition};
use futures::StreamExt as _;
use nix::sys::signal::Signal;
use serving_store::{Freshness, Quota, ServingError, ServingStore, SingleFlight, Stored};
use serving_store_redis::{Options, RedisStore};

use crate::server::{Server, fresh};

fn at(next: u64) -> OffsetVector {
    OffsetVector::single(Partition(0), Offset(next))
}

/// Waits until calls fail: the end of the server takes a moment to be noticed.
async fn noticed(store: &RedisStore) -> ServingError {
    loop {
        if let Err(error) = store.check().await {
            return error;
        }
        tokio::task::yield_now().await;
    }
}

/// Subscribes as soon as it is possible again.
async fn subscribed(store: &RedisStore, channel: &str) -> futures::stream::BoxStream<'static, Bytes> {
    loop {
        match store.subscribe(channel).await {
            Ok(messages) => return messages,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_restart_without_data_heals() {
    let Some(mut server) = Server::start() else { return };
    let store = server.store().await;
    store.put("k", Bytes::from("before"), at(9)).await.unwrap();
    let mut listener = store.subscribe("c").await.unwrap();
    server.stop();

    let error = noticed(&store).await;
    assert!(error.fault() == Fault::Dependency && error.is_retryable(), "{error}");
    // Every kind of call fails, and none waits for the server.
    let quota = Quota { burst: 1, per: Millis(1) };
    assert!(store.put("k", Bytes::new(), at(10)).await.unwrap_err().is_retryable());
    assert!(store.get("k").await.unwrap_err().is_retryable());
    assert!(store.rank_top("r", 0, 1).await.unwrap_err().is_retryable());
    assert!(store.rank_replace("r", vec![], at(1)).await.unwrap_err().is_retryable());
    assert!(store.take("b", quota).await.unwrap_err().is_retryable());
    assert!(store.publish("c", Bytes::new()).await.unwrap_err().is_retryable());
    assert!(store.cache_get("k").await.unwrap_err().is_retryable());
    assert!(store.clear().await.unwrap_err().is_retryable());
    assert!(store.subscribe("d").await.err().unwrap().is_retryable());
    // What is computed is had all the same.
    let flights = SingleFlight::<ServingError>::new(std::sync::Arc::clone(&store) as _, Millis::from_secs(60));
    let ttl = Freshness { fresh: Millis(1000), stale: Millis(1000) };
    let answer = flights.get_or_compute("k", ttl, || async { Ok(Bytes::from("computed")) }).await;
    assert_eq!(answer.unwrap(), "computed");

    server.run();
    store.connected().await;
    store.check().await.unwrap();
    assert_eq!(store.get("k").await.unwrap(), None, "lost, and told so");
    assert_eq!(store.put("k", Bytes::from("rebuilt"), at(5)).await.unwrap(), Stored::Replaced);
    // The listener is told to read again, and hears what follows.
    assert_eq!(listener.next().await.unwrap(), "");
    store.publish("c", Bytes::from("after")).await.unwrap();
    assert_eq!(listener.next().await.unwrap(), "after");
    let mut new = subscribed(&store, "d").await;
    store.publish("d", Bytes::from("new")).await.unwrap();
    assert_eq!(new.next().await.unwrap(), "new");
}

#[tokio::test]
async fn a_restart_with_data_keeps_values_and_their_guard() {
    let Some(mut server) = Server::with(&["--appendonly", "yes"]) else { return };
    let store = server.store().await;
    store.put("k", Bytes::from("new"), at(9)).await.unwrap();
    store.rank_replace("r", vec![("a".into(), 1.5)], at(9)).await.unwrap();
    server.stop();
    noticed(&store).await;
    server.run();
    store.connected().await;
    assert_eq!(store.get("k").await.unwrap().unwrap().offsets, at(9));
    assert_eq!(store.put("k", Bytes::from("late"), at(8)).await.unwrap(), Stored::Stale);
    assert_eq!(store.rank_replace("r", vec![], at(8)).await.unwrap(), Stored::Stale);
    assert_eq!(store.rank_top("r", 0, 9).await.unwrap()[0].score, 1.5);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_taken_back() {
    let Some(server) = Server::start() else { return };
    let options = Options { call_timeout: Millis(200), ..fresh() };
    let store = RedisStore::open(&server.url(), &options).await.unwrap();
    let mut listener = store.subscribe("c").await.unwrap();
    server.signal(Signal::SIGSTOP);
    // Many at once: each fails within its time, and together they take no more than one.
    let calls = (0..200).map(|n| {
        let store = std::sync::Arc::clone(&store);
        tokio::spawn(async move { store.get(&n.to_string()).await })
    });
    for call in futures::future::join_all(calls).await {
        let error = call.unwrap().unwrap_err();
        assert!(error.is_retryable(), "{error}");
    }
    server.signal(Signal::SIGCONT);
    store.connected().await;
    while store.check().await.is_err() {
        store.connected().await;
    }
    // The listening connection may have come through unharmed or been replaced.
    let heard = async {
        loop {
            let _ = store.publish("c", Bytes::from("after")).await;
            tokio::select! {
                message = listener.next() => if message.unwrap() == "after" { break },
                () = tokio::task::yield_now() => {}
            }
        }
    };
    heard.await;
}

#[tokio::test]
async fn scripts_are_sent_again_when_the_server_forgot_them() {
    let Some(server) = Server::start() else { return };
    let store = server.store().await;
    assert_eq!(store.put("k", Bytes::from("1"), at(1)).await.unwrap(), Stored::Replaced);
    let mut raw = server.raw().await;
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut raw).await.unwrap();
    assert_eq!(store.put("k", Bytes::from("2"), at(2)).await.unwrap(), Stored::Replaced);
    // A primary that becomes a replica takes no writes; the error is to be tried again.
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).exec_async(&mut raw).await.unwrap();
    let error = store.put("k", Bytes::from("3"), at(3)).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut raw).await.unwrap();
    while let Err(error) = store.put("k", Bytes::from("3"), at(3)).await {
        assert!(error.is_retryable(), "{error}");
        store.connected().await;
    }
    assert_eq!(store.get("k").await.unwrap().unwrap().value, "3");
}

#[tokio::test]
async fn a_full_server_refuses_writes_and_still_answers() {
    let Some(server) = Server::start() else { return };
    let store = server.store().await;
    store.put("k", Bytes::from("v"), at(1)).await.unwrap();
    let mut raw = server.raw().await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).exec_async(&mut raw).await.unwrap();
    let error = store.put("k", Bytes::from("w"), at(2)).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("OOM"), "{error}");
    assert_eq!(store.get("k").await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn listeners_end_with_the_store() {
    let Some(server) = Server::start() else { return };
    let store = server.store().await;
    let messages = store.subscribe("c").await.unwrap();
    drop(store);
    assert_eq!(messages.collect::<Vec<_>>().await, Vec::<Bytes>::new());
}
