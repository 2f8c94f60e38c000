//! Playback events: the row, its Arrow schema, and the form in which a batch of them travels in
//! one log record.
//!
//! The edge turns events into Arrow once. A record's payload is
//! `message length u32 LE`, the Arrow IPC `RecordBatch` message (flatbuffer), then its body,
//! LZ4-framed per buffer. The schema itself is not repeated: the envelope's schema id names it.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Float32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
    },
    buffer::Buffer,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    ipc::{
        CompressionType,
        reader::read_record_batch,
        root_as_message,
        writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions},
    },
};
use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    ids::{SessionId, VideoId, ViewerId, event_id},
    records::{RecordError, text_enum},
    units::Timestamp,
};

text_enum! {
    /// What happened in the player.
    EventKind {
        /// The viewer asked for playback.
        Attempt = "attempt",
        /// The first frame was shown.
        Start = "start",
        /// Playback goes on; sent at least every 10 s of playing.
        Heartbeat = "heartbeat",
        /// Playback was paused.
        Pause = "pause",
        /// The playhead was moved.
        Seek = "seek",
        /// The player ran out of media.
        StallBegin = "stall_begin",
        /// Playback resumed after a stall.
        StallEnd = "stall_end",
        /// Another rendition is shown.
        RenditionChange = "rendition_change",
        /// Playback failed.
        Error = "error",
        /// The end was reached.
        End = "end",
        /// The page was hidden or closed.
        Hidden = "hidden",
    }
}

impl EventKind {
    /// True for the kinds that report an interval of the playhead.
    #[must_use]
    pub const fn has_interval(self) -> bool {
        matches!(self, Self::Heartbeat | Self::Pause | Self::Seek | Self::End | Self::Hidden)
    }
}

/// One playback event, validated and stamped by the edge. See `docs/design/08-messaging.md`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each field is described in the column table below")]
pub struct PlaybackEvent {
    pub session_id: SessionId,
    pub seq: u32,
    pub viewer_id: ViewerId,
    pub video_id: VideoId,
    pub rendition: Option<String>,
    pub kind: EventKind,
    pub media_from_ms: Option<u32>,
    pub media_to_ms: Option<u32>,
    pub speed: Option<f32>,
    pub client_ts: Timestamp,
    pub server_ts: Timestamp,
    pub event_ts: Timestamp,
    pub startup_ms: Option<u32>,
    pub stall_ms: Option<u32>,
    pub dropped_frames: Option<u32>,
    pub bitrate_kbps: Option<u32>,
    pub error_code: Option<String>,
    pub source: Option<String>,
    pub referrer_host: Option<String>,
    pub experiment: Option<String>,
    pub country: Option<String>,
    pub device: Option<String>,
    pub os: Option<String>,
    pub browser: Option<String>,
    pub player: Option<String>,
    pub granted: bool,
    pub video_duration_ms: Option<u32>,
    pub cmcd: Option<String>,
    pub dropped_by: Option<String>,
}

/// A column: its name, Arrow type, nullability and meaning.
pub type Column = (&'static str, DataType, bool, &'static str);

/// The Arrow type of every instant: microseconds, UTC.
#[must_use]
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The columns of a playback event, in order.
#[must_use]
pub fn columns() -> Vec<Column> {
    use DataType::{Boolean, Float32, Int64, Utf8};
    vec![
        ("event_id", Utf8, false, "32 hexadecimal digits: hash of session_id and seq; the identity for deduplication"),
        ("session_id", Utf8, false, "UUID: one playback of one video in one player"),
        ("seq", Int64, false, "number of the event in its session, from 0, by the client"),
        ("viewer_id", Utf8, false, "32 hexadecimal digits: who watched, derived at the edge; never an address"),
        ("video_id", Utf8, false, "UUID of the video"),
        ("rendition", Utf8, true, "rendition as shown, such as 720p; null before the first frame"),
        (
            "kind",
            Utf8,
            false,
            "attempt, start, heartbeat, pause, seek, stall_begin, stall_end, rendition_change, error, end or hidden",
        ),
        (
            "media_from_ms",
            Int64,
            true,
            "ms of media: start of the interval rendered since the last event with an interval",
        ),
        ("media_to_ms", Int64, true, "ms of media: end of that interval, at most 10 s after its start"),
        ("speed", Float32, true, "playback rate, 1 is normal"),
        ("client_ts", timestamp_type(), false, "when it happened, by the client's clock"),
        ("server_ts", timestamp_type(), false, "when the edge received it"),
        (
            "event_ts",
            timestamp_type(),
            false,
            "client_ts corrected by the clock skew, clamped to [server_ts - 7 days, server_ts]",
        ),
        ("startup_ms", Int64, true, "ms from the request for playback to the first frame; on start"),
        ("stall_ms", Int64, true, "ms that playback stood still; on stall_end"),
        ("dropped_frames", Int64, true, "frames decoded but not shown since the last event"),
        ("bitrate_kbps", Int64, true, "declared bitrate of the rendition, 1000 bits a second"),
        ("error_code", Utf8, true, "the player's code; on error"),
        ("source", Utf8, true, "where the watch came from: search, related, home, channel, external, embed, preview"),
        ("referrer_host", Utf8, true, "host of the page that linked here"),
        ("experiment", Utf8, true, "bucket of the experiment that the session was in"),
        ("country", Utf8, true, "ISO 3166-1 alpha-2 code"),
        ("device", Utf8, true, "desktop, mobile, tablet, tv, bot or unknown"),
        ("os", Utf8, true, "operating system"),
        ("browser", Utf8, true, "browser"),
        ("player", Utf8, true, "player and version, by the client"),
        ("granted", Boolean, false, "true if a valid playback grant for this session, video and viewer came with it"),
        ("video_duration_ms", Int64, true, "ms: length of the video as signed in the grant; null without one"),
        ("cmcd", Utf8, true, "raw CMCD keys, when the event came that way"),
        ("dropped_by", Utf8, true, "name of the rule that excludes the event from counting; null if none does"),
    ]
}

