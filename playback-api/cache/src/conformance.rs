//! What every serving store must do. Each function wants an empty store; those of [`run_shared`]
//! want two handles on one, as two processes have them.
//!
//! A store may answer [`ServingError::Unavailable`] at any call: the suite repeats it, as its
//! users do, so that the same suite runs on the failing wrapper.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code, behind a feature")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use event_schemas::{Faulty, Millis, Offset, OffsetVector, Partition, Timestamp, VideoId};
use futures::{StreamExt, future::join_all};

use crate::{
    CACHED_VALUE_LIMIT, FlightError, Freshness, LeaseToken, Quota, RateDecision, ServingError, ServingStore,
    SingleFlight, Stored,
    counters::{self, VideoCounters},
    stats::{self, HourStats, HoursOfVideo, VideoFigure},
};

/// Runs every check, each with a store of its own.
pub async fn run_all<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn ServingStore>>,
{
    a_late_writer_never_wins(make().await).await;
    concurrent_writers_end_with_the_newest(make().await).await;
    many_values_come_in_order(make().await).await;
    rankings_are_replaced_as_a_whole(make().await).await;
    rate_limits_hold_under_concurrency(make().await).await;
    listeners_hear_in_order_what_follows(make().await).await;
    a_slow_listener_loses_the_oldest(make().await).await;
    counters_add_up_and_do_not_count_twice(make().await).await;
    figures_keep_their_offsets(make().await).await;
    offsets_have_64_bits(make().await).await;
    cached_values_end(make().await).await;
    leases_have_one_holder(make().await).await;
    clearing_forgets_what_can_be_rebuilt(make().await).await;
    an_answer_survives_a_bad_store(make().await).await;
}

/// Runs every check of a store that two processes share; `make` gives two handles on one store
/// that answers.
pub async fn run_shared<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = [Arc<dyn ServingStore>; 2]>,
{
    processes_share_what_they_write(make().await).await;
    processes_hear_each_other(make().await).await;
    processes_compute_once(make().await).await;
    old_answers_are_served_while_one_computes(make().await).await;
    a_failed_computation_is_not_kept(make().await).await;
}

