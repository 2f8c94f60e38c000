//! Two transcode workers and two lake writers share the work; a writer that stands still is replaced
//! and commits nothing when it wakes.

use nix::sys::signal::Signal;

use crate::{
    fleet::Engines,
    support::{Creator, LONG, SHORT, Server, Viewer, clips, processes::signal, wait::holds, wait_until},
};

const LAKE_PARTITIONS: &str = "millrace_partitions_owned{group=\"lake/playback\"}";

/// Waits until each process owns so many partitions of the lake.
async fn own(processes: &[(&Server, f64)]) {
    wait_until("the partitions are spread", LONG, async || {
        let mut seen = Vec::new();
        for (process, _) in processes {
            seen.push(process.metric(LAKE_PARTITIONS).await);
        }
        holds(seen.iter().zip(processes).all(|(seen, (_, wanted))| seen == wanted), || format!("{seen:?}"))
    })
    .await;
}

#[tokio::test]
async fn two_of_a_kind_share_the_work_and_a_paused_one_changes_nothing() {
    let Some(engines) = Engines::start().await else { return };
    let front = engines.process("ingest,playback,recommend,sql", &[]).await;
    let lakes = [engines.process("lake", &[]).await, engines.process("lake", &[]).await];
    let transcoders = [engines.process("transcode", &[]).await, engines.process("transcode", &[]).await];
    own(&[(&lakes[0], 2.0), (&lakes[1], 2.0)]).await;

    // Each transcoder gets some of the jobs, each job is done once.
    let clip = clips::wide(6).await;
    let ada = Creator::sign_up(&front, "ada").await;
    let mut videos = Vec::new();
    for n in 0..4 {
        videos.push(ada.upload(&clip, &[("title", &format!("Shared {n}")), ("visibility", "public")]).await);
    }
    for video in &videos {
        ada.ready(video).await;
    }
    wait_until("each job is accounted for, once", SHORT, async || {
        let mut jobs = Vec::new();
        for process in &transcoders {
            jobs.push(process.metric("millrace_transcode_jobs_total{outcome=\"ready\"}").await);
        }
        holds(jobs.iter().sum::<f64>() == 4.0 && jobs.iter().all(|done| *done >= 1.0), || format!("{jobs:?}"))
    })
    .await;

    // Both lake writers commit.
    let mut acknowledged = 0;
    let play = async |viewers: usize| {
        let mut sent = 0;
        for _ in 0..viewers {
            let mut playback = Viewer::new(&front).open(&videos[0], 1).await;
            let events = playback.watch_to(6_000);
            sent += playback.report(events).await;
        }
        i64::try_from(sent).unwrap()
    };
    let is_whole = async |lake: &Server, acknowledged: i64| {
        lake.flush().await;
        let count = lake.sql_number("select count(*) from playback_events").await;
        let distinct = lake.sql_number("select count(distinct event_id) from playback_events").await;
        assert_eq!((count, distinct), (acknowledged, acknowledged));
    };
    acknowledged += play(24).await;
    is_whole(&lakes[0], acknowledged).await;
    for lake in &lakes {
        assert!(lake.metric("millrace_lake_rows_total").await > 0.0, "both write");
    }

    // One stands still; the other takes over all of it and goes on.
    signal(lakes[1].pid(), Signal::SIGSTOP);
    acknowledged += play(12).await;
    own(&[(&lakes[0], 4.0)]).await;
    acknowledged += play(12).await;
    is_whole(&lakes[0], acknowledged).await;

    // It wakes, finds itself replaced, and gets its share back in an orderly way.
    let rows = lakes[1].log().matches("the lake writer owns a partition").count();
    signal(lakes[1].pid(), Signal::SIGCONT);
    wait_until("the woken writer notices", SHORT, async || {
        let log = lakes[1].log();
        holds(log.contains("a higher epoch") || log.contains("taken over") || log.contains("Fenced"), || {
            log.lines().last().unwrap_or_default().to_owned()
        })
    })
    .await;
    wait_until("the woken writer has its share again", LONG, async || {
        let again = lakes[1].log().matches("the lake writer owns a partition").count();
        holds(again >= rows + 2, || format!("{again} after {rows}"))
    })
    .await;
    own(&[(&lakes[0], 2.0), (&lakes[1], 2.0)]).await;
    acknowledged += play(12).await;
    is_whole(&lakes[1], acknowledged).await;
    let counters = front.stranger().video(&videos[0]).await["counters"].clone();
    let views = lakes[0].sql_number(&format!("select count(*) from views where video_id = '{}'", videos[0])).await;
    assert_eq!(counters["views"], views);
    assert!(views >= 60, "{views}");
}