/// The schema of a playback batch, version 1 ([`crate::records::SchemaId::PlaybackBatch`]).
#[must_use]
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(
            columns()
                .into_iter()
                .map(|(name, data_type, nullable, _)| Field::new(name, data_type, nullable))
                .collect::<Vec<_>>(),
        ))
    });
    Arc::clone(&SCHEMA)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The events as one Arrow batch of [`schema`], a row an event, in the order given.
///
/// # Errors
/// Never for events that fit in memory; Arrow's own checks are passed on.
pub fn to_batch(events: &[PlaybackEvent]) -> Result<RecordBatch, RecordError> {
    fn text(events: &[PlaybackEvent], get: impl Fn(&PlaybackEvent) -> Option<&str>) -> ArrayRef {
        let mut builder = StringBuilder::with_capacity(events.len(), events.len() * 16);
        events.iter().for_each(|event| builder.append_option(get(event)));
        Arc::new(builder.finish())
    }
    fn owned(events: &[PlaybackEvent], get: impl Fn(&PlaybackEvent) -> String) -> ArrayRef {
        let mut builder = StringBuilder::with_capacity(events.len(), events.len() * 36);
        events.iter().for_each(|event| builder.append_value(get(event)));
        Arc::new(builder.finish())
    }
    fn number(events: &[PlaybackEvent], get: impl Fn(&PlaybackEvent) -> Option<u32>) -> ArrayRef {
        let mut builder = Int64Builder::with_capacity(events.len());
        events.iter().for_each(|event| builder.append_option(get(event).map(i64::from)));
        Arc::new(builder.finish())
    }
    fn instant(events: &[PlaybackEvent], get: impl Fn(&PlaybackEvent) -> Timestamp) -> ArrayRef {
        let mut builder = TimestampMicrosecondBuilder::with_capacity(events.len()).with_timezone("UTC");
        events.iter().for_each(|event| builder.append_value(get(event).as_micros()));
        Arc::new(builder.finish())
    }
    let mut speed = Float32Builder::with_capacity(events.len());
    events.iter().for_each(|event| speed.append_option(event.speed));
    let mut granted = BooleanBuilder::with_capacity(events.len());
    events.iter().for_each(|event| granted.append_value(event.granted));

    let arrays: Vec<ArrayRef> = vec![
        owned(events, |e| hex(&event_id(e.session_id, e.seq))),
        owned(events, |e| e.session_id.to_string()),
        number(events, |e| Some(e.seq)),
        owned(events, |e| e.viewer_id.to_string()),
        owned(events, |e| e.video_id.to_string()),
        text(events, |e| e.rendition.as_deref()),
        text(events, |e| Some(e.kind.as_str())),
        number(events, |e| e.media_from_ms),
        number(events, |e| e.media_to_ms),
        Arc::new(speed.finish()),
        instant(events, |e| e.client_ts),
        instant(events, |e| e.server_ts),
        instant(events, |e| e.event_ts),
        number(events, |e| e.startup_ms),
        number(events, |e| e.stall_ms),
        number(events, |e| e.dropped_frames),
        number(events, |e| e.bitrate_kbps),
        text(events, |e| e.error_code.as_deref()),
        text(events, |e| e.source.as_deref()),
        text(events, |e| e.referrer_host.as_deref()),
        text(events, |e| e.experiment.as_deref()),
        text(events, |e| e.country.as_deref()),
        text(events, |e| e.device.as_deref()),
        text(events, |e| e.os.as_deref()),
        text(events, |e| e.browser.as_deref()),
        text(events, |e| e.player.as_deref()),
        Arc::new(granted.finish()),
        number(events, |e| e.video_duration_ms),
        text(events, |e| e.cmcd.as_deref()),
        text(events, |e| e.dropped_by.as_deref()),
    ];
    RecordBatch::try_new(schema(), arrays).map_err(|error| RecordError::Arrow(error.to_string()))
}

