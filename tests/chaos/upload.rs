//! The server is killed again and again while it receives an upload.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use reqwest::{Body, Method};
use tokio::sync::watch;

use crate::support::{Creator, SHORT, Server, Upload, clips, media::play, tus, wait_until};

/// The bytes of one PATCH.
const PIECE: usize = 3 << 20;
/// The server is killed when so many bytes were sent: in the first PATCH, near the start and near
/// the end of others. The last kill follows the acknowledgement of the last byte.
const KILL_AT: [u64; 4] = [700 << 10, 7 << 20, (12 << 20) - 1, 20 << 20];

#[tokio::test]
async fn an_upload_survives_kills() {
    let clip = clips::large().await;
    let length = clip.bytes.len() as u64;
    assert!(length > 21 << 20, "{length}");
    // Many small chunks, so that a kill meets every step of storing one.
    let mut server = Server::start(&["uploads.chunk_size=256KiB", "transcode.lease_ms=2000"]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let about = [("title", "Survivor"), ("visibility", "public"), ("filename", "large.avi")];
    let upload = Upload::create(&ada.api, length, &about).await;

    let (sent, mut watched) = watch::channel(0);
    let sent = Arc::new(sent);
    let mut acknowledged = 0;
    let mut again = 0;
    for kill_at in KILL_AT {
        let reconnected = upload.reconnected();
        tokio::select! {
            biased;
            reached = watched.wait_for(|sent| *sent >= kill_at) => drop(reached.unwrap()),
            () = send(&reconnected, &clip.bytes, &mut acknowledged, &sent) => {
                panic!("the upload ended before the kill at {kill_at}")
            }
        }
        server.kill();
        server.restart().await;
        let (offset, sent) = (upload.reconnected().offset().await, *sent.borrow());
        assert!(offset >= acknowledged, "{offset} is behind the acknowledged {acknowledged}");
        assert!(offset <= sent, "{offset} is ahead of the {sent} sent");
        again += sent - offset;
        acknowledged = offset;
    }
    send(&upload.reconnected(), &clip.bytes, &mut acknowledged, &sent).await;
    server.kill();
    println!("the upload went on after {} kills; {again} bytes on their way were sent again", KILL_AT.len() + 1);

    // The objects on disk are the bytes that were sent: each chunk at its place, none missing.
    check_chunks(&server, &upload, &clip.bytes);
    server.restart().await;
    let video = ada.ready(&upload.video_id).await;
    let duration = video["duration_ms"].as_i64().unwrap();
    assert!((duration - clip.duration_ms).abs() <= 100, "{duration} ms");
    let played = play(&format!("{}{}", server.url, video["hls_url"].as_str().unwrap())).await;
    assert!((played - clip.duration_ms).abs() < 300, "{played} ms");
    assert_eq!(ada.own_videos().await, [upload.video_id], "one upload, one video");
}

/// Sends the rest of the file, piece by piece. `acknowledged` follows the answers and `sent` what
/// was handed to the connection.
async fn send(upload: &Upload, file: &Bytes, acknowledged: &mut u64, sent: &Arc<watch::Sender<u64>>) {
    let length = file.len();
    while (*acknowledged as usize) < length {
        let at = *acknowledged as usize;
        let end = length.min((at / PIECE + 1) * PIECE);
        sent.send_replace(at as u64);
        let counter = Arc::clone(sent);
        let pieces = futures::stream::iter(tus::pieces(file.slice(at..end), 64 << 10)).then(move |piece| {
            counter.send_modify(|sent| *sent += piece.len() as u64);
            async move {
                tokio::task::yield_now().await;
                Ok::<_, std::io::Error>(piece)
            }
        });
        let request = upload.patching(at as u64, Body::wrap_stream(pieces)).header("content-length", end - at);
        let reply = upload.api.send(request).await.expect(204);
        assert_eq!(tus::offset(&reply), end as u64);
        *acknowledged = end as u64;
    }
}

/// Every chunk object holds the bytes of its place in the file, and together they are the file.
/// An object that a kill left without a row holds the same bytes as the one sent after it.
fn check_chunks(server: &Server, upload: &Upload, file: &Bytes) {
    let mut covered = 0;
    for path in server.files(&format!("uploads/{}", upload.id)) {
        let name = path.rsplit('/').next().unwrap();
        // What was being written when the server was killed bears another name.
        let Some(start) = name.split('-').next().and_then(|start| start.parse::<usize>().ok()) else { continue };
        let bytes = std::fs::read(server.data().join(&path)).unwrap();
        assert!(file[start..].starts_with(&bytes), "{path} holds something else");
        assert!(start <= covered, "bytes {covered} to {start} are missing");
        covered = covered.max(start + bytes.len());
    }
    assert_eq!(covered, file.len());
}

#[tokio::test]
async fn an_upload_goes_on_while_the_server_stands_still() {
    // A stopped process answers nothing and holds all its locks: clients time out, and what they
    // resend is recognised.
    let clip = clips::tiny(3).await;
    let server = Server::start(&[]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let upload = Upload::create(&ada.api, clip.bytes.len() as u64, &[("title", "Patience")]).await;
    crate::support::processes::signal(server.pid(), nix::sys::signal::Signal::SIGSTOP);
    let half = clip.bytes.len() / 2;
    let first = upload.patching(0, clip.bytes.slice(..half)).timeout(Duration::from_millis(500));
    assert!(upload.api.try_send(first).await.is_err_and(|error| error.is_timeout()));
    crate::support::processes::signal(server.pid(), nix::sys::signal::Signal::SIGCONT);
    let upload = upload.reconnected();
    let mut at = 0;
    wait_until("the whole file is acknowledged", SHORT, async || {
        let head = upload.api.send(upload.request(Method::HEAD)).await.expect(200);
        at = tus::offset(&head) as usize;
        if at == clip.bytes.len() {
            return Ok(());
        }
        let reply = upload.patch(at as u64, clip.bytes.slice(at..)).await;
        assert!(matches!(reply.status, 204 | 409), "{}", reply.text());
        Err(format!("{at} bytes"))
    })
    .await;
    check_chunks(&server, &upload, &clip.bytes);
    ada.ready(&upload.video_id).await;
}
