//! Measures what compressing a batch saves and costs, for the two kinds of records there are:
//! Arrow batches of playback events, compressed inside already, and JSON.
//!
//! `cargo test --release -p event-log-fluvio --test compression -- --ignored --nocapture`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use event_log_fluvio::{Compression, measure::batch_bytes};
use event_schemas::{
    Envelope, ProducerId, ProducerStamp, SessionId, Timestamp, VideoId, ViewerId,
    playback::{EventKind, PlaybackEvent, encode, to_batch},
};

const START: i64 = 1_700_000_000_000_000;

/// Viewers of a thousand videos in the middle of their sessions, as the edge gathers them.
fn events(count: u32) -> Vec<PlaybackEvent> {
    let browsers = ["Firefox", "Chrome", "Safari", "Edge"];
    let videos: Vec<VideoId> = (0..1000).map(|_| VideoId::generate()).collect();
    (0..count)
        .map(|n| {
            let at = Timestamp::from_micros(START + i64::from(n) * 97);
            let pick = n.wrapping_mul(2_654_435_761) as usize >> 8;
            PlaybackEvent {
                session_id: SessionId::generate(),
                seq: n % 500,
                viewer_id: ViewerId::derive(&[&n.to_le_bytes()]),
                video_id: videos[pick % videos.len()],
                rendition: Some(["1080p", "720p", "480p"][pick % 3].to_owned()),
                kind: EventKind::Heartbeat,
                media_from_ms: Some(n * 7919 % 3_600_000),
                media_to_ms: Some(n * 7919 % 3_600_000 + 10_000),
                speed: Some(1.0),
                client_ts: at,
                server_ts: at,
                event_ts: at,
                startup_ms: None,
                stall_ms: None,
                dropped_frames: Some(n % 3),
                bitrate_kbps: Some(4500),
                error_code: None,
                source: Some(["search", "related", "home"][pick % 3].to_owned()),
                referrer_host: None,
                experiment: Some("b7".to_owned()),
                country: Some(["DE", "US", "FR", "JP", "BR"][pick % 5].to_owned()),
                device: Some("desktop".to_owned()),
                os: Some("Linux".to_owned()),
                browser: Some(browsers[pick % 4].to_owned()),
                player: Some("web".to_owned()),
                granted: true,
                video_duration_ms: Some(3_600_000),
                cmcd: None,
                dropped_by: None,
            }
        })
        .collect()
}

fn envelope(seq: u64, payload: Bytes) -> Bytes {
    let producer = ProducerStamp { id: ProducerId::generate(), epoch: 1, seq };
    let produced_at = Timestamp::from_micros(START);
    Envelope { schema: 1, producer, produced_at, key: Bytes::new(), payload }.encode()
}

fn json(n: u64) -> Bytes {
    let (viewer, video) = (ViewerId::derive(&[&n.to_le_bytes()]), VideoId::generate());
    let text = format!(
        r#"{{"viewer_id":"{viewer}","video_id":"{video}","session_id":"{}","rule_version":3,"counted_at":{},"kind":"view","watched_ms":{},"source":"search"}}"#,
        SessionId::generate(),
        START + i64::try_from(n).unwrap() * 1000,
        30_000 + n % 600
    );
    envelope(n, Bytes::from(text))
}

#[test]
#[ignore = "a measurement"]
fn what_compression_saves_and_costs() {
    let arrow = |count| vec![envelope(0, encode(&to_batch(&events(count)).unwrap()).unwrap())];
    let payloads = [
        ("Arrow, 50 events", arrow(50)),
        ("Arrow, 1 000 events", arrow(1000)),
        ("Arrow, 20 000 events", arrow(20_000)),
        ("JSON, 1 record", vec![json(1)]),
        ("JSON, 500 records", (0..500).map(json).collect()),
    ];
    println!("| payload | bytes | compression | on the wire | compress and read back, MB/s |");
    println!("|---|---|---|---|---|");
    for (name, records) in payloads {
        let bytes: usize = records.iter().map(Bytes::len).sum();
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd, Compression::Snappy] {
            let wire = batch_bytes(records.clone(), compression).unwrap();
            let (started, mut times) = (Instant::now(), 0u32);
            while started.elapsed() < Duration::from_millis(300) {
                batch_bytes(records.clone(), compression).unwrap();
                times += 1;
            }
            let speed = f64::from(times) * bytes as f64 / started.elapsed().as_secs_f64() / 1e6;
            println!("| {name} | {bytes} | {compression} | {:.1} % | {speed:.0} |", 100.0 * wire as f64 / bytes as f64);
        }
    }
}
