//! Hand-worked results of each view over one small history.

use event_schemas::playback::{EventKind, PlaybackEvent};
use lake_sql::{Format, Snapshot, SqlOptions};

use crate::history::{bronze, event};

/// Video 1 is 100 s long, video 2 is 20 s.
///
/// | session | viewer | video | begins | what |
/// |---|---|---|---|---|
/// | 11 | 1 | 1 | 0:00:00 | start, 0–30 s, then 0–10 s again: a view at 0:00:30, engaged at 0:00:20 |
/// | 12 | 1 | 1 | 0:20:00 | start twice, 0–30 s: qualifies 20 minutes after the last counted view |
/// | 13 | 1 | 1 | 0:31:00 | start, 0–30 s: 31 minutes after it, so it counts |
/// | 21 | 2 | 1 | 1:00:00 | start without a grant, 0–30 s without one, 0–10 s dropped |
/// | 22 | 2 | 2 | 1:10:00 | 0–10 s: half of a short video, and not past 10 s |
/// | 14 | 1 | 2 | 2:59:55 | preview, 0–10 s and 10–11 s: a view in hour 3, not engaged |
fn history() -> Vec<Vec<PlaybackEvent>> {
    let watch = |viewer, video, session, seq, second, from: u32, to: u32| PlaybackEvent {
        media_from_ms: Some(from * 1000),
        media_to_ms: Some(to * 1000),
        video_duration_ms: Some(if video == 1 { 100_000 } else { 20_000 }),
        ..event(viewer, video, session, seq, second)
    };
    let start = |viewer, session, seq, second| PlaybackEvent {
        kind: EventKind::Start,
        ..event(viewer, 1, session, seq, second)
    };
    let thirty = |session, second| {
        (0..3u32).map(move |n| {
            let at = second + 10 * i64::from(n + 1);
            watch(1, 1, session, n + 2, at, n * 10, n * 10 + 10)
        })
    };
    let mut first = vec![start(1, 11, 1, 0)];
    first.extend(thirty(11, 0));
    first.push(watch(1, 1, 11, 5, 40, 0, 10));
    let mut second = vec![start(1, 12, 0, 1200), start(1, 12, 1, 1201)];
    second.extend(thirty(12, 1200));
    let mut third = vec![start(1, 13, 1, 1860)];
    third.extend(thirty(13, 1860));
    let refused = [
        PlaybackEvent { granted: false, video_duration_ms: None, ..start(2, 21, 0, 3600) },
        PlaybackEvent { granted: false, ..watch(2, 1, 21, 1, 3610, 0, 10) },
        PlaybackEvent { granted: false, ..watch(2, 1, 21, 2, 3620, 10, 20) },
        PlaybackEvent { granted: false, ..watch(2, 1, 21, 3, 3630, 20, 30) },
        PlaybackEvent { dropped_by: Some("speed".to_owned()), ..watch(2, 1, 21, 4, 3640, 0, 10) },
    ];
    let preview = |seq, second, from, to| PlaybackEvent {
        source: Some("preview".to_owned()),
        ..watch(1, 2, 14, seq, second, from, to)
    };
    vec![
        first,
        second,
        third,
        refused.to_vec(),
        vec![watch(2, 2, 22, 0, 4200, 0, 10)],
        vec![preview(0, 10_800, 0, 10), preview(1, 10_801, 10, 11)],
    ]
}

