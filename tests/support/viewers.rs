//! Viewers: they begin playbacks as a browser does and report them as a player does.

use event_schemas::{Clock as _, SystemClock};
use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, Credentials, Reply, Site};

/// Microseconds since the epoch, now.
pub fn now_us() -> i64 {
    SystemClock.now().as_micros()
}

/// Somebody without an account, known by the first-party cookie.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// The browser.
    pub api: Api,
}

impl Viewer {
    /// A viewer whom the server has never met.
    pub fn new(site: &impl Site) -> Self {
        Self { api: Api::new(site.address(), Credentials::None) }
    }

    /// Opens a video's watch page. The playback begins `minutes_ago`, as that of a player that
    /// was offline; at least a minute, so that what is watched lies in the past.
    pub async fn open(&mut self, video: &str, minutes_ago: i64) -> Playback {
        let request = self.api.request(Method::POST, &format!("/api/v1/videos/{video}/playback"));
        let reply = self.api.send(request).await;
        self.begin(video, minutes_ago, &reply.expect(200))
    }

    /// As [`Self::open`], while the server may be away.
    pub async fn try_open(&mut self, video: &str, minutes_ago: i64) -> Option<Playback> {
        let request = self.api.request(Method::POST, &format!("/api/v1/videos/{video}/playback"));
        let reply = self.api.try_send(request).await.ok().filter(|reply| reply.status == 200)?;
        Some(self.begin(video, minutes_ago, &reply))
    }

    fn begin(&mut self, video: &str, minutes_ago: i64, reply: &Reply) -> Playback {
        if let Some(cookie) = reply.cookie("millrace_viewer") {
            self.api.credentials = Credentials::Cookies(cookie);
        }
        let began = reply.json();
        assert_eq!(began["heartbeat_ms"], 10_000, "{began}");
        assert_eq!(began["telemetry_url"], "/api/v1/telemetry", "{began}");
        assert_eq!(began["hls_url"], format!("/media/{video}/master.m3u8"), "{began}");
        Playback {
            api: self.api.clone(),
            video: video.to_owned(),
            session: began["session_id"].as_str().expect("a session").to_owned(),
            grant: began["grant"].as_str().map(str::to_owned),
            source: "home",
            seq: 0,
            clock_us: now_us() - minutes_ago.max(1) * 60_000_000,
        }
    }
}

/// One playback as its player sees it.
#[derive(Debug, Clone)]
pub struct Playback {
    /// The browser.
    pub api: Api,
    /// The video.
    pub video: String,
    /// The session.
    pub session: String,
    /// The grant.
    pub grant: Option<String>,
    /// Where the watch came from.
    pub source: &'static str,
    /// The next event's number.
    pub seq: u32,
    /// The player's clock.
    pub clock_us: i64,
}

impl Playback {
    /// An event that reports no interval.
    pub fn event(&mut self, kind: &str) -> Value {
        let event = json!({"seq": self.seq, "kind": kind, "client_ts": self.clock_us, "rendition": "360p"});
        self.seq += 1;
        event
    }

    /// An event that reports an interval of the playhead, watched at normal speed.
    pub fn watched(&mut self, kind: &str, from_ms: u32, to_ms: u32) -> Value {
        self.clock_us += i64::from(to_ms - from_ms) * 1000;
        let mut event = self.event(kind);
        event["media_from_ms"] = from_ms.into();
        event["media_to_ms"] = to_ms.into();
        event["speed"] = 1.0.into();
        event
    }

    /// What a player says of `[0, to_ms]` watched from its first frame, in heartbeats.
    pub fn watch_to(&mut self, to_ms: u32) -> Vec<Value> {
        let mut events = vec![self.event("attempt"), self.event("start")];
        let mut at = 0;
        while at < to_ms {
            let next = to_ms.min(at + 10_000);
            events.push(self.watched("heartbeat", at, next));
            at = next;
        }
        events
    }

    /// The batch that carries these events.
    pub fn batch(&self, events: Vec<Value>) -> Value {
        json!({
            "session_id": self.session, "video_id": self.video, "grant": self.grant, "sent_ts": now_us(),
            "source": self.source, "player": "tests/1", "events": events,
        })
    }

    /// Sends a batch.
    pub async fn send(&self, batch: &Value) -> Reply {
        self.api.post("/api/v1/telemetry", batch).await
    }

    /// Sends events that must be acknowledged; returns how many were accepted.
    pub async fn report(&self, events: Vec<Value>) -> u64 {
        let acknowledged = self.send(&self.batch(events)).await.expect(202).json();
        acknowledged["accepted"].as_u64().expect("a number")
    }
}
