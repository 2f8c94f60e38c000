//! From a file on a creator's disk to pictures on a viewer's screen, and back to nothing.

use std::collections::BTreeSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Api, Creator, LONG, Playback, SHORT, Server, Upload, Viewer,
    clips::{self, Clip},
    hls,
    media::{play, probe},
    sse::Events,
    tus,
    wait::holds,
    wait_until,
};

#[tokio::test]
async fn upload_to_playback() {
    let clip = clips::wide(12).await;
    let server = Server::start(&[]).await;
    let stranger = server.stranger();

    // 1. A person signs up; the account comes with a channel. A program of hers gets an API token.
    let ada = Creator::sign_up(&server, "ada").await;
    assert_eq!(ada.me["channel"]["handle"], "ada");
    assert_eq!(ada.browser.get("/api/v1/session").await.expect(200).json(), ada.me);

    // 2. The upload is created: the catalog has an upload and a video that is *receiving*. Nobody
    //    but its owner can see it.
    let about = [
        ("filename", "marmot.mp4"),
        ("title", "Marmots whistling"),
        ("description", "At dawn, above the tree line."),
        ("tags", "alps,animals"),
        ("visibility", "public"),
    ];
    let upload = Upload::create(&ada.api, clip.bytes.len() as u64, &about).await;
    let video = upload.video_id.clone();
    let created = ada.api.video(&video).await;
    assert_eq!((&created["upload_state"], &created["playback_state"]), (&json!("receiving"), &json!("none")));
    assert_eq!((&created["title"], &created["tags"]), (&json!("Marmots whistling"), &json!(["alps", "animals"])));
    stranger.get(&format!("/api/v1/videos/{video}")).await.expect_not_found();
    // The studio page follows the video by server-sent events, which begin with how things stand.
    let mut studio = Events::open(&ada.api, &video).await;
    studio.until("the first state", SHORT, |event| event.name == "state").await;
    studio.until("the first counters", SHORT, |event| event.name == "counters" && event.data["views"] == 0).await;

    // 3. The bytes come in three pieces, each acknowledged when its chunk objects and their rows
    //    are durable. The second piece is cut off in the middle; the upload goes on, from another
    //    connection, where the server says it stands.
    send_in_three_pieces(&upload, &clip).await;
    assert_eq!(chunk_bytes(&server, &upload.id), clip.bytes, "the chunk objects are the file");

    // 4. With the last byte the upload is *complete*; the same transaction puts a record into the
    //    outbox, which the relay publishes to `uploads`.
    let complete = |event: &crate::support::sse::Event| event.data["upload_state"] == "complete";
    studio.until("the upload is complete", SHORT, complete).await;
    assert_eq!(ada.unfinished().await, [""; 0]);

    // 5. The transcode stage leases the job; a child process without files and network probes,
    //    plans and encodes. The renditions are published and the video is *ready*: the studio
    //    page is told.
    let is_ready = |event: &crate::support::sse::Event| event.data["playback_state"] == "ready";
    studio.until("the video is ready", LONG, is_ready).await;
    let ready = ada.ready(&video).await;
    assert_eq!(ready["progress_percent"], 100, "{ready}");
    check_api(&ready, &clip);
    assert_eq!(ready["source"]["video_codec"], "h264", "{ready}");
    let seen = stranger.video(&video).await;
    assert_eq!((&seen["source"], &seen["failure"], &seen["owned"]), (&Value::Null, &Value::Null, &json!(false)));

    // 6. A viewer opens the watch page; the player goes from the stable address through the
    //    playlists to segments that are named by their content and never change.
    let open = open_media(&stranger, &video, &clip).await;

    // 7. What it plays is what was uploaded: every picture is there, and another player than ours
    //    plays it to the end without complaint.
    check_renditions(&server, &stranger, &video, &clip).await;
    let played = play(&format!("{}/media/{video}/master.m3u8", server.url)).await;
    assert!((played - clip.duration_ms).abs() < 300, "{played} ms");

    // 8. The poster is a picture.
    let poster = ready["poster_url"].as_str().expect("a poster").to_owned();
    let picture = stranger.get(&poster).await.expect(200);
    assert_eq!(picture.header("content-type"), "image/jpeg");
    assert!(picture.body.starts_with(&[0xff, 0xd8, 0xff]) && picture.body.ends_with(&[0xff, 0xd9]));

    // 9. From the `videos` topic the video reaches the search index; it is found by any of its
    //    texts, listed as the newest, and related to a video that resembles it.
    for words in ["marmots", "tree line", "animals"] {
        found_by(&stranger, words, &[&video]).await;
    }
    let sibling = ada.publish(&clips::tiny(3).await, "Marmots sleeping").await;
    assert_eq!(stranger.ids("/api/v1/videos").await, [sibling.clone(), video.clone()]);
    related_to(&stranger, &sibling, &[&video]).await;

    // 10. Its owner gives it another title; the search knows it by the new one only.
    let edited = json!({"title": "Ibexes climbing", "expected_version": ready["version"]});
    let edited = ada.api.patch(&format!("/api/v1/videos/{video}"), &edited).await.expect(200).json();
    assert_eq!(edited["title"], "Ibexes climbing");
    let late = json!({"title": "Too late", "expected_version": ready["version"]});
    let late = ada.api.patch(&format!("/api/v1/videos/{video}"), &late).await;
    late.expect_problem(409, "version-mismatch", "version");
    found_by(&stranger, "ibexes", &[&video]).await;
    found_by(&stranger, "marmots", &[&sibling]).await;

    // 11. She makes it private. To everybody else it is as if it did not exist, at every address
    //     at once, those that a player already knew among them; an open page is told.
    let mut page = Events::open(&stranger, &video).await;
    let watching = Viewer::new(&server).open(&video, 1).await;
    let private = json!({"visibility": "private"});
    ada.api.patch(&format!("/api/v1/videos/{video}"), &private).await.expect(200);
    page.until("the page is told that the video is gone", SHORT, |event| event.name == "deleted").await;
    let someone = Creator::sign_up(&server, "someone").await;
    for other in [&stranger, &someone.api, &someone.browser] {
        is_hidden(other, &video, &sibling, &poster, &open, &watching).await;
    }

    // 12. She herself plays it by addresses that carry a signed token in place of a cookie.
    let secret = private_media(&ada, &stranger, &video, &open).await;
    let played = play(&format!("{}{}", server.url, secret.master)).await;
    assert!((played - clip.duration_ms).abs() < 300, "{played} ms");
    let other_video = secret.segment.replace(&video, &sibling);
    stranger.get(&other_video).await.expect_not_found();

    // 13. She deletes it, and nothing is left: no answer, no search result, no file.
    ada.api.delete(&format!("/api/v1/videos/{video}")).await.expect(204);
    studio.until("the studio page is told", SHORT, |event| event.name == "deleted").await;
    ada.api.get(&format!("/api/v1/videos/{video}")).await.expect_not_found();
    ada.api.get(&format!("/media/{video}/master.m3u8")).await.expect_not_found();
    stranger.get(&secret.segment).await.expect_not_found();
    assert_eq!(upload.head().await.status, 404);
    assert_eq!(ada.own_videos().await, [sibling.as_str()]);
    found_by(&stranger, "ibexes", &[]).await;
    wait_until("no file of the video is left", LONG, async || {
        let left = [server.files(&format!("media/{video}")), server.files(&format!("uploads/{}", upload.id))].concat();
        holds(left.is_empty(), || format!("{left:?}"))
    })
    .await;
    assert!(!server.files(&format!("media/{sibling}")).is_empty(), "the other video keeps its files");
}

