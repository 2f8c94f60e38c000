//! Telemetry that is not what the contract says, and grants that are not what they claim to be:
//! nothing of a refused batch is stored.

use std::{path::Path, sync::Arc};

use access::{Grant, Signer};
use event_schemas::{Clock as _, Millis, SystemClock, ViewerId};
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::support::{Creator, Playback, Server, Viewer, clips, viewers::now_us};

/// A signer under the secret of a data directory, as whoever had stolen it could make.
fn signer(data: &Path) -> Signer {
    let text = std::fs::read_to_string(data.join("secrets/signing.key")).unwrap();
    let bytes: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
    Signer::new(bytes.try_into().unwrap(), Arc::new(SystemClock))
}

fn with(batch: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut batch = batch.clone();
    change(&mut batch);
    batch
}

#[tokio::test]
async fn telemetry_that_is_not_right_is_refused_whole() {
    let server = Server::start(&[]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.publish(&clips::small().await, "Watched").await;
    let mut playback = Viewer::new(&server).open(&video, 1).await;
    let events = vec![playback.event("attempt"), playback.event("start"), playback.watched("heartbeat", 0, 5000)];
    let good = playback.batch(events);

    // Bodies that can't be read.
    let post = |body: String, kind: &'static str| {
        playback.api.request(Method::POST, "/api/v1/telemetry").header(CONTENT_TYPE, kind).body(body)
    };
    let send = async |body: String, kind| playback.api.send(post(body, kind)).await;
    for body in ["", "{", "[]", "null", "\"x\"", "{\"events\": []}"] {
        send(body.to_owned(), "application/json").await.expect_problem(400, "bad-request", "the batch can't be read");
    }
    send(good.to_string(), "application/xml").await.expect_problem(415, "content-type", "JSON");
    let long = with(&good, |batch| batch["player"] = "x".repeat(300 << 10).into());
    send(long.to_string(), "text/plain").await.expect_problem(413, "too-large", "262144 bytes");
    for (field, value) in [
        ("session_id", json!("me")),
        ("video_id", json!(7)),
        ("sent_ts", json!("now")),
        ("events", json!({})),
        ("address", json!("here")),
    ] {
        let batch = with(&good, |batch| batch[field] = value);
        playback.send(&batch).await.expect_problem(400, "bad-request", "the batch can't be read");
    }

    // Events that can't be.
    let event = |change: &dyn Fn(&mut Value)| with(&good, |batch| change(&mut batch["events"][2]));
    let many: Vec<Value> = (0..501).map(|seq| json!({"seq": seq, "kind": "attempt", "client_ts": now_us()})).collect();
    for (batch, part) in [
        (with(&good, |batch| batch["events"] = many.into()), "not 501"),
        (with(&good, |batch| batch["events"] = json!([])), "events"),
        (with(&good, |batch| batch["source"] = "moon".into()), "source"),
        (with(&good, |batch| batch["player"] = "x".repeat(65).into()), "player"),
        (event(&|event| event["seq"] = 1.into()), "events[2].seq"),
        (event(&|event| event["media_to_ms"] = 10_001.into()), "events[2].media_to_ms"),
        (event(&|event| event["media_from_ms"] = 6_000.into()), "events[2].media_to_ms"),
        (event(&|event| event["media_to_ms"] = Value::Null), "events[2].media_from_ms"),
        (event(&|event| event["kind"] = "pause_maybe".into()), "pause_maybe"),
        (event(&|event| event["speed"] = 17.into()), "events[2].speed"),
        (event(&|event| event["rendition"] = "\u{1}".into()), "events[2].rendition"),
        (
            event(&|event| {
                event["media_from_ms"] = 95_000.into();
                event["media_to_ms"] = 96_000.into();
            }),
            "past the video's end",
        ),
    ] {
        let reply = playback.send(&batch).await;
        let status = reply.status;
        let slug = if status == 400 { "bad-request" } else { "invalid" };
        assert!(matches!(status, 400 | 422), "{part}: {}", reply.text());
        reply.expect_problem(status, slug, part);
    }
    // An event that is older than what is remembered is refused by itself, and said to be.
    let old = with(&good, |batch| batch["events"][0]["client_ts"] = (now_us() - 8 * 86_400_000_000).into());
    let answer = playback.send(&old).await.expect(202).json();
    assert_eq!((&answer["accepted"], &answer["refused_as_too_old"]), (&json!(2), &json!(1)), "{answer}");

    // The lake holds those two and nothing of all the rest.
    server.flush().await;
    let stored = server.sql("select seq from playback_events order by seq").await;
    assert_eq!(stored, [json!({"seq": 1}), json!({"seq": 2})]);
}

#[tokio::test]
async fn grants_are_good_for_what_they_were_made_for() {
    let server = Server::start(&[]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.publish(&clips::small().await, "Watched").await;
    let other_video = ada.publish(&clips::tiny(3).await, "Other").await;
    let mut viewer = Viewer::new(&server);
    let mut playback = viewer.open(&video, 1).await;
    let other = viewer.open(&video, 1).await;
    let events = playback.watch_to(12_000);
    let refused = async |changed: Playback, slug: &str, part: &str| {
        changed.send(&changed.batch(events.clone())).await.expect_problem(403, slug, part);
    };
    let granted = |grant: String| Playback { grant: Some(grant), ..playback.clone() };

    // Forged: another signature, another secret, no signature, another kind of token.
    let token = playback.grant.clone().unwrap();
    let (head, signature) = token.rsplit_once('.').unwrap();
    let claims = Grant {
        session: playback.session.parse().unwrap(),
        video: video.parse().unwrap(),
        viewer: ViewerId::from_bytes([9; 16]),
        duration: Millis(2),
    };
    let later = SystemClock.now() + Millis::from_secs(3600);
    let foreign = Signer::new([7; 32], Arc::new(SystemClock)).sign_grant(claims, later);
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", token.split('.').nth(1).unwrap());
    let cookie = viewer.api.request(Method::GET, "/").build().unwrap().headers()["cookie"].to_str().unwrap().to_owned();
    let flipped: String = signature.chars().rev().collect();
    for forged in [
        format!("{head}.{flipped}"),
        foreign,
        unsigned,
        cookie.split_once('=').unwrap().1.to_owned(),
        String::new(),
        "x".repeat(5000),
    ] {
        refused(granted(forged), "grant-forged", "not made by this instance").await;
    }
    // Expired: genuine, and past its time.
    let past = SystemClock.now() - Millis::from_secs(1);
    let expired = signer(&server.data()).sign_grant(claims, past);
    refused(granted(expired), "grant-expired", "has expired").await;
    // Mismatched: of another session, or for another video.
    refused(granted(other.grant.clone().unwrap()), "grant-mismatch", "another session or video").await;
    let elsewhere = Playback { video: other_video.clone(), ..playback.clone() };
    refused(elsewhere, "grant-mismatch", "another session or video").await;
    // None at all is taken for a video that can be seen, and is worth nothing.
    let unknown =
        Playback { grant: None, video: "0193a6f0-5f6c-7d3e-9c41-6f2b8a9d0e11".to_owned(), ..playback.clone() };
    unknown.send(&unknown.batch(events.clone())).await.expect_not_found();

    server.flush().await;
    assert_eq!(server.sql_number("select count(*) from playback_events").await, 0);
    for id in [&video, &other_video] {
        let counters = server.stranger().video(id).await["counters"].clone();
        assert_eq!(counters, json!({"starts": 0, "views": 0, "engaged_views": 0, "watch_ms": 0}));
    }

    // The genuine one is good.
    assert_eq!(playback.report(events.clone()).await, events.len() as u64);
}
