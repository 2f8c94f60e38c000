//! What is kept in Redis, and how it stays apart from what others keep there.

use bytes::Bytes;
use event_schemas::{Fault, Faulty as _, Millis, Offset, OffsetVector, Partition};
use futures::StreamExt as _;
use redis::AsyncCommands as _;
use serving_store::{Quota, RateDecision, ServingStore as _, Stored};
use serving_store_redis::{Options, RedisStore};

use crate::server::{Server, fresh};

fn at(next: u64) -> OffsetVector {
    OffsetVector::single(Partition(0), Offset(next))
}

#[tokio::test]
async fn clearing_touches_nothing_of_others() {
    let Some(server) = Server::start() else { return };
    let named = async |prefix: &str| {
        RedisStore::open(&server.url(), &Options { prefix: prefix.into(), ..fresh() }).await.unwrap()
    };
    let (ours, longer) = (named("m:").await, named("m-2:").await);
    let mut raw = server.raw().await;
    for n in 0..3000 {
        let _: () = raw.set(format!("other:{n}"), n).await.unwrap();
    }
    let _: () = raw.set("m", "v:").await.unwrap();
    let _: () = raw.set("xm:v:k", "not ours").await.unwrap();
    for store in [&ours, &longer] {
        store.put("k", Bytes::from("v"), at(1)).await.unwrap();
        store.rank_replace("r", vec![("a".into(), 1.0)], at(1)).await.unwrap();
        store.cache_put("k", Bytes::from("v"), Millis::from_days(1)).await.unwrap();
    }
    assert_eq!(ours.clear().await.unwrap(), 3);
    assert_eq!(ours.get("k").await.unwrap(), None);
    assert_eq!(longer.get("k").await.unwrap().unwrap().value, "v");
    assert_eq!(longer.rank_top("r", 0, 9).await.unwrap().len(), 1);
    let left: u64 = redis::cmd("DBSIZE").query_async(&mut raw).await.unwrap();
    assert_eq!(left, 3000 + 2 + 3, "what is left are the others' keys");
    assert_eq!(ours.clear().await.unwrap(), 0);
}

