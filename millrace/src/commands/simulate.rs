//! `millrace simulate`: synthetic viewers over HTTP, by a seed.
//!
//! Each viewer has its own first-party id, begins playbacks as a browser does and reports them
//! as a player does. Sessions lie in a span of the past and are sent at once, as an offline
//! player's would be, or take place now, second by second.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use event_schemas::{Clock, Millis, SystemClock};
use futures::{StreamExt as _, stream};
use ingest_api::telemetry::contract::{Accepted, TelemetryBatch, TelemetryEvent};
use rand::{RngExt as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use reqwest::{
    Method,
    header::{COOKIE, SET_COOKIE},
};
use serde::{Deserialize, Serialize};

use crate::{
    client::{Client, ClientError},
    sim::script,
};

/// What to simulate.
#[derive(Debug, Clone)]
pub struct Plan {
    /// People.
    pub viewers: u32,
    /// Playbacks of each, on average.
    pub sessions_per_viewer: f64,
    /// Everything is decided by it, but for ids that the server makes.
    pub seed: u64,
    /// Sessions begin within this much before now.
    pub span: Millis,
    /// Play in real time instead: sessions begin now and take as long as they last.
    pub real_time: bool,
    /// Requests under way at once.
    pub at_once: usize,
    /// Only these videos; every listed one if empty.
    pub videos: Vec<String>,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Playbacks begun.
    pub sessions: u64,
    /// Events acknowledged.
    pub events: u64,
    /// Milliseconds of media reported as rendered.
    pub watched_ms: u64,
    /// Batches sent again after a refusal or a broken connection.
    pub resent: u64,
}

#[derive(Deserialize)]
struct Card {
    id: String,
    duration_ms: Option<u32>,
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Cards {
    items: Vec<Card>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Start {
    session_id: event_schemas::SessionId,
    grant: String,
}

#[derive(Default)]
struct Totals {
    sessions: AtomicU64,
    events: AtomicU64,
    watched_ms: AtomicU64,
    resent: AtomicU64,
}

async fn videos(client: &Client, plan: &Plan) -> Result<Vec<Card>, ClientError> {
    let mut found = Vec::new();
    if plan.videos.is_empty() {
        let mut cursor = String::new();
        loop {
            let page: Cards = client.get(&format!("/api/v1/videos?limit=100{cursor}")).await?;
            found.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
    } else {
        for id in &plan.videos {
            found.push(client.get(&format!("/api/v1/videos/{id}")).await?);
        }
    }
    found.retain(|card| card.duration_ms.is_some());
    Ok(found)
}

/// Sends a batch until it is acknowledged, unchanged, as the contract asks.
async fn send(
    client: &Client,
    batch: &TelemetryBatch,
    cookie: Option<&str>,
    totals: &Totals,
) -> Result<(), ClientError> {
    let mut wait = Duration::from_millis(100);
    for attempt in 0.. {
        let mut request = client.request(Method::POST, "/api/v1/telemetry").json(batch);
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, cookie);
        }
        match client.json::<Accepted>(request).await {
            Ok(accepted) => {
                totals.events.fetch_add(accepted.accepted as u64, Ordering::Relaxed);
                return Ok(());
            }
            Err(error) if error.is_passing() && attempt < 12 => {
                totals.resent.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(5));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

struct Viewer {
    rng: ChaCha8Rng,
    cookie: Option<String>,
}

impl Viewer {
    async fn watch(&mut self, client: &Client, plan: &Plan, card: &Card, totals: &Totals) -> Result<(), ClientError> {
        let path = format!("/api/v1/videos/{}/playback", card.id);
        let mut request = client.request(Method::POST, &path);
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        let response = client.send(request).await?;
        if let Some(set) = response.headers().get(SET_COOKIE).and_then(|value| value.to_str().ok()) {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        let start: Start = response.json().await?;
        let script = script::session(&mut self.rng, card.duration_ms.unwrap_or(1));
        totals.sessions.fetch_add(1, Ordering::Relaxed);
        totals.watched_ms.fetch_add(script.watched_ms, Ordering::Relaxed);

        let now = SystemClock.now().as_micros();
        let length = script.events.last().map_or(0, |event| event.client_ts);
        let back = if plan.real_time { 0 } else { self.rng.random_range(0..=plan.span.0.max(1)) * 1000 };
        let began = now - back.max(if plan.real_time { 0 } else { length });
        let Ok(video_id) = card.id.parse() else { return Ok(()) };
        let batch = |events: Vec<TelemetryEvent>, sent_ts| TelemetryBatch {
            session_id: start.session_id,
            video_id,
            grant: Some(start.grant.clone()),
            sent_ts,
            source: Some(script.source.to_owned()),
            referrer_host: None,
            experiment: None,
            player: Some("millrace-simulate/1".to_owned()),
            events,
        };
        let at = |mut event: TelemetryEvent| {
            event.client_ts += began;
            event
        };
        if plan.real_time {
            for event in script.events.iter().cloned().map(at) {
                let due = event.client_ts - SystemClock.now().as_micros();
                tokio::time::sleep(Duration::from_micros(u64::try_from(due).unwrap_or(0))).await;
                let sent_ts = SystemClock.now().as_micros();
                send(client, &batch(vec![event], sent_ts), self.cookie.as_deref(), totals).await?;
            }
        } else {
            let events = script.events.into_iter().map(at).collect();
            send(client, &batch(events, now), self.cookie.as_deref(), totals).await?;
        }
        Ok(())
    }
}

/// Each video's share of the watching: some are far more popular than others (Zipf), and each
/// viewer has a taste for some tags.
fn choose<'a>(rng: &mut ChaCha8Rng, cards: &'a [Card], taste: &str) -> Option<&'a Card> {
    let weights: Vec<(usize, f64)> = cards
        .iter()
        .enumerate()
        .map(|(rank, card)| {
            let liked = card.tags.as_ref().is_some_and(|tags| tags.iter().any(|tag| tag == taste));
            (rank, (if liked { 4.0 } else { 1.0 }) / (rank as f64 + 1.5))
        })
        .collect();
    let (rank, _) = weights.choose_weighted(rng, |(_, weight)| *weight).ok()?;
    cards.get(*rank)
}

/// Carries out a plan.
///
/// # Errors
/// See [`ClientError`]; what was acknowledged before stays.
pub async fn simulate(
    client: &Client,
    plan: &Plan,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<Outcome, ClientError> {
    let mut cards = videos(client, plan).await?;
    // The server lists by age; the seed decides what is popular.
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    cards.sort_by(|a, b| a.id.cmp(&b.id));
    rand::seq::SliceRandom::shuffle(cards.as_mut_slice(), &mut rng);
    if cards.is_empty() {
        return Err(ClientError::NoToken("there is no video to watch: upload one and publish it first".to_owned()));
    }
    let tags: Vec<String> = cards
        .iter()
        .flat_map(|card| card.tags.iter().flatten().cloned())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let totals = Arc::new(Totals::default());
    let watched_by_viewer: BTreeMap<u32, u64> =
        (0..plan.viewers).map(|n| (n, plan.seed ^ (u64::from(n) << 20))).collect();
    let mut running = stream::iter(watched_by_viewer)
        .map(|(n, seed)| {
            let totals = Arc::clone(&totals);
            let cards = &cards;
            let tags = &tags;
            async move {
                let mut viewer = Viewer { rng: ChaCha8Rng::seed_from_u64(seed), cookie: None };
                let taste = tags.choose(&mut viewer.rng).map_or("", String::as_str);
                let most = (plan.sessions_per_viewer * 2.0).max(1.0) as u32;
                for _ in 0..viewer.rng.random_range(1..=most) {
                    if let Some(card) = choose(&mut viewer.rng, cards, taste) {
                        viewer.watch(client, plan, card, &totals).await?;
                    }
                }
                Ok::<u32, ClientError>(n)
            }
        })
        .buffer_unordered(plan.at_once.max(1));
    while let Some(done) = running.next().await {
        done?;
        progress(1);
    }
    drop(running);
    Ok(Outcome {
        sessions: totals.sessions.load(Ordering::Relaxed),
        events: totals.events.load(Ordering::Relaxed),
        watched_ms: totals.watched_ms.load(Ordering::Relaxed),
        resent: totals.resent.load(Ordering::Relaxed),
    })
}
