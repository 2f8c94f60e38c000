//! The server is killed three times while players flood it with telemetry.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use reqwest::Method;
use serde_json::Value;

use crate::support::{Creator, LONG, Playback, SHORT, Server, Viewer, clips, wait::holds, wait_until};

const SENDERS: usize = 8;
/// The server is killed when so many events are acknowledged.
const KILL_AT: [usize; 3] = [200, 1000, 2000];
/// The senders stop after so many.
const ENOUGH: usize = 3000;

type Event = (String, u32);

/// What the senders know.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeSet<Event>,
    /// Sent, and given up without an answer, as by a page that is closed.
    in_doubt: BTreeSet<Event>,
    resent: usize,
}

#[tokio::test]
async fn a_telemetry_flood_survives_kills() {
    let clip = clips::tiny(20).await;
    let mut server = Server::start(&["lake.commit_ms=100", "transcode.lease_ms=2000"]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.publish(&clip, "Flooded").await;

    let ledger = RefCell::new(Ledger::default());
    let mut viewers: Vec<Viewer> = (0..SENDERS).map(|_| Viewer::new(&server)).collect();
    let flood = join_all(viewers.iter_mut().enumerate().map(|(n, viewer)| send(n, viewer, &video, &ledger)));
    let kills = async {
        for kill_at in KILL_AT {
            wait_until("so many events are acknowledged", LONG, async || {
                let count = ledger.borrow().acknowledged.len();
                holds(count >= kill_at, || format!("{count} of {kill_at}"))
            })
            .await;
            server.kill();
            server.restart().await;
        }
    };
    tokio::join!(flood, kills);

    server.flush().await;
    let ledger = ledger.into_inner();
    let mut stored: BTreeMap<Event, usize> = BTreeMap::new();
    for row in server.sql("select event_id, session_id, seq from playback_events").await {
        let event = (row["session_id"].as_str().unwrap().to_owned(), row["seq"].as_u64().unwrap() as u32);
        *stored.entry(event).or_default() += 1;
    }
    println!(
        "{} events acknowledged, {} batches resent, {} events in doubt, {} stored",
        ledger.acknowledged.len(),
        ledger.resent,
        ledger.in_doubt.len(),
        stored.len()
    );
    assert!(ledger.resent > 0, "the kills met no request");
    let twice: Vec<_> = stored.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "stored more than once: {twice:?}");
    let lost: Vec<_> = ledger.acknowledged.iter().filter(|event| !stored.contains_key(event)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let unknown: Vec<_> = stored
        .keys()
        .filter(|event| !ledger.acknowledged.contains(event) && !ledger.in_doubt.contains(event))
        .collect();
    assert!(unknown.is_empty(), "stored and never sent: {unknown:?}");
    let distinct = server.sql_number("select count(distinct event_id) from playback_events").await;
    assert_eq!(distinct, stored.len() as i64);

    // The counters agree with the lake: nothing was counted twice or forgotten.
    let rows = server.sql("select starts, views, engaged_views, watch_ms from video_stats").await;
    let [recounted] = rows.as_slice() else { panic!("{rows:?}") };
    assert!(recounted["views"].as_i64().unwrap() >= SENDERS as i64, "{recounted}");
    wait_until("the API's counters are those of the lake", SHORT, async || {
        let counters = server.stranger().video(&video).await["counters"].clone();
        holds(counters == *recounted, || format!("API {counters}, lake {recounted}"))
    })
    .await;
    assert_eq!(server.sql_number("select count(*) from views").await, recounted["views"].as_i64().unwrap());
}

/// One viewer after another on the same device plays the video, until enough is acknowledged.
async fn send(sender: usize, viewer: &mut Viewer, video: &str, ledger: &RefCell<Ledger>) {
    while ledger.borrow().acknowledged.len() < ENOUGH {
        let Some(mut playback) = open(viewer, video).await else { continue };
        let mut batch = vec![playback.event("attempt"), playback.event("start")];
        for at in (0..20_000).step_by(1_000) {
            batch.push(playback.watched("heartbeat", at, at + 1_000));
            if batch.len() < 5 {
                continue;
            }
            // The last of four senders closes the page when an answer fails to come.
            let is_patient = sender % 4 != 3;
            if !deliver(&playback, std::mem::take(&mut batch), is_patient, ledger).await {
                break;
            }
        }
    }
}

async fn open(viewer: &mut Viewer, video: &str) -> Option<Playback> {
    let ready = viewer.api.request(Method::GET, "/healthz").timeout(Duration::from_secs(5));
    match viewer.api.try_send(ready).await {
        Ok(reply) if reply.status == 200 => viewer.try_open(video, 2).await,
        _ => {
            tokio::time::sleep(Duration::from_millis(20)).await;
            None
        }
    }
}

/// Sends a batch until it is acknowledged, unchanged; false if it was given up.
async fn deliver(playback: &Playback, events: Vec<Value>, is_patient: bool, ledger: &RefCell<Ledger>) -> bool {
    let numbers: Vec<Event> =
        events.iter().map(|event| (playback.session.clone(), event["seq"].as_u64().unwrap() as u32)).collect();
    let batch = playback.batch(events);
    loop {
        let request = playback.api.request(Method::POST, "/api/v1/telemetry").json(&batch);
        match playback.api.try_send(request).await {
            Ok(reply) if reply.status == 202 => {
                assert_eq!(reply.json()["accepted"], numbers.len(), "{}", reply.text());
                ledger.borrow_mut().acknowledged.extend(numbers);
                return true;
            }
            Ok(reply) => assert!(matches!(reply.status, 429 | 503), "{}", reply.text()),
            Err(_) if !is_patient => {
                ledger.borrow_mut().in_doubt.extend(numbers);
                return false;
            }
            Err(_) => {}
        }
        ledger.borrow_mut().resent += 1;
        // The pause that a player makes before it tries again.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