/// The result of `call`, repeated while the store says that it is unavailable.
pub async fn repeat<T, Fut>(call: impl Fn() -> Fut) -> T
where
    Fut: Future<Output = Result<T, ServingError>>,
{
    for _ in 0..200 {
        match call().await {
            Ok(done) => return done,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    panic!("200 tries failed");
}

fn offsets(next: &[(u32, u64)]) -> OffsetVector {
    OffsetVector(next.iter().map(|(p, o)| (Partition(*p), Offset(*o))).collect())
}

async fn text(store: &dyn ServingStore, key: &str) -> Option<String> {
    repeat(|| store.get(key)).await.map(|stored| String::from_utf8(stored.value.to_vec()).unwrap())
}

/// Values are replaced only by those that cover them.
pub async fn a_late_writer_never_wins(store: Arc<dyn ServingStore>) {
    let put = async |value: &'static str, next: &[(u32, u64)]| {
        let next = offsets(next);
        repeat(|| store.put("k", Bytes::from_static(value.as_bytes()), next.clone())).await
    };
    assert_eq!(text(&*store, "k").await, None);
    let steps = [
        ("a", vec![(0, 5), (1, 5)], Stored::Replaced, "a"),
        ("late", vec![(0, 4), (1, 9)], Stored::Stale, "a"),
        ("missing", vec![(0, 9)], Stored::Stale, "a"),
        ("same", vec![(0, 5), (1, 5)], Stored::Replaced, "same"),
        ("more", vec![(0, 6), (1, 5), (2, 1)], Stored::Replaced, "more"),
        ("empty", vec![], Stored::Stale, "more"),
    ];
    for (value, next, outcome, left) in steps {
        assert_eq!(put(value, &next).await, outcome, "{value}");
        assert_eq!(text(&*store, "k").await.unwrap(), left, "{value}");
    }
    assert_eq!(repeat(|| store.get("k")).await.unwrap().offsets, offsets(&[(0, 6), (1, 5), (2, 1)]));
    repeat(|| store.delete("k")).await;
    repeat(|| store.delete("k")).await;
    assert_eq!(text(&*store, "k").await, None);
    assert_eq!(put("anew", &[(0, 1)]).await, Stored::Replaced);
}

/// Whatever the interleaving, the value with the highest offset stays.
pub async fn concurrent_writers_end_with_the_newest(store: Arc<dyn ServingStore>) {
    let writers = (0..8u64).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for round in 0..50 {
                let next = round * 8 + writer;
                repeat(|| store.put("k", Bytes::from(next.to_string()), offsets(&[(0, next)]))).await;
                let seen = repeat(|| store.get("k")).await.unwrap();
                let value: u64 = std::str::from_utf8(&seen.value).unwrap().parse().unwrap();
                assert_eq!(seen.offsets, offsets(&[(0, value)]), "a value with another's offsets");
                assert!(value >= next, "went back from {next} to {value}");
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    assert_eq!(text(&*store, "k").await.unwrap(), "399");
}

/// `get_many` answers in the order asked, with a gap for each absent key.
pub async fn many_values_come_in_order(store: Arc<dyn ServingStore>) {
    for key in ["a", "b"] {
        repeat(|| store.put(key, Bytes::from(key), OffsetVector::default())).await;
    }
    let keys = ["b", "none", "a", "b"].map(String::from);
    let values = repeat(|| store.get_many(&keys)).await;
    let values: Vec<_> = values.into_iter().map(|v| v.map(|v| v.value)).collect();
    assert_eq!(values, [Some("b".into()), None, Some("a".into()), Some("b".into())]);
    assert_eq!(repeat(|| store.get_many(&[])).await, []);
}

/// Rankings: order, ties, paging, removal, and the same rule about late writers.
pub async fn rankings_are_replaced_as_a_whole(store: Arc<dyn ServingStore>) {
    let replace = async |entries: &[(&str, f64)], next| {
        let entries: Vec<_> = entries.iter().map(|(member, score)| ((*member).to_owned(), *score)).collect();
        repeat(|| store.rank_replace("r", entries.clone(), offsets(&[(0, next)]))).await
    };
    let top = async |skip, limit| {
        let ranked = repeat(|| store.rank_top("r", skip, limit)).await;
        ranked.into_iter().map(|r| format!("{} {}", r.member, r.score)).collect::<Vec<_>>()
    };
    assert!(top(0, 10).await.is_empty());
    let first = [("b", 1.0), ("a", 1.0), ("c", 7.5), ("d", -2.0), ("e", -0.0), ("f", 0.0), ("c", 2.0)];
    assert_eq!(replace(&first, 5).await, Stored::Replaced);
    assert_eq!(top(0, 10).await, ["c 2", "a 1", "b 1", "e 0", "f 0", "d -2"]);
    assert_eq!(top(1, 2).await, ["a 1", "b 1"]);
    assert!(top(6, 2).await.is_empty() && top(0, 0).await.is_empty());
    repeat(|| store.rank_remove("r", "a")).await;
    repeat(|| store.rank_remove("r", "nobody")).await;
    repeat(|| store.rank_remove("nowhere", "a")).await;
    assert_eq!(top(0, 2).await, ["c 2", "b 1"]);
    assert_eq!(replace(&[("late", 9.0)], 4).await, Stored::Stale);
    assert_eq!(top(0, 1).await, ["c 2"]);
    assert_eq!(replace(&[("a", 3.0)], 6).await, Stored::Replaced);
    assert_eq!(top(0, 10).await, ["a 3"]);
    let bad = loop {
        match store.rank_replace("r", vec![("x".into(), f64::NAN)], offsets(&[(0, 7)])).await {
            Err(ServingError::Unavailable(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(bad, Err(ServingError::NotANumber { .. })), "{bad:?}");
    assert_eq!(top(0, 10).await, ["a 3"]);
    assert_eq!(replace(&[], 7).await, Stored::Replaced);
    assert!(top(0, 10).await.is_empty());
}

/// Of many at once no more get through than the burst.
pub async fn rate_limits_hold_under_concurrency(store: Arc<dyn ServingStore>) {
    // So slow that nothing comes back during the test.
    let quota = Quota { burst: 10, per: Millis::from_days(1000) };
    let takers = (0..8).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut through = 0;
            for _ in 0..50 {
                match store.take("bucket", quota).await {
                    Ok(RateDecision::Allowed) => through += 1,
                    Ok(RateDecision::Denied { retry_after }) => assert!(retry_after > Millis(0)),
                    Err(error) => assert!(error.is_retryable()),
                }
            }
            through
        })
    });
    let through: u32 = join_all(takers).await.into_iter().map(Result::unwrap).sum();
    assert!((1..=10).contains(&through), "{through}");
    assert!(matches!(repeat(|| store.take("bucket", quota)).await, RateDecision::Denied { .. }));
    assert_eq!(repeat(|| store.take("another", quota)).await, RateDecision::Allowed);
}

/// Listeners get what is published after they came, each on its own channel.
pub async fn listeners_hear_in_order_what_follows(store: Arc<dyn ServingStore>) {
    repeat(|| store.publish("c", Bytes::from("before"))).await;
    let mut one = repeat(|| store.subscribe("c")).await;
    let mut two = repeat(|| store.subscribe("c")).await;
    let mut other = repeat(|| store.subscribe("d")).await;
    for message in ["1", "2", "3"] {
        repeat(|| store.publish("c", Bytes::from(message))).await;
    }
    repeat(|| store.publish("d", Bytes::from("other"))).await;
    for listener in [&mut one, &mut two] {
        let mut heard = Vec::new();
        while heard.last() != Some(&Bytes::from("3")) {
            heard.push(listener.next().await.unwrap());
        }
        // A publisher that was told of a failure repeats: in order all the same.
        heard.dedup();
        assert_eq!(heard, ["1", "2", "3"]);
    }
    assert_eq!(other.next().await.unwrap(), "other");
}

/// Publishing never waits for a listener; what is left are the newest messages in order.
pub async fn a_slow_listener_loses_the_oldest(store: Arc<dyn ServingStore>) {
    let mut slow = repeat(|| store.subscribe("c")).await;
    for n in 0..5_000u32 {
        repeat(|| store.publish("c", Bytes::from(n.to_string()))).await;
    }
    let mut heard: Vec<u32> = Vec::new();
    while heard.last() != Some(&4_999) {
        heard.push(std::str::from_utf8(&slow.next().await.unwrap()).unwrap().parse().unwrap());
    }
    assert!(heard.is_sorted() && heard.len() < 5_000, "{}", heard.len());
}

/// Partials are absolute: writing one again changes nothing, and an older one is ignored.
pub async fn counters_add_up_and_do_not_count_twice(store: Arc<dyn ServingStore>) {
    let (watched, unwatched) = (VideoId::generate(), VideoId::generate());
    let partial = |n: u64| VideoCounters { starts: n, views: n / 2, engaged: 1, watch_ms: Millis(1000) };
    let write = async |n: u64, partition: u32, next: u64| {
        repeat(|| async { partial(n).write(&*store, watched, Partition(partition), Offset(next)).await }).await
    };
    for _ in 0..2 {
        assert_eq!(write(10, 0, 7).await, Stored::Replaced);
        assert_eq!(write(4, 2, 3).await, Stored::Replaced);
    }
    assert_eq!(write(9, 0, 6).await, Stored::Stale);
    let both = [unwatched, watched];
    let read = repeat(|| VideoCounters::read_many(&*store, &both, 3)).await;
    assert_eq!(read[0], counters::CountersAt::default());
    assert_eq!(read[1].counters, VideoCounters { starts: 14, views: 7, engaged: 2, watch_ms: Millis(2000) });
    assert_eq!(read[1].offsets, offsets(&[(0, 7), (2, 3)]));
    repeat(|| VideoCounters::delete(&*store, watched, 3)).await;
    assert_eq!(repeat(|| VideoCounters::read_many(&*store, &both[1..], 3)).await[0], counters::CountersAt::default());
}

/// Figures and the trending ranking read back as written.
pub async fn figures_keep_their_offsets(store: Arc<dyn ServingStore>) {
    let video = VideoId::generate();
    let figure = |next| HoursOfVideo {
        rule: 1,
        offsets: offsets(&[(0, next)]),
        hours: vec![HourStats { hour: Timestamp::from_millis(3_600_000), counters: VideoCounters::default() }],
    };
    assert_eq!(repeat(|| HoursOfVideo::read(&*store, video)).await, None);
    let new = figure(5);
    assert_eq!(repeat(|| new.write(&*store, video)).await, Stored::Replaced);
    let old = figure(4);
    assert_eq!(repeat(|| old.write(&*store, video)).await, Stored::Stale);
    assert_eq!(repeat(|| HoursOfVideo::read(&*store, video)).await, Some(new));

    let other = VideoId::generate();
    let scores = BTreeMap::from([(video, 1.0), (other, 2.0)]);
    repeat(|| stats::write_trending(&*store, scores.clone(), offsets(&[(0, 5)]))).await;
    let trending = repeat(|| stats::read_trending(&*store, 0, 10)).await;
    assert_eq!(trending.iter().map(|r| r.video_id).collect::<Vec<_>>(), [other, video]);
}

/// Offsets are compared exactly, also where a double can't tell them apart.
pub async fn offsets_have_64_bits(store: Arc<dyn ServingStore>) {
    let steps = [0, 9, 10, 9_999_999_999, 10_000_000_000, 1 << 53, (1 << 53) + 1, u64::MAX - 1, u64::MAX];
    for pair in steps.windows(2) {
        let [old, new] = [pair[0], pair[1]];
        let put = async |next| repeat(|| store.put("k", Bytes::new(), offsets(&[(7, next), (u32::MAX, 1)]))).await;
        assert_eq!(put(new).await, Stored::Replaced, "{new} after {old}");
        assert_eq!(put(old).await, Stored::Stale, "{old} after {new}");
        assert_eq!(put(new).await, Stored::Replaced, "{new} again");
        assert_eq!(repeat(|| store.get("k")).await.unwrap().offsets, offsets(&[(7, new), (u32::MAX, 1)]));
    }
}

/// Cached values are replaced, run out, and are not those of `put`.
pub async fn cached_values_end(store: Arc<dyn ServingStore>) {
    let put = async |value: Bytes, ttl| repeat(|| store.cache_put("k", value.clone(), ttl)).await;
    let get = async || repeat(|| store.cache_get("k")).await;
    assert_eq!(get().await, None);
    put("first".into(), Millis::from_days(1)).await;
    put("second".into(), Millis::from_secs(3600)).await;
    let cached = get().await.unwrap();
    assert_eq!(cached.value, "second");
    assert!((1..=3_600_000).contains(&cached.expires_in.0), "{cached:?}");
    assert_eq!(text(&*store, "k").await, None, "values and cached values are apart");
    put("short".into(), Millis(20)).await;
    while let Some(cached) = get().await {
        assert_eq!(cached.value, "short");
        tokio::task::yield_now().await;
    }
    repeat(|| store.cache_put("large", vec![7; CACHED_VALUE_LIMIT + 1].into(), Millis::from_days(1))).await;
    assert_eq!(repeat(|| store.cache_get("large")).await, None);
    repeat(|| store.cache_put("largest", vec![7; CACHED_VALUE_LIMIT].into(), Millis::from_days(1))).await;
    assert_eq!(repeat(|| store.cache_get("largest")).await.unwrap().value.len(), CACHED_VALUE_LIMIT);
}

/// A lease has one holder, until it gives it back or the time is over.
pub async fn leases_have_one_holder(store: Arc<dyn ServingStore>) {
    let (one, two) = (LeaseToken::generate(), LeaseToken::generate());
    let long = Millis::from_days(1);
    let ask = async |holder, ttl| repeat(|| store.try_lease("k", holder, ttl)).await;
    assert!(ask(one, long).await);
    assert!(!ask(two, long).await);
    assert!(ask(one, long).await, "the holder prolongs it");
    repeat(|| store.release("k", two)).await;
    assert!(!ask(two, long).await, "only the holder gives it back");
    repeat(|| store.release("k", one)).await;
    assert!(ask(two, Millis(20)).await);
    while !ask(one, long).await {
        tokio::task::yield_now().await;
    }
    let takers = (0..8).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let holder = LeaseToken::generate();
            repeat(|| store.try_lease("wanted", holder, long)).await
        })
    });
    let got = join_all(takers).await.into_iter().filter(|taken| *taken.as_ref().unwrap()).count();
    assert_eq!(got, 1);
}