async fn send_in_three_pieces(upload: &Upload, clip: &Clip) {
    let length = clip.bytes.len();
    let (first, second) = (length / 3, length / 3 * 2);
    let reply = upload.patch(0, clip.bytes.slice(..first)).await.expect(204);
    assert_eq!(tus::offset(&reply), first as u64);

    let announced = (second - first) as u64;
    upload.patch_cut(first as u64, clip.bytes.slice(first..first + (second - first) / 2), announced).await;
    let upload = upload.reconnected();
    // The server may still be storing what came before the cut; then the offset given is behind
    // and refused with the one that holds.
    let sent = wait_until("the second piece is stored", SHORT, async || {
        let at = upload.offset().await;
        assert!(at >= first as u64 && at <= second as u64, "{at}");
        let reply = upload.patch(at, clip.bytes.slice(at as usize..second)).await;
        if reply.status == 409 { Err(reply.text()) } else { Ok(reply.expect(204)) }
    });
    assert_eq!(tus::offset(&sent.await), second as u64);

    let unfinished = upload.api.get("/api/v1/uploads").await.expect(200).json();
    let [item] = unfinished["items"].as_array().unwrap().as_slice() else { panic!("{unfinished}") };
    assert_eq!((&item["id"], &item["offset"]), (&json!(upload.id), &json!(second)), "{unfinished}");
    assert_eq!((&item["length"], &item["file_name"]), (&json!(length), &json!("marmot.mp4")), "{unfinished}");

    let reply = upload.patch(second as u64, clip.bytes.slice(second..)).await.expect(204);
    assert_eq!(tus::offset(&reply), length as u64);
}

