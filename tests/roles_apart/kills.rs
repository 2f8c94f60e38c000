//! *Upload to playback* and *telemetry to view* through six processes, each of which is killed and
//! started again in turn: nothing is lost and nothing is there twice.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use reqwest::Method;
use serde_json::Value;

use crate::{
    fleet::{Fleet, ROLES},
    support::{Creator, LONG, Playback, Upload, Viewer, clips, media::play, wait::holds, wait_until},
};

const SENDERS: usize = 4;

type Event = (String, u32);

#[derive(Default)]
struct Ledger {
    acknowledged: BTreeSet<Event>,
    resent: usize,
}

#[tokio::test]
async fn six_processes_do_what_one_does_whichever_is_killed() {
    let Some(mut fleet) = Fleet::start().await else { return };
    let (clip, watched) = (clips::wide(8).await, clips::tiny(20).await);
    let ada = Creator::sign_up(&fleet.edge, "ada").await;

    // Both walkthroughs, by way of the edge.
    let video = ada.publish(&watched, "Watched by many").await;
    let shown = fleet.edge.stranger().video(&video).await;
    let played = play(&format!("{}{}", fleet.edge.url, shown["hls_url"].as_str().unwrap())).await;
    assert!((played - watched.duration_ms).abs() < 300, "{played} ms");
    wait_until("the video is found", LONG, async || {
        let found = fleet.edge.stranger().ids("/api/v1/search?q=watched").await;
        holds(found == [video.as_str()], || format!("{found:?}"))
    })
    .await;
    let mut viewer = Viewer::new(&fleet.edge);
    let mut playback = viewer.open(&video, 1).await;
    let ledger = RefCell::new(Ledger::default());
    let events = playback.watch_to(20_000);
    deliver(&playback, events, &ledger).await;
    counted(&fleet, &video).await;

    // Each process is killed while uploads and telemetry go on.
    println!("process    kills  events acknowledged  resent  lost  twice  uploads ready");
    for role in ROLES {
        let before = ledger.borrow().resent;
        let stop = Cell::new(false);
        let mut viewers: Vec<Viewer> = (0..SENDERS).map(|_| Viewer::new(&fleet.edge)).collect();
        let process = fleet.processes.get_mut(role).unwrap();
        let flood = join_all(viewers.iter_mut().map(|viewer| send(viewer, &video, &ledger, &stop)));
        let upload = upload_through(&ada, &clip);
        let kill = async {
            let target = ledger.borrow().acknowledged.len() + 60;
            wait_until("telemetry flows", LONG, async || {
                let count = ledger.borrow().acknowledged.len();
                holds(count >= target, || format!("{count} of {target}"))
            })
            .await;
            process.kill();
            process.restart().await;
            let target = ledger.borrow().acknowledged.len() + 60;
            wait_until("telemetry flows again", LONG, async || {
                let count = ledger.borrow().acknowledged.len();
                holds(count >= target, || format!("{count} of {target}"))
            })
            .await;
            stop.set(true);
        };
        let (_, uploaded, ()) = tokio::join!(flood, upload, kill);
        let ready = ada.ready(&uploaded).await;
        let played = play(&format!("{}{}", fleet.edge.url, ready["hls_url"].as_str().unwrap())).await;
        assert!((played - clip.duration_ms).abs() < 300, "{role}: {played} ms");
        let (lost, twice) = compare(&fleet, &ledger).await;
        let (count, resent) = (ledger.borrow().acknowledged.len(), ledger.borrow().resent - before);
        println!("{role:<10} {:>5} {count:>20} {resent:>7} {lost:>5} {twice:>6} {:>14}", 1, "1 of 1");
        assert_eq!((lost, twice), (0, 0), "{role}");
        counted(&fleet, &video).await;
    }
    // One video more for each process killed. A creation whose answer was lost is an upload that
    // nobody goes on with; it is collected when it expires.
    let (all, unfinished) = (ada.own_videos().await.len(), ada.unfinished().await.len());
    assert_eq!(all - unfinished, ROLES.len() + 1, "{all} videos, {unfinished} uploads unfinished");
}

