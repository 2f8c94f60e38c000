//! What is appended: records as the edge makes them, an Arrow batch of playback events each.

use bytes::Bytes;
use event_schemas::{
    SessionId, Timestamp, VideoId, ViewerId,
    playback::{self, EventKind, PlaybackEvent},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

/// Events in a record.
pub const EVENTS: u64 = 50;
/// Sessions whose events share a record.
const SESSIONS: usize = 20;
/// So many records are made; appends take them in turn. Enough that what compresses does so within
/// a record and not because the same one lies beside it.
const RECORDS: usize = 256;
/// Any instant will do, the same in every run.
const BEGIN_MILLIS: i64 = 1_750_000_000_000;

/// The records, the same in every run.
pub struct Payloads(Vec<Bytes>);

impl Payloads {
    /// Makes them.
    ///
    /// # Errors
    /// Arrow can't encode them, which it can.
    pub fn new() -> anyhow::Result<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let records = (0..RECORDS).map(|_| {
            let sessions: Vec<Session> = (0..SESSIONS).map(|_| Session::new(&mut random)).collect();
            let events: Vec<PlaybackEvent> =
                (0..EVENTS as usize).map(|n| sessions[n % SESSIONS].event(n / SESSIONS, &mut random)).collect();
            Ok(playback::encode(&playback::to_batch(&events)?)?)
        });
        records.collect::<anyhow::Result<_>>().map(Self)
    }

    /// The record of the append with this number.
    pub fn get(&self, n: u64) -> Bytes {
        self.0[usize::try_from(n).unwrap_or_default() % self.0.len()].clone()
    }

    /// The mean size of a record, bytes.
    pub fn mean_bytes(&self) -> f64 {
        self.0.iter().map(Bytes::len).sum::<usize>() as f64 / self.0.len() as f64
    }
}

/// One playback that is under way.
struct Session {
    id: SessionId,
    viewer: ViewerId,
    video: VideoId,
    seq: u32,
    duration_ms: u32,
    began: i64,
    device: (&'static str, &'static str, &'static str),
}

impl Session {
    fn new(random: &mut ChaCha8Rng) -> Self {
        const DEVICES: [(&str, &str, &str); 3] =
            [("desktop", "Windows", "Chrome"), ("mobile", "Android", "Firefox"), ("tv", "Linux", "Chrome")];
        Self {
            id: SessionId::from_uuid(Uuid::from_u128(random.random())),
            viewer: ViewerId::from_bytes(random.random()),
            video: VideoId::from_uuid(Uuid::from_u128(random.random())),
            seq: random.random_range(0..60),
            duration_ms: random.random_range(30_000..3_600_000),
            began: BEGIN_MILLIS + random.random_range(0..60_000),
            device: DEVICES[random.random_range(0..DEVICES.len())],
        }
    }

    /// The event after `n` others: a heartbeat, as nearly all are, or a stall's end.
    fn event(&self, n: usize, random: &mut ChaCha8Rng) -> PlaybackEvent {
        let seq = self.seq + u32::try_from(n).unwrap_or_default();
        let kind = if random.random_bool(0.04) { EventKind::StallEnd } else { EventKind::Heartbeat };
        let interval = kind.has_interval();
        let at = self.began + i64::from(seq) * 10_000 + random.random_range(0..50);
        let (device, os, browser) = self.device;
        PlaybackEvent {
            session_id: self.id,
            seq,
            viewer_id: self.viewer,
            video_id: self.video,
            rendition: Some("720p".to_owned()),
            kind,
            media_from_ms: interval.then_some(seq * 10_000),
            media_to_ms: interval.then_some(seq * 10_000 + 10_000),
            speed: Some(1.0),
            client_ts: Timestamp::from_millis(at),
            server_ts: Timestamp::from_micros(at * 1000 + random.random_range(20_000..90_000)),
            event_ts: Timestamp::from_millis(at),
            startup_ms: None,
            stall_ms: (!interval).then(|| random.random_range(50..4_000)),
            dropped_frames: Some(random.random_range(0..3)),
            bitrate_kbps: Some(2_800),
            error_code: None,
            source: Some("home".to_owned()),
            referrer_host: None,
            experiment: None,
            country: None,
            device: Some(device.to_owned()),
            os: Some(os.to_owned()),
            browser: Some(browser.to_owned()),
            player: Some("millrace-web/1".to_owned()),
            granted: true,
            video_duration_ms: Some(self.duration_ms),
            cmcd: None,
            dropped_by: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_batch_of_fifty_events_that_reads_back() {
        let payloads = Payloads::new().unwrap();
        let batch = playback::decode(&payloads.get(3)).unwrap();
        assert_eq!(batch.num_rows() as u64, EVENTS);
        assert_eq!(payloads.get(3), payloads.get(3 + RECORDS as u64));
        assert_ne!(payloads.get(3), payloads.get(4));
        assert_eq!(Payloads::new().unwrap().get(5), payloads.get(5));
    }
}