/// The content of an upload's chunk objects, in order.
fn chunk_bytes(server: &Server, upload: &str) -> Vec<u8> {
    let files = server.files(&format!("uploads/{upload}"));
    files.iter().flat_map(|file| std::fs::read(server.data().join(file)).unwrap()).collect()
}

fn check_api(video: &Value, clip: &Clip) {
    let duration = video["duration_ms"].as_i64().unwrap();
    assert!((duration - clip.duration_ms).abs() <= 100, "{duration} ms");
    assert!(video["published_at"].is_string(), "{video}");
    let renditions = video["renditions"].as_array().unwrap();
    let mut shown: Vec<_> = renditions
        .iter()
        .map(|rendition| {
            assert_eq!(rendition["complete"], true, "{rendition}");
            assert!(rendition["bandwidth"].as_u64().unwrap() > 1000, "{rendition}");
            assert!(rendition["segments"].as_u64().unwrap() >= 2, "{rendition}");
            let codec = rendition["codecs"].as_str().unwrap().split('.').next().unwrap();
            (rendition["width"].as_u64(), rendition["height"].as_u64(), codec.to_owned())
        })
        .collect();
    shown.sort();
    let expected = [(None, None, "mp4a"), (Some(426), Some(240), "avc1"), (Some(640), Some(360), "avc1")];
    assert_eq!(shown, expected.map(|(width, height, codec)| (width, height, codec.to_owned())));
}

/// Every address that a player fetches while it plays a public video.
async fn open_media(stranger: &Api, video: &str, clip: &Clip) -> Vec<String> {
    let master = format!("/media/{video}/master.m3u8");
    let playlist = stranger.get(&master).await.expect(200);
    assert_eq!(playlist.header("cache-control"), "no-cache");
    let known = stranger.request(Method::GET, &master).header("if-none-match", playlist.header("etag"));
    assert!(stranger.send(known).await.expect(304).body.is_empty());

    let all = hls::all(stranger, &master).await;
    let pictures: Vec<_> = all.iter().filter(|(variant, _)| variant.is_video).collect();
    assert_eq!((all.len(), pictures.len()), (3, 2), "{all:?}");
    for (variant, playlist) in &all {
        let length = playlist.duration_ms();
        assert!((length - clip.duration_ms).abs() <= 100, "{length} ms: {variant:?}");
    }
    // A player can change between renditions at every segment.
    assert_eq!(pictures[0].1.lengths, pictures[1].1.lengths);
    for (variant, _) in &pictures {
        let bandwidth: u64 = hls::attribute(&variant.attributes, "BANDWIDTH").unwrap().parse().unwrap();
        let average: u64 = hls::attribute(&variant.attributes, "AVERAGE-BANDWIDTH").unwrap().parse().unwrap();
        assert!(average > 0 && bandwidth >= average, "{variant:?}");
    }

    let files: Vec<String> = all.iter().flat_map(|(_, playlist)| playlist.files()).collect();
    assert_eq!(files.iter().collect::<BTreeSet<_>>().len(), files.len(), "{files:?}");
    join_all(files.iter().map(|address| check_file(stranger, address))).await;
    let lists = all.into_iter().map(|(variant, _)| variant.address);
    std::iter::once(master).chain(lists).chain(files).collect()
}

