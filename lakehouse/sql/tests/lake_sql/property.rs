//! For any history, the lake's SQL gives what the `views` stage counts.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use event_schemas::{
    Millis, Timestamp, VideoId, ViewerId,
    playback::{EventKind, PlaybackEvent},
};
use intake::Taken;
use lake_sql::{Snapshot, SqlOptions, bigints, instants, texts};
use proptest::{prelude::*, test_runner::TestCaseError};
use serving_store::counters::VideoCounters;
use views_stage::decide::{Row, SessionKey, SessionState, count_view, step};

use crate::history::{event, record, rows, taken};

/// What is drawn for one event.
#[derive(Debug, Clone)]
struct Draw {
    viewer: u8,
    video: u128,
    session: u128,
    seq: u32,
    server_minute: i64,
    late_minutes: i64,
    start: bool,
    interval: Option<(u32, u32)>,
    granted: bool,
    dropped: bool,
    preview: bool,
    duration: Option<u32>,
    /// The event begins a new record.
    cut: bool,
    /// The record before is appended once more.
    resent: bool,
}

fn draw() -> impl Strategy<Value = Draw> {
    let who = (0u8..2, 0u128..2, 0u128..3, 0u32..60);
    // Steps between server times: mostly small, now and then past the deduplication window.
    let when = (
        prop_oneof![40 => 0i64..2, 8 => 0i64..40, 1 => Just(7 * 1440), 1 => Just(7 * 1440 + 1)],
        prop_oneof![
            9 => Just(0i64), 2 => 0i64..120, 1 => 0i64..7 * 1440,
        ],
    );
    let interval = prop_oneof![1 => Just(None), 6 => (0u32..100_000, prop_oneof![0u32..10_001, Just(10_000)]).prop_map(|(f, l)| Some((f, f + l)))];
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.85), prop::bool::weighted(0.1), any::<bool>());
    let duration = prop_oneof![1 => Just(None), 4 => prop_oneof![Just(5_001u32), Just(59_999), Just(60_000), Just(100_000)].prop_map(Some)];
    let log = (prop::bool::weighted(0.3), prop::bool::weighted(0.1));
    (who, when, interval, flags, duration, log).prop_map(
        |(
            (viewer, video, session, seq),
            (step, late),
            interval,
            (start, granted, dropped, preview),
            duration,
            (cut, resent),
        )| {
            Draw {
                viewer,
                video,
                session,
                seq,
                server_minute: step,
                late_minutes: late,
                start,
                interval,
                granted,
                dropped,
                preview: preview && session == 2,
                duration,
                cut,
                resent,
            }
        },
    )
}

/// The draws as what the fold takes of the log they make.
fn log(draws: &[Draw]) -> Vec<Taken> {
    let mut records: Vec<Vec<PlaybackEvent>> = vec![Vec::new()];
    let mut resent = vec![false];
    let mut minute = 0;
    for draw in draws {
        minute += draw.server_minute;
        let mut event = event(draw.viewer, draw.video, draw.session, draw.seq, minute * 60);
        event.event_ts = event.server_ts - Millis(draw.late_minutes * 60_000);
        event.kind = if draw.start { EventKind::Start } else { EventKind::Heartbeat };
        (event.media_from_ms, event.media_to_ms) = (draw.interval.map(|i| i.0), draw.interval.map(|i| i.1));
        event.granted = draw.granted;
        event.dropped_by = draw.dropped.then(|| "rule".to_owned());
        event.source = draw.preview.then(|| "preview".to_owned());
        event.video_duration_ms = draw.duration;
        if draw.cut {
            records.push(Vec::new());
            resent.push(draw.resent);
        }
        records.last_mut().unwrap().push(event);
    }
    let mut stored = Vec::new();
    for ((number, events), again) in (0u64..).zip(&records).zip(&resent) {
        for _ in 0..if *again { 2 } else { 1 } {
            stored.push(record(stored.len() as u64, number, events));
        }
    }
    taken(&stored)
}

type CountedViews = Vec<(ViewerId, VideoId, String, i64)>;