/// `clear` forgets values with their offsets, rankings and cached values; limits and leases stay.
pub async fn clearing_forgets_what_can_be_rebuilt(store: Arc<dyn ServingStore>) {
    let (holder, day) = (LeaseToken::generate(), Millis::from_days(1));
    let quota = Quota { burst: 1, per: Millis::from_days(1000) };
    for n in 0..1200 {
        let key = format!("many/{n}");
        repeat(|| store.put(&key, Bytes::from("x"), offsets(&[(0, 9)]))).await;
    }
    repeat(|| store.rank_replace("r", vec![("a".into(), 1.0)], offsets(&[(0, 9)]))).await;
    repeat(|| store.cache_put("k", Bytes::from("x"), day)).await;
    assert!(repeat(|| store.try_lease("k", holder, day)).await);
    repeat(|| store.take("bucket", quota)).await;
    while repeat(|| store.clear()).await > 0 {}
    assert_eq!(text(&*store, "many/0").await, None);
    assert_eq!(text(&*store, "many/1199").await, None);
    assert_eq!(repeat(|| store.rank_top("r", 0, 1)).await, []);
    assert_eq!(repeat(|| store.cache_get("k")).await, None);
    assert!(!repeat(|| store.try_lease("k", LeaseToken::generate(), day)).await);
    assert!(matches!(repeat(|| store.take("bucket", quota)).await, RateDecision::Denied { .. }));
    // Their offsets are gone too: a rebuild may begin anywhere.
    assert_eq!(repeat(|| store.put("many/0", Bytes::from("new"), offsets(&[(0, 1)]))).await, Stored::Replaced);
    let again = repeat(|| store.rank_replace("r", vec![("b".into(), 1.0)], offsets(&[(0, 1)]))).await;
    assert_eq!(again, Stored::Replaced);
}

