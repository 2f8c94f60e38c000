//! The body of `POST /api/v1/telemetry`.

use event_schemas::{SessionId, VideoId, playback::EventKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most events in one batch.
pub const MAX_EVENTS: usize = 500;
/// The largest body, in bytes.
pub const MAX_BODY: usize = 256 << 10;

/// What a player reports of one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TelemetryBatch {
    /// One playback of one video in one player.
    pub session_id: SessionId,
    /// The video.
    pub video_id: VideoId,
    /// The grant given with the watch page; without one the events are stored, never counted.
    #[serde(default)]
    pub grant: Option<String>,
    /// The client's clock when it sent this: microseconds since the Unix epoch.
    pub sent_ts: i64,
    /// Where the watch came from: search, related, home, channel, external, embed or preview.
    #[serde(default)]
    pub source: Option<String>,
    /// The host of the page that linked here.
    #[serde(default)]
    pub referrer_host: Option<String>,
    /// The bucket of the experiment that the session is in.
    #[serde(default)]
    pub experiment: Option<String>,
    /// Player and version.
    #[serde(default)]
    pub player: Option<String>,
    /// 1 to 500 events.
    pub events: Vec<TelemetryEvent>,
}

/// One event of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TelemetryEvent {
    /// Its number in the session, from 0; a resent event keeps its number.
    pub seq: u32,
    /// What happened.
    pub kind: EventKind,
    /// When, by the client's clock: microseconds since the Unix epoch.
    pub client_ts: i64,
    /// Milliseconds of media: start of the interval rendered since the last such event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_from_ms: Option<u32>,
    /// Milliseconds of media: its end, at most 10 s later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_to_ms: Option<u32>,
    /// Playback rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<f32>,
    /// The rendition shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendition: Option<String>,
    /// Milliseconds from the request for playback to the first frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_ms: Option<u32>,
    /// Milliseconds that playback stood still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_ms: Option<u32>,
    /// Frames decoded but not shown since the last event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_frames: Option<u32>,
    /// The rendition's bitrate, 1000 bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate_kbps: Option<u32>,
    /// The player's error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
}

/// The answer once the events are durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// Events taken.
    pub accepted: usize,
    /// Events refused because they are older than seven days; do not send them again.
    pub refused_as_too_old: usize,
}