#[tokio::test]
async fn databases_and_prefixes_do_not_hear_each_other() {
    let Some(server) = Server::start() else { return };
    let options = fresh();
    let here = RedisStore::open(&server.url(), &options).await.unwrap();
    let database = RedisStore::open(&format!("{}/1", server.url()), &options).await.unwrap();
    let prefix = RedisStore::open(&server.url(), &fresh()).await.unwrap();
    let mut heard = here.subscribe("c").await.unwrap();
    for store in [&database, &prefix] {
        store.publish("c", Bytes::from("not for you")).await.unwrap();
        store.put("k", Bytes::from("not for you"), at(1)).await.unwrap();
    }
    here.publish("c", Bytes::from("for you")).await.unwrap();
    assert_eq!(heard.next().await.unwrap(), "for you");
    assert_eq!(here.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn a_channel_is_subscribed_once_and_given_up_with_its_last_listener() {
    let Some(server) = Server::start() else { return };
    let store = server.store().await;
    let mut raw = server.raw().await;
    let mut channels =
        async || -> Vec<String> { redis::cmd("PUBSUB").arg("CHANNELS").query_async(&mut raw).await.unwrap() };
    let first = store.subscribe("a").await.unwrap();
    let second = store.subscribe("a").await.unwrap();
    let other = store.subscribe("b").await.unwrap();
    assert_eq!(channels().await.len(), 2);
    let mut raw = server.raw().await;
    let clients: String =
        redis::cmd("CLIENT").arg("LIST").arg("TYPE").arg("PUBSUB").query_async(&mut raw).await.unwrap();
    assert_eq!(clients.lines().count(), 1, "{clients}");
    drop(first);
    drop(other);
    while channels().await.len() > 1 {}
    store.publish("a", Bytes::from("still there")).await.unwrap();
    drop(second);
    while !channels().await.is_empty() {}
}

#[tokio::test]
async fn rate_limits_take_bounded_memory_and_expire() {
    let Some(server) = Server::start() else { return };
    let options = Options { rate_buckets: 160, ..fresh() };
    let store = RedisStore::open(&server.url(), &options).await.unwrap();
    let hourly = Quota { burst: 10, per: Millis::from_secs(3600) };
    while store.take("guessing", hourly).await.unwrap() == RateDecision::Allowed {}
    for n in 0..2000 {
        assert_eq!(store.take(&format!("flood {n}"), hourly).await.unwrap(), RateDecision::Allowed);
    }
    // Those with the least to wait for were forgotten, not the one that is empty.
    assert!(matches!(store.take("guessing", hourly).await.unwrap(), RateDecision::Denied { .. }));
    let mut raw = server.raw().await;
    let keys: Vec<String> = raw.keys(format!("{}l:10/*", options.prefix)).await.unwrap();
    assert_eq!(keys.len(), 16);
    for key in &keys {
        let (buckets, left): (u64, i64) = redis::pipe().zcard(key).pttl(key).query_async(&mut raw).await.unwrap();
        assert!((1..=10).contains(&buckets) && (1..=3_600_000).contains(&left), "{key}: {buckets}, {left}");
    }
    // A bucket that is full again is forgotten, and the key with the last of them.
    let quick = Quota { burst: 2, per: Millis(20) };
    store.take("quick", quick).await.unwrap();
    let quick = format!("{}l:2/*", options.prefix);
    while !raw.keys::<_, Vec<String>>(&quick).await.unwrap().is_empty() {}
}

#[tokio::test]
async fn a_bucket_fills_up_evenly() {
    let Some(server) = Server::start() else { return };
    let store = server.store().await;
    let quota = Quota { burst: 3, per: Millis::from_secs(3600) };
    for _ in 0..3 {
        assert_eq!(store.take("b", quota).await.unwrap(), RateDecision::Allowed);
    }
    let RateDecision::Denied { retry_after } = store.take("b", quota).await.unwrap() else { panic!("a fourth") };
    assert!((1..=1_200_000).contains(&retry_after.0), "{retry_after:?}");
    let odd = Quota { burst: 0, per: Millis(0) };
    assert_eq!(store.take("odd", odd).await.unwrap(), RateDecision::Allowed);
    let vast = Quota { burst: u32::MAX, per: Millis(i64::MAX) };
    assert_eq!(store.take("vast", vast).await.unwrap(), RateDecision::Allowed);
}

#[tokio::test]
async fn long_rankings_come_whole_and_in_order() {
    let Some(server) = Server::start() else { return };
    let store = server.store().await;
    let entries: Vec<_> =
        (0..10_000_u32).map(|n| (format!("{:05}", (n * 7919) % 10_000), f64::from(n / 100))).collect();
    assert_eq!(store.rank_replace("r", entries.clone(), at(1)).await.unwrap(), Stored::Replaced);
    let mut expected = entries;
    expected.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let ranked = store.rank_top("r", 0, usize::MAX).await.unwrap();
    let ranked: Vec<_> = ranked.into_iter().map(|r| (r.member, r.score)).collect();
    assert_eq!(ranked, expected);
    let extremes = vec![("low".into(), f64::NEG_INFINITY), ("".into(), f64::INFINITY), ("!".into(), f64::INFINITY)];
    store.rank_replace("r", extremes, at(2)).await.unwrap();
    let ranked: Vec<_> = store.rank_top("r", 0, 9).await.unwrap().into_iter().map(|r| r.member).collect();
    assert_eq!(ranked, ["", "!", "low"]);
    assert_eq!(store.rank_replace("r", Vec::new(), at(1)).await.unwrap(), Stored::Stale);
    let mut raw = server.raw().await;
    let staged: Vec<String> = raw.keys("*t:*").await.unwrap();
    assert!(staged.is_empty(), "{staged:?}");
}

#[tokio::test]
async fn what_somebody_else_wrote_is_named() {
    let Some(server) = Server::start() else { return };
    let options = fresh();
    let store = RedisStore::open(&server.url(), &options).await.unwrap();
    let mut raw = server.raw().await;
    let _: () = raw.set(format!("{}v:k", options.prefix), "foreign").await.unwrap();
    let _: () = raw.hset(format!("{}v:half", options.prefix), "v", "x").await.unwrap();
    for error in [
        store.get("k").await.unwrap_err(),
        store.put("k", Bytes::new(), at(1)).await.unwrap_err(),
        store.get("half").await.unwrap_err(),
    ] {
        assert!(error.fault() == Fault::Program && error.to_string().contains("v:"), "{error}");
    }
    store.delete("k").await.unwrap();
    assert_eq!(store.put("k", Bytes::new(), at(1)).await.unwrap(), Stored::Replaced);
}