const HOUR: Freshness = Freshness { fresh: Millis::from_secs(3600), stale: Millis::from_secs(3600) };

/// Whatever the store says, callers get the answer.
pub async fn an_answer_survives_a_bad_store(store: Arc<dyn ServingStore>) {
    let flights = SingleFlight::<ServingError>::new(store, Millis::from_secs(60));
    for n in 0..50 {
        let answer = Bytes::from(n.to_string());
        let computed = answer.clone();
        let got = flights.get_or_compute(&n.to_string(), HOUR, || async move { Ok(computed) }).await;
        assert_eq!(got.unwrap(), answer);
    }
}

/// What one process writes the other reads, and neither overwrites the newer value of the other.
pub async fn processes_share_what_they_write([one, two]: [Arc<dyn ServingStore>; 2]) {
    let writers = [&one, &two].map(|store| {
        let store = Arc::clone(store);
        async move {
            for next in 0..200_u64 {
                store.put("k", Bytes::from(next.to_string()), offsets(&[(0, next)])).await.unwrap();
                let seen = store.get("k").await.unwrap().unwrap();
                assert_eq!(seen.offsets, offsets(&[(0, String::from_utf8_lossy(&seen.value).parse().unwrap())]));
                assert!(seen.offsets.covers(&offsets(&[(0, next)])));
            }
        }
    });
    join_all(writers).await;
    assert_eq!(one.put("k", Bytes::from("old"), offsets(&[(0, 198)])).await.unwrap(), Stored::Stale);
    for store in [&one, &two] {
        assert_eq!(text(&**store, "k").await.unwrap(), "199");
    }
    let quota = Quota { burst: 3, per: Millis::from_days(1000) };
    let mut through = 0;
    for store in [&one, &two, &one, &two, &one, &two] {
        through += u32::from(store.take("shared", quota).await.unwrap() == RateDecision::Allowed);
    }
    assert_eq!(through, 3, "a limit holds for all processes together");
}

