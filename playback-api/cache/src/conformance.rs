//! What every serving store must do. Each function wants an empty store.
//!
//! A store may answer [`ServingError::Unavailable`] at any call: the suite repeats it, as its
//! users do, so that the same suite runs on the failing wrapper.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code, behind a feature")]

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use event_schemas::{Faulty, Millis, Offset, OffsetVector, Partition, Timestamp, VideoId};
use futures::{StreamExt, future::join_all};

use crate::{
    Quota, RateDecision, ServingError, ServingStore, Stored,
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
    for n in 0..100_000u32 {
        repeat(|| store.publish("c", Bytes::from(n.to_string()))).await;
    }
    let mut heard: Vec<u32> = Vec::new();
    while heard.last() != Some(&99_999) {
        heard.push(std::str::from_utf8(&slow.next().await.unwrap()).unwrap().parse().unwrap());
    }
    assert!(heard.is_sorted() && heard.len() < 100_000, "{}", heard.len());
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