/// The stage's fold with its state in memory.
fn fold(taken: &[Taken]) -> (BTreeMap<VideoId, VideoCounters>, CountedViews) {
    let mut sessions: HashMap<SessionKey, SessionState> = HashMap::new();
    let mut last: HashMap<(ViewerId, VideoId), Timestamp> = HashMap::new();
    let (mut totals, mut views) = (BTreeMap::<VideoId, VideoCounters>::new(), Vec::new());
    for taken in taken {
        let column = |name: &str| taken.rows.column_by_name(name).unwrap();
        let number = |name: &str, n: usize| {
            let column = column(name).as_primitive::<Int64Type>();
            column.is_valid(n).then(|| column.value(n))
        };
        for (n, key) in taken.keys.iter().enumerate() {
            let source = column("source").as_string::<i32>();
            let row = Row {
                key: SessionKey { viewer: key.viewer, video: key.video, session: key.session },
                is_start: column("kind").as_string::<i32>().value(n) == "start",
                interval: number("media_from_ms", n).zip(number("media_to_ms", n)),
                granted: column("granted").as_boolean().value(n),
                dropped: column("dropped_by").is_valid(n),
                source: source.is_valid(n).then(|| source.value(n)),
                duration: number("video_duration_ms", n).map(Millis),
                server_ts: key.server_ts,
                event_ts: Timestamp::from_micros(
                    column("event_ts").as_primitive::<TimestampMicrosecondType>().value(n),
                ),
            };
            let step = step(sessions.get(&row.key).copied(), &row);
            sessions.insert(row.key, step.session);
            let mut adds = step.adds;
            let pair = (key.viewer, key.video);
            if step.qualifies && count_view(last.get(&pair).copied(), row.event_ts) {
                last.insert(pair, row.event_ts);
                adds.views = 1;
                views.push((key.viewer, key.video, key.session.to_string(), row.event_ts.as_micros()));
            }
            if adds != VideoCounters::default() {
                *totals.entry(key.video).or_default() += adds;
            }
        }
    }
    views.sort();
    (totals, views)
}

async fn by_sql(taken: &[Taken]) -> (BTreeMap<VideoId, VideoCounters>, CountedViews) {
    let options = SqlOptions { parallelism: Some(2), ..SqlOptions::default() };
    let snapshot = Snapshot::in_memory(rows(0, taken), options).await.unwrap();
    let stats = snapshot.query("select * from video_stats").await.unwrap().into_one().unwrap();
    let number = |name| bigints(&stats, name).unwrap();
    let videos = texts(&stats, "video_id").unwrap();
    let totals = (0..stats.num_rows())
        .map(|n| {
            let count = |name| u64::try_from(number(name).value(n)).unwrap();
            let counters = VideoCounters {
                starts: count("starts"),
                views: count("views"),
                engaged: count("engaged_views"),
                watch_ms: Millis(number("watch_ms").value(n)),
            };
            (videos.value(n).parse().unwrap(), counters)
        })
        .collect();
    let rows = snapshot.query("select * from views").await.unwrap().into_one().unwrap();
    let (viewers, videos) = (texts(&rows, "viewer_id").unwrap(), texts(&rows, "video_id").unwrap());
    let (sessions, at) = (texts(&rows, "session_id").unwrap(), instants(&rows, "event_ts").unwrap());
    let mut views: CountedViews = (0..rows.num_rows())
        .map(|n| {
            (
                viewers.value(n).parse().unwrap(),
                videos.value(n).parse().unwrap(),
                sessions.value(n).to_owned(),
                at[n].as_micros(),
            )
        })
        .collect();
    views.sort();
    (totals, views)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_stage_and_the_lake_count_the_same(draws in prop::collection::vec(draw(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let taken = log(&draws);
        let lake = runtime.block_on(by_sql(&taken));
        let stage = fold(&taken);
        if lake != stage {
            return Err(TestCaseError::fail(format!("lake {lake:#?}\nstage {stage:#?}")));
        }
    }
}

#[test]
fn the_histories_drawn_hold_what_they_are_meant_to() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut views, mut qualified_only, mut duplicates) = (0, 0, 0);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for _ in 0..8 {
        let draws = prop::collection::vec(draw(), 120).new_tree(&mut runner).unwrap().current();
        let taken = log(&draws);
        duplicates += taken.iter().map(|taken| taken.duplicates).sum::<usize>();
        let snapshot = runtime.block_on(Snapshot::in_memory(rows(0, &taken), SqlOptions::default())).unwrap();
        let count = |table: &str| runtime.block_on(snapshot.query(&format!("select * from {table}"))).unwrap().rows();
        views += count("views");
        qualified_only += count("view_qualifications") - count("views");
    }
    assert!(views > 10 && qualified_only > 5 && duplicates > 10, "{views} {qualified_only} {duplicates}");
}