/// What one process publishes the other hears.
pub async fn processes_hear_each_other([one, two]: [Arc<dyn ServingStore>; 2]) {
    let mut here = one.subscribe("c").await.unwrap();
    let mut there = two.subscribe("c").await.unwrap();
    one.publish("c", Bytes::from("by one")).await.unwrap();
    for heard in [&mut here, &mut there] {
        assert_eq!(heard.next().await.unwrap(), "by one");
    }
    two.publish("c", Bytes::from("by two")).await.unwrap();
    for heard in [&mut here, &mut there] {
        assert_eq!(heard.next().await.unwrap(), "by two");
    }
    // One goes and comes again; the other's listener does not notice.
    drop(there);
    let mut again = two.subscribe("c").await.unwrap();
    one.publish("c", Bytes::from("last")).await.unwrap();
    assert_eq!(again.next().await.unwrap(), "last");
    assert_eq!(here.next().await.unwrap(), "last");
}

/// Of many callers in two processes one computes and all get its answer.
pub async fn processes_compute_once(stores: [Arc<dyn ServingStore>; 2]) {
    let flights = stores.map(|store| SingleFlight::<ServingError>::new(store, Millis::from_secs(600)));
    let computed = Arc::new(AtomicU32::new(0));
    let (go, gate) = tokio::sync::watch::channel(false);
    let callers: Vec<_> = (0..40)
        .map(|n| {
            let (flights, computed, mut gate) = (Arc::clone(&flights[n % 2]), Arc::clone(&computed), gate.clone());
            tokio::spawn(async move {
                let compute = || async move {
                    computed.fetch_add(1, Ordering::SeqCst);
                    gate.wait_for(|open| *open).await.unwrap();
                    Ok(Bytes::from("dear"))
                };
                flights.get_or_compute("k", HOUR, compute).await.unwrap()
            })
        })
        .collect();
    while computed.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    // Callers that give up do not stop what they began.
    callers[0].abort();
    callers[1].abort();
    go.send_replace(true);
    for caller in callers {
        match caller.await {
            Ok(answer) => assert_eq!(answer, "dear"),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
    }
    assert_eq!(computed.load(Ordering::SeqCst), 1);
}

/// An old answer is served at once while one process computes a new one.
pub async fn old_answers_are_served_while_one_computes(stores: [Arc<dyn ServingStore>; 2]) {
    let [one, two] =
        stores.each_ref().map(|store| SingleFlight::<ServingError>::new(Arc::clone(store), Millis::from_secs(600)));
    let computed = Arc::new(AtomicU32::new(0));
    // What is there is old already; what is computed is not, should somebody come late.
    let ttl = Freshness { fresh: Millis::from_secs(3600), stale: Millis::from_secs(3600) };
    stores[0].cache_put("k", Bytes::from("old"), ttl.stale).await.unwrap();
    let (go, gate) = tokio::sync::watch::channel(false);
    for flights in [&one, &two, &one, &two] {
        let (computed, mut gate) = (Arc::clone(&computed), gate.clone());
        let compute = || async move {
            computed.fetch_add(1, Ordering::SeqCst);
            gate.wait_for(|open| *open).await.unwrap();
            Ok(Bytes::from("new"))
        };
        assert_eq!(flights.get_or_compute("k", ttl, compute).await.unwrap(), "old");
    }
    while computed.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    go.send_replace(true);
    while stores[1].cache_get("k").await.unwrap().unwrap().value != "new" {
        tokio::task::yield_now().await;
    }
    // The second process left it to the first.
    assert_eq!(computed.load(Ordering::SeqCst), 1);
}

/// A failed computation is told, not kept, and does not keep the next one waiting for its lease.
pub async fn a_failed_computation_is_not_kept(stores: [Arc<dyn ServingStore>; 2]) {
    let [one, two] = stores.map(|store| SingleFlight::new(store, Millis::from_secs(600)));
    let fail = || async { Err(ServingError::Unavailable("on purpose".into())) };
    let failed = one.get_or_compute("k", HOUR, fail).await;
    assert!(matches!(&failed, Err(FlightError::Computation(error)) if error.is_retryable()), "{failed:?}");
    assert!(failed.unwrap_err().is_retryable());
    let good = two.get_or_compute("k", HOUR, || async { Ok(Bytes::from("good")) }).await;
    assert_eq!(good.unwrap(), "good");
    let kept = one.get_or_compute("k", HOUR, fail).await;
    assert_eq!(kept.unwrap(), "good");
}
