//! SIGTERM while people are connected: the server ends in order, within its deadline, and goes on
//! afterwards where it stood.

use std::time::Duration;

use crate::support::{Creator, LONG, SHORT, Server, Upload, clips, sse::Events, wait::holds, wait_until};

/// `shutdown_ms` of the tests' servers is 5 s; the rest is for a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn sigterm_ends_in_order_with_people_connected() {
    let clip = clips::small().await;
    let mut server = Server::start(&["uploads.chunk_size=64KiB"]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.publish(&clip, "Watched").await;
    let mut events = Events::open(&server.stranger(), &video).await;
    events.until("the first state", SHORT, |event| event.name == "state").await;

    // An upload whose sender has fallen silent in the middle of a request.
    let length = clip.bytes.len() as u64;
    let upload = Upload::create(&ada.api, length, &[("title", "Interrupted")]).await;
    let held = upload.patch_held(0, clip.bytes.slice(..clip.bytes.len() / 2), length);
    let stored = wait_until("part of the upload is stored", SHORT, async || {
        let offset = upload.offset().await;
        if offset > 0 { Ok(offset) } else { Err("nothing".to_owned()) }
    });
    let stored = stored.await;

    let status = server.terminate(DEADLINE).await;
    assert_eq!(status.code(), Some(0), "{status}\n{}", server.log());
    assert!(server.log().contains("stopped in order"), "{}", server.log());
    events.until_end(SHORT).await;
    // The sender is told, or cut off; either way it knows that it is not done.
    let told = held.await.unwrap();
    assert!(told.as_ref().is_ok_and(|reply| matches!(reply.status, 408 | 503)) || told.is_err(), "{told:?}");

    // The upload goes on where it stood.
    server.restart().await;
    let upload = upload.reconnected();
    let offset = upload.offset().await;
    assert!(offset >= stored, "{offset} is behind {stored}");
    upload.patch(offset, clip.bytes.slice(offset as usize..)).await.expect(204);
    ada.ready(&upload.video_id).await;
}

#[tokio::test]
async fn sigterm_in_the_middle_of_a_transcode_gives_the_job_back() {
    let clip = clips::wide(30).await;
    let mut server = Server::start(&[]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.upload(&clip, &[("title", "Interrupted"), ("visibility", "public")]).await;
    wait_until("the transcode is in the middle", LONG, async || {
        holds(!server.files(&format!("media/{video}")).is_empty(), || "nothing is stored".to_owned())
    })
    .await;
    let children = crate::support::processes::transcoders(server.pid());
    let status = server.terminate(DEADLINE).await;
    assert_eq!(status.code(), Some(0), "{status}\n{}", server.log());
    assert!(children.iter().all(|child| !crate::support::processes::is_running(*child)), "a child outlived its server");
    // Taken up again at once, although the lease would have lasted half a minute.
    server.restart().await;
    ada.ready(&video).await;
}