async fn csv(sql: &str) -> Vec<String> {
    let snapshot = Snapshot::in_memory(bronze(&history()), SqlOptions::default()).await.unwrap();
    let mut out = Vec::new();
    snapshot.query(sql).await.unwrap().write(Format::Csv, &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().skip(1).map(ToOwned::to_owned).collect()
}

/// The last two hexadecimal digits tell viewers, videos and sessions apart.
const WHO: &str = "right(viewer_id, 1) as viewer, right(video_id, 1) as video, right(session_id, 1) as session";

#[tokio::test(flavor = "multi_thread")]
async fn session_progress() {
    let got =
        csv("select right(session_id, 1) as session, log_index, watched_ms, watched_so_far_ms from session_progress \
         where log_offset in (0, 3) order by log_offset, log_index")
        .await;
    let expected = ["b,0,0,0", "b,1,10000,10000", "b,2,10000,20000", "b,3,10000,30000", "b,4,10000,40000"].into_iter();
    let refused = ["5,0,0,0", "5,1,0,0", "5,2,0,0", "5,3,0,0", "5,4,0,0"];
    assert_eq!(got, expected.chain(refused).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn starts() {
    let got = csv(&format!("select {WHO}, event_ts from starts order by event_ts")).await;
    assert_eq!(got, ["1,1,b,2026-01-05T00:00:00Z", "1,1,c,2026-01-05T00:20:00Z", "1,1,d,2026-01-05T00:31:00Z",]);
}

#[tokio::test(flavor = "multi_thread")]
async fn engaged_views() {
    let got = csv(&format!("select {WHO}, event_ts from engaged_views order by event_ts")).await;
    assert_eq!(got, ["1,1,b,2026-01-05T00:00:20Z", "1,1,c,2026-01-05T00:20:20Z", "1,1,d,2026-01-05T00:31:20Z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn view_qualifications_and_views() {
    let all = [
        "1,1,b,2026-01-05T00:00:30Z",
        "1,1,c,2026-01-05T00:20:30Z",
        "1,1,d,2026-01-05T00:31:30Z",
        "2,2,6,2026-01-05T01:10:00Z",
        "1,2,e,2026-01-05T03:00:00Z",
    ];
    let got = csv(&format!("select {WHO}, event_ts from view_qualifications order by event_ts")).await;
    assert_eq!(got, all);
    let got = csv(&format!("select {WHO}, event_ts from views order by event_ts")).await;
    assert_eq!(got, [all[0], all[2], all[3], all[4]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn video_stats() {
    let got =
        csv("select right(video_id, 1) as video, hour, starts, views, engaged_views, watch_ms from video_stats_hour \
         order by video, hour")
        .await;
    assert_eq!(
        got,
        [
            "1,2026-01-05T00:00:00Z,3,2,3,100000",
            "2,2026-01-05T01:00:00Z,0,1,0,10000",
            "2,2026-01-05T03:00:00Z,0,1,0,11000",
        ]
    );
    let got = csv(
        "select right(video_id, 1) as video, starts, views, engaged_views, watch_ms from video_stats order by video",
    )
    .await;
    assert_eq!(got, ["1,3,2,3,100000", "2,0,2,0,21000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention() {
    // Of video 1 three sessions saw 0–30 s, one of them 0–10 s twice, for two views. Of video 2 two
    // sessions saw the first half, one of them 1 s more, for two views.
    let got =
        csv("select right(video_id, 1) as video, min(point), max(point), count(*), duration_ms, sessions, views, \
         round(watched_ratio, 6) as watched, round(viewers_ratio, 6) as viewers from retention \
         group by video_id, duration_ms, sessions, views, round(watched_ratio, 6), round(viewers_ratio, 6) \
         order by video, min(point)")
        .await;
    assert_eq!(
        got,
        [
            "1,0,9,10,100000,3,2,2.0,1.0",
            "1,10,29,20,100000,3,2,1.5,1.0",
            "1,30,99,70,100000,3,2,0.0,0.0",
            "2,0,49,50,20000,2,2,1.0,1.0",
            "2,50,54,5,20000,2,2,0.5,0.5",
            "2,55,99,45,20000,2,2,0.0,0.0",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn co_watch() {
    // Viewer 1 has views of both (weights 2 and 2), viewer 2 of video 2 alone: 4 / (2 · √8).
    let got = csv(
        "select right(video_id, 1) as video, right(related_id, 1) as related, viewers, round(score, 6) as score, place \
         from co_watch order by video",
    )
    .await;
    assert_eq!(got, ["1,2,1,0.707107,1", "2,1,1,0.707107,1"]);
}
