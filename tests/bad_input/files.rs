//! Files that are no videos, or not whole: the upload succeeds, the video ends as *failed* with a
//! reason that its owner can read, and nobody else learns of it.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{Clip, Creator, LONG, Server, clips, wait::holds, wait_until};

fn file(content: impl Into<Bytes>) -> Clip {
    Clip { path: std::path::PathBuf::new(), bytes: content.into(), duration_ms: 0, frames: 0 }
}

/// A playlist that would make FFmpeg open another file, were it let.
fn playlist() -> Clip {
    file("ffconcat version 1.0\nfile '/etc/passwd'\nduration 10\n")
}

#[tokio::test]
async fn files_that_are_no_videos_fail_with_a_reason() {
    let whole = clips::index_last().await;
    let cut_before_index = file(whole.bytes.slice(..whole.bytes.len() / 2));
    let noise: Vec<u8> = (0..200_000u64).map(|n| (n.wrapping_mul(6_364_136_223_846_793_005) >> 33) as u8).collect();
    let hls = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n";
    let server = Server::start(&[]).await;
    let ada = Creator::sign_up(&server, "ada").await;

    let refused = "this is not a video we accept, or the file is damaged at its start";
    for (title, file, reason) in [
        ("text", file("Dear diary, this is not a video.\n".repeat(2000)), refused),
        ("noise", file(noise), refused),
        ("one byte", file("x"), refused),
        ("a list of files", playlist(), refused),
        ("a playlist called a video", file(hls), refused),
        ("the index is cut off", cut_before_index, refused),
    ] {
        let about =
            [("title", title), ("filename", "holiday.mp4"), ("filetype", "video/mp4"), ("visibility", "public")];
        let video = ada.upload(&file, &about).await;
        let failed = ada.failed(&video).await;
        assert_eq!((&failed["failure"], &failed["upload_state"]), (&json!(reason), &json!("complete")), "{title}");
        assert_eq!((&failed["hls_url"], &failed["poster_url"]), (&Value::Null, &Value::Null), "{title}");
        assert_eq!(failed["renditions"], json!([]), "{title}");

        // Nothing half-made, and nothing to see for anybody else.
        assert_eq!(server.files(&format!("media/{video}")), [""; 0], "{title}");
        let stranger = server.stranger();
        stranger.get(&format!("/api/v1/videos/{video}")).await.expect_not_found();
        ada.api.get(&format!("/media/{video}/master.m3u8")).await.expect_not_found();
        assert_eq!(stranger.ids("/api/v1/videos").await, [""; 0]);
        let playback = ada.api.request(reqwest::Method::POST, &format!("/api/v1/videos/{video}/playback"));
        ada.api.send(playback).await.expect_problem(409, "not-playable", "nothing to play");

        // Its owner can get rid of it.
        ada.api.delete(&format!("/api/v1/videos/{video}")).await.expect(204);
    }
    wait_until("the refused files are gone", LONG, async || {
        let left = [server.files("uploads"), server.files("media")].concat();
        holds(left.is_empty(), || format!("{left:?}"))
    })
    .await;
    assert_eq!(ada.own_videos().await, [""; 0]);
}

#[tokio::test]
async fn a_file_cut_short_ends_honestly() {
    // The index says 12 seconds, and the pictures end in the middle.
    let whole = clips::small().await;
    let cut = file(whole.bytes.slice(..whole.bytes.len() / 2));
    let server = Server::start(&[]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.upload(&cut, &[("title", "Half"), ("visibility", "public")]).await;
    let ended = wait_until("the video is ready or failed", LONG, async || {
        let video = ada.api.video(&video).await;
        if matches!(video["playback_state"].as_str(), Some("ready" | "failed")) {
            Ok(video)
        } else {
            Err(video.to_string())
        }
    });
    let ended = ended.await;
    if ended["playback_state"] == "failed" {
        assert!(ended["failure"].as_str().is_some_and(|reason| reason.len() > 10), "{ended}");
        assert_eq!(ended["hls_url"], Value::Null, "{ended}");
    } else {
        // What is there plays, and no more is promised.
        let duration = ended["duration_ms"].as_i64().unwrap();
        assert!((2_000..10_000).contains(&duration), "{duration} ms of {} ms", whole.duration_ms);
        let played = crate::support::media::play(&format!("{}/media/{video}/master.m3u8", server.url)).await;
        assert!((played - duration).abs() < 300, "{played} ms of {duration} ms");
    }
}
