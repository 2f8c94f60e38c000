//! Every wire format against its golden file: what was once written can always be read, and what
//! is written now is what was written then.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{fmt::Debug, path::PathBuf};

use event_schemas::{
    AccountId, ChannelId, Envelope, Millis, ProducerId, ProducerStamp, SessionId, Timestamp, UploadId, VideoId,
    ViewerId,
    playback::{self, EventKind, PlaybackEvent},
    records::{
        DeadLetter, JsonRecord, PlaybackState, TranscodeRecord, TranscodeStep, UploadRecord, UploadState, VideoRecord,
        ViewRecord, Visibility,
    },
};
use uuid::Uuid;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn envelope(schema: u16, payload: Vec<u8>) -> Envelope {
    Envelope {
        schema,
        producer: ProducerStamp { id: ProducerId::from_uuid(uuid(9)), epoch: 1, seq: 0 },
        produced_at: Timestamp::from_micros(1),
        key: bytes::Bytes::new(),
        payload: payload.into(),
    }
}

fn check<R: JsonRecord + PartialEq + Debug>(name: &str, record: &R) {
    let golden = std::fs::read(file(name)).unwrap();
    let golden = golden.trim_ascii_end();
    assert_eq!(String::from_utf8_lossy(&record.to_payload().unwrap()), String::from_utf8_lossy(golden), "{name}");
    assert_eq!(&R::from_envelope(&envelope(R::SCHEMA as u16, golden.to_vec())).unwrap(), record, "{name}");
}

fn at() -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_001)
}

#[test]
fn uploads() {
    let record = UploadRecord {
        v: 1,
        video_id: VideoId::from_uuid(uuid(1)),
        upload_id: UploadId::from_uuid(uuid(2)),
        state: UploadState::Complete,
        bytes: 12_345,
        at: at(),
    };
    check("upload.json", &record);
}

#[test]
fn transcodes() {
    let steps = [
        ("progress", TranscodeStep::Progress { percent: 42 }),
        ("rendition_ready", TranscodeStep::RenditionReady { name: "720p".to_owned() }),
        ("playable", TranscodeStep::Playable),
        ("ready", TranscodeStep::Ready { duration: Millis(60_000) }),
        ("failed", TranscodeStep::Failed { reason: "not a video".to_owned() }),
    ];
    for (name, step) in steps {
        let record = TranscodeRecord { v: 1, video_id: VideoId::from_uuid(uuid(1)), epoch: 3, step, at: at() };
        check(&format!("transcode_{name}.json"), &record);
    }
}

#[test]
fn videos() {
    let record = VideoRecord {
        v: 1,
        video_id: VideoId::from_uuid(uuid(1)),
        version: 4,
        deleted: false,
        owner: AccountId::from_uuid(uuid(3)),
        channel_id: ChannelId::from_uuid(uuid(4)),
        channel_name: "Ada".to_owned(),
        title: "A title".to_owned(),
        description: "Two\nlines".to_owned(),
        tags: vec!["one".to_owned(), "two".to_owned()],
        visibility: Visibility::Unlisted,
        upload: UploadState::Complete,
        playback: PlaybackState::Ready,
        duration: Some(Millis(60_000)),
        created_at: at(),
        published_at: None,
    };
    check("video.json", &record);
}

#[test]
fn views() {
    let record = ViewRecord {
        v: 1,
        rule: 1,
        video_id: VideoId::from_uuid(uuid(1)),
        viewer_id: ViewerId::from_bytes([7; 16]),
        session_id: SessionId::from_uuid(uuid(5)),
        event_ts: at(),
        delta: 1,
    };
    check("view.json", &record);
}

#[test]
fn dead_letters() {
    let record = DeadLetter {
        v: 1,
        stage: "index".to_owned(),
        reason: "the record is not valid JSON of its schema".to_owned(),
        attempts: 5,
        partition: 0,
        offset: 17,
        at: at(),
        record: "AQID".to_owned(),
    };
    check("dead_letter.json", &record);
}

fn event() -> PlaybackEvent {
    PlaybackEvent {
        session_id: SessionId::from_uuid(uuid(5)),
        seq: 3,
        viewer_id: ViewerId::from_bytes([7; 16]),
        video_id: VideoId::from_uuid(uuid(1)),
        rendition: Some("720p".to_owned()),
        kind: EventKind::Heartbeat,
        media_from_ms: Some(0),
        media_to_ms: Some(10_000),
        speed: Some(1.5),
        client_ts: at(),
        server_ts: at(),
        event_ts: at(),
        startup_ms: None,
        stall_ms: None,
        dropped_frames: Some(2),
        bitrate_kbps: Some(3000),
        error_code: None,
        source: Some("home".to_owned()),
        referrer_host: None,
        experiment: None,
        country: None,
        device: Some("desktop".to_owned()),
        os: Some("Linux".to_owned()),
        browser: Some("Chrome".to_owned()),
        player: Some("millrace-web/0.1".to_owned()),
        granted: true,
        video_duration_ms: Some(60_000),
        cmcd: None,
        dropped_by: None,
    }
}

/// The bytes of an Arrow message may change with the library; what they mean may not.
#[test]
fn playback_batches() {
    let batch = playback::to_batch(&[event()]).unwrap();
    let golden = std::fs::read(file("playback_batch.bin")).unwrap();
    assert_eq!(playback::decode(&golden).unwrap(), batch);
    assert_eq!(playback::decode(&playback::encode(&batch).unwrap()).unwrap(), batch);
}