/// The API's counters are those that the lake gives, recounted.
async fn counted(fleet: &Fleet, video: &str) {
    let query = format!("select starts, views, engaged_views, watch_ms from video_stats where video_id = '{video}'");
    let rows = fleet.ask(&query).await;
    let [recounted] = rows.as_slice() else { panic!("{rows:?}") };
    wait_until("the API's counters are those of the lake", LONG, async || {
        let counters = fleet.edge.stranger().video(video).await["counters"].clone();
        holds(counters == *recounted, || format!("API {counters}, lake {recounted}"))
    })
    .await;
}

/// How many acknowledged events the lake lacks, and how many it has more than once.
async fn compare(fleet: &Fleet, ledger: &RefCell<Ledger>) -> (usize, usize) {
    let mut stored: BTreeMap<Event, usize> = BTreeMap::new();
    for row in fleet.ask("select session_id, seq from playback_events").await {
        let event = (row["session_id"].as_str().unwrap().to_owned(), row["seq"].as_u64().unwrap() as u32);
        *stored.entry(event).or_default() += 1;
    }
    let ledger = ledger.borrow();
    let lost = ledger.acknowledged.iter().filter(|event| !stored.contains_key(event)).count();
    (lost, stored.values().filter(|count| **count > 1).count())
}

/// Uploads a clip in pieces, going on after whatever breaks.
async fn upload_through(ada: &Creator, clip: &clips::Clip) -> String {
    let about = [("title", "Through a kill"), ("visibility", "public")];
    let length = clip.bytes.len() as u64;
    let upload = loop {
        let request = ada.creation(&length.to_string(), &about);
        match ada.api.try_send(request).await {
            Ok(reply) if reply.status == 201 => break Upload::created(&ada.api, &reply),
            Ok(reply) => assert!(matches!(reply.status, 502..=504), "{}", reply.text()),
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    loop {
        let upload = upload.reconnected();
        let head = upload.api.try_send(upload.request(Method::HEAD)).await;
        if let Ok(head) = head
            && head.status == 200
        {
            let at = crate::support::tus::offset(&head) as usize;
            if at == clip.bytes.len() {
                return upload.video_id;
            }
            let piece = clip.bytes.slice(at..clip.bytes.len().min(at + (256 << 10)));
            // Whatever became of it, the next HEAD tells.
            let _ = upload.api.try_send(upload.patching(at as u64, piece)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Plays the video again and again, as one viewer, until told to stop.
async fn send(viewer: &mut Viewer, video: &str, ledger: &RefCell<Ledger>, stop: &Cell<bool>) {
    while !stop.get() {
        let Some(mut playback) = viewer.try_open(video, 2).await else {
            tokio::time::sleep(Duration::from_millis(25)).await;
            continue;
        };
        let mut batch = vec![playback.event("attempt"), playback.event("start")];
        for at in (0..20_000).step_by(2_000) {
            batch.push(playback.watched("heartbeat", at, at + 2_000));
            if batch.len() >= 4 {
                deliver(&playback, std::mem::take(&mut batch), ledger).await;
            }
        }
    }
}

/// Sends a batch until it is acknowledged, unchanged.
async fn deliver(playback: &Playback, events: Vec<Value>, ledger: &RefCell<Ledger>) {
    let numbers: Vec<Event> =
        events.iter().map(|event| (playback.session.clone(), event["seq"].as_u64().unwrap() as u32)).collect();
    let batch = playback.batch(events);
    loop {
        let request = playback.api.request(Method::POST, "/api/v1/telemetry").json(&batch);
        match playback.api.try_send(request).await {
            Ok(reply) if reply.status == 202 => {
                ledger.borrow_mut().acknowledged.extend(numbers);
                return;
            }
            Ok(reply) => assert!(matches!(reply.status, 429 | 502..=504), "{}", reply.text()),
            Err(_) => {}
        }
        ledger.borrow_mut().resent += 1;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
