//! The server, or only its transcoding child, is killed or stopped in the middle of a transcode.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    Creator, LONG, SHORT, Server, clips, hls,
    media::play,
    processes::{is_running, signal, transcoders},
    wait::holds,
    wait_until,
};

/// Long enough to be met in the middle.
const SECONDS: u64 = 30;

/// Waits until a transcode other than that by `before` has stored something, and returns its
/// child's process id.
async fn in_the_middle(server: &Server, ada: &Creator, video: &str, before: &[u32]) -> u32 {
    wait_until("a transcode is in the middle", LONG, async || {
        let seen = ada.api.video(video).await;
        assert!(!matches!(seen["playback_state"].as_str(), Some("ready" | "failed")), "too late: {seen}");
        let children = transcoders(server.pid());
        match children.as_slice() {
            [child] if !before.contains(child) && !server.files(&format!("media/{video}")).is_empty() => Ok(*child),
            _ => Err(format!("children {children:?}, {} %", seen["progress_percent"])),
        }
    })
    .await
}

/// How many jobs have ended so since the server started.
async fn jobs(server: &Server, outcome: &str) -> f64 {
    server.metric(&format!("millrace_transcode_jobs_total{{outcome=\"{outcome}\"}}")).await
}

/// The video is whole: every segment of every rendition is there once, and it plays to its end.
async fn is_whole(server: &Server, video: &Value, duration_ms: i64) {
    let id = video["id"].as_str().unwrap();
    let shown = video["duration_ms"].as_i64().unwrap();
    assert!((shown - duration_ms).abs() <= 100, "{shown} ms");
    let stranger = server.stranger();
    let all = hls::all(&stranger, &format!("/media/{id}/master.m3u8")).await;
    assert_eq!(all.len(), 3, "{all:?}");
    for (variant, playlist) in &all {
        let length = playlist.duration_ms();
        assert!((length - duration_ms).abs() <= 100, "{length} ms: {variant:?}");
        for address in playlist.files() {
            stranger.get(&address).await.expect(200);
        }
    }
    let played = play(&format!("{}/media/{id}/master.m3u8", server.url)).await;
    assert!((played - duration_ms).abs() < 300, "{played} ms");
    assert_eq!(transcoders(server.pid()), [0; 0], "no child works on what is done");
}

/// So many jobs were finished, each once, and so many attempts given back before.
async fn finished(server: &Server, ready: f64, retried: f64) {
    wait_until("the jobs are accounted for", SHORT, async || {
        let seen = (jobs(server, "ready").await, jobs(server, "retried").await);
        holds(seen == (ready, retried), || format!("{seen:?}"))
    })
    .await;
    assert_eq!((jobs(server, "failed").await, jobs(server, "lost").await), (0.0, 0.0));
}

#[tokio::test]
async fn a_transcode_survives_the_kill_of_the_server() {
    let clip = clips::wide(SECONDS).await;
    let mut server = Server::start(&["transcode.lease_ms=2000"]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.upload(&clip, &[("title", "Survivor"), ("visibility", "public")]).await;

    let child = in_the_middle(&server, &ada, &video, &[]).await;
    server.kill();
    wait_until("the child ends with its server", SHORT, async || {
        holds(!is_running(child), || format!("process {child} runs"))
    })
    .await;
    server.restart().await;
    let ready = ada.ready(&video).await;
    is_whole(&server, &ready, clip.duration_ms).await;
    finished(&server, 1.0, 0.0).await;
}

#[tokio::test]
async fn a_server_survives_its_transcoding_child() {
    let clip = clips::wide(SECONDS).await;
    let server = Server::start(&["transcode.lease_ms=2000", "transcode.stall_ms=1500"]).await;
    let (pid, stranger) = (server.pid(), server.stranger());
    let ada = Creator::sign_up(&server, "ada").await;

    // The child dies: another is started, and the server has answered all the time.
    let video = ada.upload(&clip, &[("title", "Killed"), ("visibility", "public")]).await;
    let first = in_the_middle(&server, &ada, &video, &[]).await;
    signal(first, Signal::SIGKILL);
    stranger.get("/healthz").await.expect(200);
    let ready = ada.ready(&video).await;
    is_whole(&server, &ready, clip.duration_ms).await;

    // The child stands still: it is given up after the stall limit, and another is started.
    let video = ada.upload(&clip, &[("title", "Stopped"), ("visibility", "public")]).await;
    let second = in_the_middle(&server, &ada, &video, &[first]).await;
    signal(second, Signal::SIGSTOP);
    stranger.get("/healthz").await.expect(200);
    wait_until("the child that stands still is killed", SHORT, async || {
        holds(!is_running(second), || format!("process {second} is there"))
    })
    .await;
    let ready = ada.ready(&video).await;
    is_whole(&server, &ready, clip.duration_ms).await;

    finished(&server, 2.0, 2.0).await;
    assert_eq!(server.pid(), pid);
    stranger.get("/readyz").await.expect(200);
}