async fn check_file(api: &Api, address: &str) {
    let whole = api.get(address).await.expect(200);
    assert_eq!(whole.header("cache-control"), "public, max-age=31536000, immutable", "{address}");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert!(matches!(whole.header("content-type"), "video/mp4" | "video/iso.segment"), "{:?}", whole.headers);
    assert_eq!(whole.header("content-length"), whole.body.len().to_string());
    // The tag is the file's name, which is the hash of its content.
    let name = address.rsplit('/').next().unwrap().split('.').next().unwrap();
    assert_eq!(whole.header("etag"), format!("\"{name}\""));

    let with = |name: &'static str, value: &str| api.request(Method::GET, address).header(name, value);
    assert!(api.send(with("if-none-match", whole.header("etag"))).await.expect(304).body.is_empty());
    let size = whole.body.len();
    for (range, part) in [("bytes=0-99", 0..100), ("bytes=100-", 100..size), ("bytes=-7", size - 7..size)] {
        let reply = api.send(with("range", range)).await.expect(206);
        assert_eq!(reply.header("content-range"), format!("bytes {}-{}/{size}", part.start, part.end - 1));
        assert_eq!(reply.body, whole.body.slice(part), "{address} {range}");
    }
    let beyond = api.send(with("range", &format!("bytes={size}-"))).await.expect_problem(416, "range", "bytes");
    assert_eq!(beyond.header("content-range"), format!("bytes */{size}"));
}

/// Each rendition, init segment and segments in a row, holds every picture and all the sound.
async fn check_renditions(server: &Server, stranger: &Api, video: &str, clip: &Clip) {
    for (n, (variant, playlist)) in
        hls::all(stranger, &format!("/media/{video}/master.m3u8")).await.into_iter().enumerate()
    {
        let mut bytes = Vec::new();
        for address in playlist.files() {
            bytes.extend_from_slice(&stranger.get(&address).await.expect(200).body);
        }
        let path = server.folder().join(format!("rendition-{n}.mp4"));
        std::fs::write(&path, bytes).unwrap();
        let stream = probe(&path).await;
        if variant.is_video {
            assert_eq!((&stream["codec_name"], &stream["pix_fmt"]), (&json!("h264"), &json!("yuv420p")));
            assert_eq!(stream["nb_read_frames"], clip.frames.to_string(), "{variant:?}");
            let size = format!("{}x{}", stream["width"], stream["height"]);
            assert_eq!(hls::attribute(&variant.attributes, "RESOLUTION"), Some(size));
        } else {
            assert_eq!(stream["codec_name"], "aac");
            let samples = stream["nb_read_frames"].as_str().unwrap().parse::<i64>().unwrap() * 1024;
            let heard = samples * 1000 / stream["sample_rate"].as_str().unwrap().parse::<i64>().unwrap();
            assert!((heard - clip.duration_ms).abs() < 150, "{heard} ms of sound");
        }
    }
}

