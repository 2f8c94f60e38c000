//! From a player's heartbeat to a count on the page, in the lake and in every figure made of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{
    Creator, LONG, Playback, SHORT, Server, Viewer, clips, command::succeed, sse::Events, viewers::now_us, wait::holds,
    wait_until,
};

/// What was acknowledged with 202: sessions and the numbers of their events.
#[derive(Default)]
struct Acknowledged(BTreeSet<(String, u32)>);

impl Acknowledged {
    async fn report(&mut self, playback: &Playback, events: Vec<Value>) {
        let sent = events.len() as u64;
        let numbers: Vec<u32> = events.iter().map(|event| event["seq"].as_u64().unwrap() as u32).collect();
        assert_eq!(playback.report(events).await, sent);
        self.0.extend(numbers.into_iter().map(|seq| (playback.session.clone(), seq)));
    }
}

#[tokio::test]
async fn telemetry_to_view() {
    let clip = clips::small().await;
    let server = Server::start(&[]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.publish(&clip, "Marmots").await;
    let mut all = Acknowledged::default();

    // 1. A viewer opens the watch page and gets a playback grant: session, video and viewer,
    //    signed. The page follows the counters by server-sent events.
    let mut first = Viewer::new(&server);
    let mut playback = first.open(&video, 1).await;
    let mut page = Events::open(&first.api, &video).await;

    // 2. The player reports: an attempt, the first frame, what it rendered. Each batch is
    //    acknowledged when the log has it durably. The start counts, and 5.9 of 12 seconds are
    //    not yet a view.
    let mut events = vec![playback.event("attempt"), playback.event("start")];
    events.push(playback.watched("heartbeat", 0, 5_900));
    all.report(&playback, events.clone()).await;
    counters(&server, &video, [1, 0, 0, 5_900]).await;

    // 3. The heartbeat that completes half of the video makes it a view. The page is told within
    //    a second.
    let qualifying = playback.watched("heartbeat", 5_900, 10_000);
    all.report(&playback, vec![qualifying.clone()]).await;
    let acknowledged_at = now_us();
    counters(&server, &video, [1, 1, 0, 10_000]).await;
    println!("a view shows in the API {} ms after its heartbeat's 202", (now_us() - acknowledged_at) / 1000);
    page.until("the page is told of the view", SHORT, |event| event.name == "counters" && event.data["views"] == 1)
        .await;

    // 4. More than ten seconds by intent make it an engaged view.
    let end = playback.watched("end", 10_000, 12_000);
    all.report(&playback, vec![end.clone()]).await;
    counters(&server, &video, [1, 1, 1, 12_000]).await;

    // 5. A player that missed an answer sends its batches again, unchanged. They are acknowledged
    //    again and change nothing.
    events.extend([qualifying, end]);
    assert_eq!(playback.report(events).await, 5);

    // 6. Another viewer's playback counts by itself.
    let mut second = Viewer::new(&server);
    let mut other = second.open(&video, 1).await;
    let watched = other.watch_to(12_000);
    all.report(&other, watched).await;
    counters(&server, &video, [2, 2, 2, 24_000]).await;

    // 7. The same viewer and video again count only after 30 minutes. A third viewer's player was
    //    offline and reports three playbacks of the past at once.
    let mut third = Viewer::new(&server);
    for minutes_ago in [180, 165, 130] {
        let mut past = third.open(&video, minutes_ago).await;
        let watched = past.watch_to(12_000);
        all.report(&past, watched).await;
    }
    counters(&server, &video, [5, 4, 5, 60_000]).await;

    // 8. What comes without a grant is stored and counts for nothing; nor does an autoplaying
    //    preview make an engaged view.
    let mut ungranted = second.open(&video, 1).await;
    ungranted.grant = None;
    ungranted.source = "embed";
    let watched = ungranted.watch_to(12_000);
    all.report(&ungranted, watched).await;
    let mut preview = Viewer::new(&server).open(&video, 1).await;
    preview.source = "preview";
    let watched = preview.watch_to(12_000);
    all.report(&preview, watched).await;
    counters(&server, &video, [6, 5, 5, 72_000]).await;

    // 9. The lake writer has put every event into the lake exactly once: rows and offsets in one
    //    commit. `millrace lake flush` waits until it holds all that was acknowledged.
    server.flush().await;
    assert_eq!(server.sql_number("select count(*) from playback_events").await, all.0.len() as i64);
    assert_eq!(stored(&server).await, all.0);
    assert_eq!(server.sql_number("select count(*) from playback_events where not granted").await, 4);

    // 10. A recount by SQL gives what the API says.
    let recount = format!("select count(*) from views where video_id = '{video}'");
    assert_eq!(server.sql_number(&recount).await, 5);
    assert_eq!(recounted(&server).await, BTreeMap::from([(video.clone(), [6, 5, 5, 72_000])]));

    // 11. Jobs over the lake make the hours and the retention curve, which its owner sees.
    check_stats(&ada, &video).await;
    server.stranger().get(&format!("/api/v1/videos/{video}/stats")).await.expect_problem(401, "sign-in-required", "");

    // 12. Recent views make it trend.
    let other_videos =
        [ada.publish(&clips::tiny(40).await, "Clouds").await, ada.publish(&clips::tiny(70).await, "Rain").await];
    wait_until("the watched video leads the trend", SHORT, async || {
        let trending = server.stranger().ids("/api/v1/trending").await;
        holds(trending.first() == Some(&video) && trending.len() == 3, || format!("{trending:?}"))
    })
    .await;

    // 13. An audience that watches, seeks, stalls, watches again and leaves, by a seed: SQL and API
    //     agree on every counter of every video.
    let simulated = ["simulate", "--viewers", "40", "--sessions", "3", "--seed", "7", "--span-hours", "24"];
    let outcome: Value = serde_json::from_str(&succeed(server.command(&simulated)).await).unwrap();
    server.flush().await;
    let total = server.sql_number("select count(*) from playback_events").await;
    assert_eq!(total, all.0.len() as i64 + outcome["events"].as_i64().unwrap(), "{outcome}");
    let recounted = recounted(&server).await;
    assert!(
        other_videos.iter().all(|video| recounted.get(video).is_some_and(|counters| counters[1] > 0)),
        "{recounted:?}"
    );
    let watched: i64 = recounted.values().map(|counters| counters[3]).sum();
    assert_eq!(watched, 72_000 + outcome["watched_ms"].as_i64().unwrap(), "{outcome}");
    for (video, figures) in &recounted {
        counters(&server, video, *figures).await;
    }

    // 14. Viewers who watched both make two videos related.
    wait_until("videos are related by their viewers", SHORT, async || {
        let related = server.stranger().get(&format!("/api/v1/videos/{video}/related")).await.expect(200).json();
        let reasons: Vec<_> = related["items"].as_array().unwrap().iter().map(|item| &item["reason"]).collect();
        holds(reasons == ["watched_together"; 2], || related.to_string())
    })
    .await;
}

fn figures(counters: &Value) -> [i64; 4] {
    ["starts", "views", "engaged_views", "watch_ms"].map(|name| counters[name].as_i64().unwrap())
}

/// Waits until the API shows these starts, views, engaged views and milliseconds watched.
async fn counters(server: &Server, video: &str, expected: [i64; 4]) {
    let api = server.stranger();
    wait_until(format!("video {video} counts {expected:?}"), SHORT, async || {
        let seen = figures(&api.video(video).await["counters"]);
        holds(seen == expected, || format!("{seen:?}"))
    })
    .await;
}

/// Every event that the lake holds, by session and number.
async fn stored(server: &Server) -> BTreeSet<(String, u32)> {
    let rows = server.sql("select session_id, seq from playback_events").await;
    rows.iter()
        .map(|row| (row["session_id"].as_str().unwrap().to_owned(), row["seq"].as_u64().unwrap() as u32))
        .collect()
}

/// The counters of every video, recounted from the lake.
async fn recounted(server: &Server) -> BTreeMap<String, [i64; 4]> {
    let rows = server.sql("select video_id, starts, views, engaged_views, watch_ms from video_stats").await;
    rows.iter().map(|row| (row["video_id"].as_str().unwrap().to_owned(), figures(row))).collect()
}

async fn check_stats(owner: &Creator, video: &str) {
    let path = format!("/api/v1/videos/{video}/stats?hours=24");
    let stats = wait_until("hours and curve have taken everything into account", LONG, async || {
        let stats = owner.api.get(&path).await.expect(200).json();
        let hours = stats["hours"].as_array().unwrap();
        let sum = hours.iter().map(figures).fold([0; 4], |sum, hour| std::array::from_fn(|n| sum[n] + hour[n]));
        let (of_hours, of_curve) = (&stats["as_of"]["lake_offsets"], &stats["as_of"]["retention_offsets"]);
        holds(sum == [6, 5, 5, 72_000] && of_hours == of_curve, || stats.to_string()).map(|()| stats)
    });
    let stats = stats.await;
    assert_eq!(figures(&stats["counters"]), [6, 5, 5, 72_000]);
    assert_eq!((&stats["video_id"], &stats["rule_version"]), (&json!(video), &json!(1)));
    assert!(stats["hours"].as_array().unwrap().len() >= 2, "the past playbacks lie in hours of their own: {stats}");
    assert!(stats["as_of"]["offsets"].as_object().is_some_and(|offsets| !offsets.is_empty()), "{stats}");

    let points = stats["retention"]["points"].as_array().unwrap();
    assert_eq!(points.len(), 100);
    // The sound may outlast the pictures by a moment, which nobody reports.
    for point in &points[..99] {
        // Six granted playbacks, each of the whole video, and five views: 6/5 of the time.
        let (watched, viewers) = (point["watched_ratio"].as_f64().unwrap(), point["viewers_ratio"].as_f64().unwrap());
        assert!((watched - 1.2).abs() < 0.05 && (viewers - 1.0).abs() < 0.05, "{point}");
    }
    let duration = stats["retention"]["duration_ms"].as_i64().unwrap();
    assert!((duration - 12_000).abs() <= 100, "{duration}");
}