/// The payload of a log record that carries `batch`.
///
/// # Errors
/// A batch of another schema, or one that Arrow can't encode.
pub fn encode(batch: &RecordBatch) -> Result<Bytes, RecordError> {
    let arrow = |error: arrow::error::ArrowError| RecordError::Arrow(error.to_string());
    if batch.schema() != schema() {
        return Err(RecordError::Arrow("the batch is not of the playback schema".to_owned()));
    }
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).map_err(arrow)?;
    let (dictionaries, encoded) = IpcDataGenerator::default()
        .encode(batch, &mut DictionaryTracker::new(false), &options, &mut IpcWriteContext::default())
        .map_err(arrow)?;
    debug_assert!(dictionaries.is_empty());
    let length = u32::try_from(encoded.ipc_message.len()).map_err(|error| RecordError::Arrow(error.to_string()))?;
    let mut out = BytesMut::with_capacity(4 + encoded.ipc_message.len() + encoded.arrow_data.len());
    out.put_u32_le(length);
    out.put_slice(&encoded.ipc_message);
    out.put_slice(&encoded.arrow_data);
    Ok(out.freeze())
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// Bytes that are not such a payload.
pub fn decode(payload: &[u8]) -> Result<RecordBatch, RecordError> {
    let bad = |what: &str| RecordError::Arrow(what.to_owned());
    let (length, rest) = payload.split_first_chunk::<4>().ok_or_else(|| bad("shorter than its length"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let (message, body) = rest.split_at_checked(length).ok_or_else(|| bad("shorter than its message"))?;
    let message = root_as_message(message).map_err(|error| RecordError::Arrow(error.to_string()))?;
    let header = message.header_as_record_batch().ok_or_else(|| bad("not a record batch message"))?;
    let body = Buffer::from(body);
    read_record_batch(&body, header, schema(), &std::collections::HashMap::new(), None, &message.version())
        .map_err(|error| RecordError::Arrow(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u32) -> PlaybackEvent {
        PlaybackEvent {
            session_id: SessionId::from_uuid(uuid::Uuid::from_u128(1)),
            seq,
            viewer_id: ViewerId::from_bytes([2; 16]),
            video_id: VideoId::from_uuid(uuid::Uuid::from_u128(3)),
            rendition: Some("720p".to_owned()),
            kind: EventKind::Heartbeat,
            media_from_ms: Some(0),
            media_to_ms: Some(10_000),
            speed: Some(1.0),
            client_ts: Timestamp::from_millis(1),
            server_ts: Timestamp::from_millis(2),
            event_ts: Timestamp::from_millis(2),
            startup_ms: None,
            stall_ms: None,
            dropped_frames: Some(0),
            bitrate_kbps: Some(3000),
            error_code: None,
            source: Some("home".to_owned()),
            referrer_host: None,
            experiment: None,
            country: None,
            device: Some("desktop".to_owned()),
            os: None,
            browser: None,
            player: None,
            granted: true,
            video_duration_ms: Some(60_000),
            cmcd: None,
            dropped_by: None,
        }
    }

    #[test]
    fn a_batch_reads_back_what_was_written() {
        let batch = to_batch(&[event(0), event(1)]).unwrap();
        assert_eq!(batch.num_columns(), columns().len());
        let payload = encode(&batch).unwrap();
        assert_eq!(decode(&payload).unwrap(), batch);
    }

    #[test]
    fn cut_or_foreign_bytes_are_errors_and_never_a_panic() {
        let payload = encode(&to_batch(&[event(0)]).unwrap()).unwrap();
        for end in [0, 3, 4, 20] {
            assert!(decode(&payload[..end]).is_err(), "{end}");
        }
        assert!(decode(b"\x04\0\0\0abcdefgh").is_err());
    }
}