async fn found_by(api: &Api, words: &str, expected: &[&String]) {
    wait_until(format!("a search for `{words}` finds {expected:?}"), SHORT, async || {
        let request = api.request(Method::GET, "/api/v1/search").query(&[("q", words)]);
        let results = api.send(request).await.expect(200).json();
        let found: Vec<&str> =
            results["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
        holds(found == expected.iter().map(|id| id.as_str()).collect::<Vec<_>>(), || results.to_string())
    })
    .await;
}

async fn related_to(api: &Api, video: &str, expected: &[&String]) {
    wait_until("a video is related to another", SHORT, async || {
        let related = api.ids(&format!("/api/v1/videos/{video}/related")).await;
        holds(related.iter().eq(expected.iter().copied()), || format!("{related:?}"))
    })
    .await;
}

/// To this person a private video does not exist, wherever one looks for it.
async fn is_hidden(other: &Api, video: &str, sibling: &str, poster: &str, media: &[String], watching: &Playback) {
    let about = format!("/api/v1/videos/{video}");
    for path in [&about, &format!("{about}/related"), &format!("{about}/events"), poster] {
        other.get(path).await.expect_not_found();
    }
    other.get(&format!("{about}/stats")).await.expect_not_found();
    other.patch(&about, &json!({"title": "Mine now"})).await.expect_not_found();
    other.delete(&about).await.expect_not_found();
    other.send(other.request(Method::POST, &format!("{about}/playback"))).await.expect_not_found();
    for address in media {
        other.get(address).await.expect_not_found();
    }
    for list in ["/api/v1/videos", "/api/v1/trending"] {
        assert_eq!(other.ids(list).await, [sibling], "{list}");
    }
    found_by(other, "ibexes", &[]).await;
    related_to(other, sibling, &[]).await;
    // A playback that began while it could be seen may still be reported: that tells nothing.
    let mut playback = watching.clone();
    let heartbeat = playback.watched("heartbeat", 0, 1000);
    assert_eq!(playback.report(vec![heartbeat.clone()]).await, 1);
    // Without the grant it is as unknown as the rest.
    playback.grant = None;
    playback.api = other.clone();
    playback.send(&playback.batch(vec![heartbeat])).await.expect_not_found();
}

/// Addresses of a private video's media.
struct Secret {
    master: String,
    segment: String,
}

async fn private_media(owner: &Creator, stranger: &Api, video: &str, open: &[String]) -> Secret {
    let master = format!("/media/{video}/master.m3u8");
    let reply = owner.browser.get(&master).await.expect(200);
    assert_eq!(reply.header("cache-control"), "private, no-cache");
    let all = hls::all(&owner.api, &master).await;
    let mut names = BTreeSet::new();
    for (variant, _) in &all {
        assert!(variant.address.starts_with(&format!("/media/{video}/~")), "{}", variant.address);
        // The address alone is the key: no cookie, no token.
        let playlist = hls::media(stranger, &variant.address).await;
        for address in playlist.files() {
            assert!(address.starts_with(&format!("/media/{video}/~")), "{address}");
            let reply = stranger.get(&address).await.expect(200);
            assert_eq!(reply.header("cache-control"), "private, max-age=3600, immutable");
            names.insert(address.rsplit('/').next().unwrap().to_owned());
        }
    }
    let before: BTreeSet<String> = open.iter().filter(|address| !address.ends_with(".m3u8")).cloned().collect();
    let before: BTreeSet<String> =
        before.iter().map(|address| address.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(names, before, "the files are the same as before");

    let poster = owner.api.video(video).await["poster_url"].as_str().unwrap().to_owned();
    assert!(poster.starts_with(&format!("/media/{video}/~")), "{poster}");
    stranger.get(&poster).await.expect(200);
    let (_, first) = &all[0];
    let segment = first.files().pop().unwrap();
    let token = segment.split('/').find(|part| part.starts_with('~')).unwrap();
    stranger.get(&segment.replace(token, "~forged")).await.expect_not_found();
    Secret { master: format!("/media/{video}/{token}/master.m3u8"), segment }
}
