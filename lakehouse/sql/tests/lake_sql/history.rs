//! Making histories of playback events and bringing them into the lake's form.

use arrow::array::RecordBatch;
use bytes::Bytes;
use event_log::StoredRecord;
use event_schemas::{
    Envelope, Offset, Partition, ProducerId, ProducerStamp, SessionId, Timestamp, VideoId, ViewerId,
    playback::{self, EventKind, PlaybackEvent},
    records::SchemaId,
};
use intake::{MemorySessions, PartitionIntake, Taken, Verdict};
use lake_tables::schema;
use uuid::Uuid;

/// 2026-01-05 00:00 UTC.
pub const DAY: i64 = 20_458 * 86_400;

pub fn video(n: u128) -> VideoId {
    VideoId::from_uuid(Uuid::from_u128(n))
}

pub fn viewer(n: u8) -> ViewerId {
    ViewerId::from_bytes([n; 16])
}

/// An event of kind `heartbeat` without an interval, `second` seconds into the day.
pub fn event(viewer_n: u8, video_n: u128, session: u128, seq: u32, second: i64) -> PlaybackEvent {
    let at = Timestamp::from_millis((DAY + second) * 1000);
    PlaybackEvent {
        session_id: SessionId::from_uuid(Uuid::from_u128(session)),
        seq,
        viewer_id: viewer(viewer_n),
        video_id: video(video_n),
        rendition: None,
        kind: EventKind::Heartbeat,
        media_from_ms: None,
        media_to_ms: None,
        speed: Some(1.0),
        client_ts: at,
        server_ts: at,
        event_ts: at,
        startup_ms: None,
        stall_ms: None,
        dropped_frames: None,
        bitrate_kbps: None,
        error_code: None,
        source: None,
        referrer_host: None,
        experiment: None,
        country: None,
        device: None,
        os: None,
        browser: None,
        player: None,
        granted: true,
        video_duration_ms: Some(100_000),
        cmcd: None,
        dropped_by: None,
    }
}

/// A record of `events`, the `number`th of the one producer.
pub fn record(offset: u64, number: u64, events: &[PlaybackEvent]) -> StoredRecord {
    let payload = playback::encode(&playback::to_batch(events).unwrap()).unwrap();
    let envelope = Envelope {
        schema: SchemaId::PlaybackBatch as u16,
        producer: ProducerStamp { id: ProducerId::from_uuid(Uuid::from_u128(7)), epoch: 1, seq: number },
        produced_at: Timestamp::default(),
        key: Bytes::new(),
        payload,
    };
    StoredRecord { generation: 1, offset: Offset(offset), appended_at: Timestamp::default(), bytes: envelope.encode() }
}

/// What the fold takes of the records of one partition.
pub fn taken(records: &[StoredRecord]) -> Vec<Taken> {
    let mut intake = PartitionIntake::default();
    let none = MemorySessions::default();
    let judged = records.iter().map(|record| intake.judge(record, &none).unwrap());
    judged
        .filter_map(|verdict| match verdict {
            Verdict::Taken(taken) => Some(taken),
            Verdict::Skipped(_) => None,
            Verdict::Unreadable(reason) => panic!("{reason}"),
        })
        .collect()
}

/// The rows as the lake writer writes them.
pub fn rows(partition: u32, taken: &[Taken]) -> Vec<RecordBatch> {
    let schema = schema::playback_events().arrow_schema();
    taken.iter().map(|taken| lake_writer::rows::to_table(Partition(partition), taken, &schema).unwrap()).collect()
}

/// One batch a record, all in partition 0.
pub fn bronze(events: &[Vec<PlaybackEvent>]) -> Vec<RecordBatch> {
    let records: Vec<_> = (0u64..).zip(events).map(|(n, events)| record(n, n, events)).collect();
    rows(0, &taken(&records))
}
