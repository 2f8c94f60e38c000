//! The edge: Debian's nginx with the configuration of `deploy/edge`, before the real program.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use bytes::Bytes;
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    not_run,
    support::{
        Api, Creator, Edge, LONG, Reply, SHORT, Server, Upload, Viewer, api::Credentials, clips, hls, nginx, people,
        processes::signal, sse::Events, tus, wait::holds, wait_until,
    },
};

/// A server with an edge before it; none, and a line that says so, where there is no nginx.
async fn start(settings: &[&str]) -> Option<(Server, Edge)> {
    let Some(nginx) = nginx::program() else {
        not_run("there is no nginx");
        return None;
    };
    let server = Server::start(settings).await;
    let edge = Edge::start(&nginx, &server).await;
    Some((server, edge))
}

fn cache(reply: &Reply) -> &str {
    reply.header("x-cache-status")
}

/// Requests for media that the server itself has answered with this status.
async fn at_origin(server: &Server, path: &str, status: u16) -> u64 {
    let labels = format!("{{method=\"GET\",path=\"{path}\",status=\"{status}\"}}");
    server.metric(&format!("millrace_http_requests_total{labels}")).await as u64
}

const OPEN: &str = "/media/{id}/{name}";
const SIGNED: &str = "/media/{id}/{token}/{name}";

/// The address of a segment of a video, as this person's player finds it.
async fn segment(api: &Api, video: &str) -> String {
    let all = hls::all(api, &format!("/media/{video}/master.m3u8")).await;
    all.first().and_then(|(_, playlist)| playlist.segments.first().cloned()).expect("a segment")
}

async fn set_visibility(owner: &Creator, video: &str, visibility: &str) {
    owner.api.patch(&format!("/api/v1/videos/{video}"), &json!({"visibility": visibility})).await.expect(200);
}

fn range(api: &Api, path: &str, range: &str) -> reqwest::RequestBuilder {
    api.request(Method::GET, path).header("range", range)
}

/// One copy serves everybody, whatever they say about themselves, and in parts.
#[tokio::test]
async fn one_copy_serves_everybody() {
    let Some((server, edge)) = start(&[]).await else { return };
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.publish(&clips::tiny(12).await, "Marmots").await;
    let path = segment(&server.stranger(), &video).await;
    let direct = server.stranger().get(&path).await.expect(200);
    let before = at_origin(&server, OPEN, 200).await;

    let viewer = edge.stranger();
    let first = viewer.get(&path).await.expect(200);
    assert_eq!((cache(&first), &first.body), ("MISS", &direct.body));
    let again = viewer.get(&path).await.expect(200);
    assert_eq!((cache(&again), &again.body), ("HIT", &direct.body));
    for name in ["content-type", "etag", "cache-control", "access-control-allow-origin", "x-content-type-options"] {
        assert_eq!(again.header(name), direct.header(name), "{name}");
    }

    // What a player says of itself is not part of the key, wherever it says it.
    for query in ["?CMCD=br%3D900%2Csid%3D%22a%22", "?CMCD=br%3D300%2Csid%3D%22b%22", "?cachebuster=1&x=2"] {
        assert_eq!(cache(&viewer.get(&format!("{path}{query}")).await.expect(200)), "HIT", "{query}");
    }
    let spoken =
        viewer.request(Method::GET, &path).header("cmcd-session", "sid=\"c\"").header("cmcd-request", "bl=900");
    assert_eq!(cache(&viewer.send(spoken).await.expect(200)), "HIT");
    for person in [&ada.api, &ada.browser] {
        assert_eq!(cache(&edge.for_(person).get(&path).await.expect(200)), "HIT");
    }

    // Parts are cut from the copy.
    let (size, etag) = (direct.body.len(), direct.header("etag").to_owned());
    let part = viewer.send(range(&viewer, &path, "bytes=10-29")).await.expect(206);
    assert_eq!((cache(&part), &part.body), ("HIT", &direct.body.slice(10..30)));
    assert_eq!(part.header("content-range"), format!("bytes 10-29/{size}"));
    assert_eq!(part.header("cache-control"), direct.header("cache-control"));
    let tail = viewer.send(range(&viewer, &path, "bytes=-7")).await.expect(206);
    assert_eq!(tail.body, direct.body.slice(size - 7..));
    let other = range(&viewer, &path, "bytes=0-3").header("if-range", "\"other\"");
    assert_eq!(viewer.send(other).await.expect(200).body, direct.body);
    let beyond = viewer.send(range(&viewer, &path, &format!("bytes={size}-"))).await.expect(416);
    assert_eq!(beyond.header("content-range"), format!("bytes */{size}"));
    let known = viewer.request(Method::GET, &path).header("if-none-match", &etag);
    assert!(viewer.send(known).await.expect(304).body.is_empty());
    let head = viewer.send(viewer.request(Method::HEAD, &path)).await.expect(200);
    assert_eq!((cache(&head), head.header("content-length")), ("HIT", size.to_string().as_str()));

    assert_eq!(at_origin(&server, OPEN, 200).await, before + 1, "the origin gave the file out once");

    // A part that is asked for before there is a copy: the whole is fetched, the part given.
    let init = hls::all(&server.stranger(), &format!("/media/{video}/master.m3u8")).await[0].1.init.clone();
    let whole = server.stranger().get(&init).await.expect(200).body;
    let part = viewer.send(range(&viewer, &init, "bytes=4-7")).await.expect(206);
    assert_eq!((cache(&part), &part.body), ("MISS", &whole.slice(4..8)));
    let after = viewer.get(&init).await.expect(200);
    assert_eq!((cache(&after), &after.body), ("HIT", &whole));

    what_the_log_says(&edge, &video, &path, &ada).await;
    let played = crate::support::media::play(&format!("{}/media/{video}/master.m3u8", edge.url)).await;
    assert!((11_000..=13_000).contains(&played), "{played} ms");
}

/// Every media request is in the log with what its player said, and nobody's address.
async fn what_the_log_says(edge: &Edge, video: &str, path: &str, ada: &Creator) {
    let name = path.rsplit('/').next().unwrap();
    let wanted = ["br%3D900%2Csid%3D%22a%22", "br%3D300%2Csid%3D%22b%22"];
    let lines = wait_until("the log tells of both players", SHORT, async || {
        let lines = edge.log();
        let said: Vec<_> = lines.iter().filter_map(|line| line["cmcd"].as_str()).collect();
        if wanted.iter().all(|cmcd| said.contains(cmcd)) { Ok(lines) } else { Err(format!("{lines:?}")) }
    })
    .await;
    let of = |cmcd: &str| lines.iter().find(|line| line["cmcd"] == cmcd).unwrap().clone();
    let line = of(wanted[0]);
    assert_eq!((&line["video"], &line["name"]), (&json!(video), &json!(name)), "{line}");
    assert_eq!((&line["status"], &line["cache"], &line["way"]), (&json!(200), &json!("HIT"), &json!("open")), "{line}");
    assert!(line["bytes"].as_u64().is_some_and(|bytes| bytes > 0) && line["seconds"].is_number(), "{line}");
    assert!(
        lines.iter().any(|line| line["cmcd_session"] == "sid=\"c\"" && line["cmcd_request"] == "bl=900"),
        "{lines:?}"
    );
    let Credentials::Bearer(token) = &ada.api.credentials else { panic!("a token") };
    let text = Value::from(lines).to_string();
    assert!(!text.contains("127.0.0.1") && !text.contains(token) && !text.contains("millrace_session"), "{text}");
}

/// However many ask at once for what is not there yet, the origin is asked once.
#[tokio::test]
async fn many_misses_are_one_request() {
    const MANY: usize = 32;
    let Some((server, edge)) = start(&[]).await else { return };
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.publish(&clips::tiny(12).await, "Marmots").await;
    let path = segment(&server.stranger(), &video).await;
    let expected = server.stranger().get(&path).await.expect(200).body;
    let checks = "/internal/media-access/{id}";
    let before = (at_origin(&server, OPEN, 200).await, at_origin(&server, checks, 204).await);

    // The origin is held still until all of them wait.
    signal(server.pid(), Signal::SIGSTOP);
    let asking: Vec<_> = (0..MANY)
        .map(|n| {
            let (viewer, path) = (edge.stranger(), format!("{path}?CMCD=bl%3D{n}"));
            tokio::spawn(async move { viewer.get(&path).await })
        })
        .collect();
    wait_until("all requests wait at the edge", SHORT, async || {
        let waiting = edge.under_way().await;
        holds(waiting >= MANY as u64, || format!("{waiting} wait"))
    })
    .await;
    signal(server.pid(), Signal::SIGCONT);
    let mut misses = 0;
    for reply in futures::future::join_all(asking).await {
        let reply = reply.unwrap().expect(200);
        assert_eq!(reply.body, expected);
        misses += usize::from(cache(&reply) == "MISS");
    }
    let after = (at_origin(&server, OPEN, 200).await, at_origin(&server, checks, 204).await);
    println!("{MANY} at once: {misses} miss, {} fetch, {} check", after.0 - before.0, after.1 - before.1);
    assert_eq!((misses, after.0 - before.0), (1, 1));
    // The check is held by a lock of its own; one that came too late for it finds the answer.
    assert!(after.1 - before.1 <= 2, "{} checks", after.1 - before.1);
}

/// A playlist is asked for again after a second, by its tag, and by nobody in particular.
#[tokio::test]
async fn playlists_stay_fresh() {
    let Some((server, edge)) = start(&[]).await else { return };
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.upload(&clips::wide(6).await, &[("title", "Clouds"), ("visibility", "public")]).await;
    let master = format!("/media/{video}/master.m3u8");
    // From its first rendition on, people look at the list of its renditions; and through the
    // cache as soon as the edge has heard that everybody may.
    let viewer = edge.stranger();
    let first = wait_until("there is something to play", LONG, async || {
        let reply = viewer.get(&master).await;
        if reply.status == 200 && cache(&reply) != "BYPASS" { Ok(reply) } else { Err(reply.text()) }
    })
    .await;
    assert_eq!(cache(&first), "MISS");
    assert_eq!(first.header("cache-control"), "no-cache");
    ada.ready(&video).await;
    let truth = server.stranger().get(&master).await.expect(200);
    assert_eq!(hls::multivariant(&server.stranger(), &master).await.iter().filter(|v| v.is_video).count(), 2);
    wait_until("the edge gives the list of all renditions", SHORT, async || {
        let reply = viewer.get(&master).await.expect(200);
        holds(reply.body == truth.body, || reply.text())
    })
    .await;

    let before = at_origin(&server, OPEN, 304).await;
    wait_until("the edge asks by the tag", SHORT, async || {
        let reply = viewer.get(&master).await.expect(200);
        assert_eq!(reply.body, truth.body);
        holds(cache(&reply) == "REVALIDATED", || cache(&reply).to_owned())
    })
    .await;
    assert!(at_origin(&server, OPEN, 304).await > before);
    // Cookies make no copies of their own, and it is compressed for whoever wants it so.
    wait_until("the owner finds the same copy", SHORT, async || {
        viewer.get(&master).await.expect(200);
        let reply = edge.for_(&ada.browser).get(&master).await.expect(200);
        holds(cache(&reply) == "HIT", || cache(&reply).to_owned())
    })
    .await;
    let small = viewer.send(viewer.request(Method::GET, &master).header("accept-encoding", "gzip")).await.expect(200);
    assert_eq!((small.header("content-encoding"), small.header("vary")), ("gzip", "Accept-Encoding"));
    let known = viewer.request(Method::GET, &master).header("if-none-match", truth.header("etag"));
    viewer.send(known).await.expect(304);
}

/// What is at the edge is given out while the origin is dead; for the rest it says when to come
/// again, and it goes on by itself.
#[tokio::test]
async fn viewers_go_on_while_the_origin_is_dead() {
    let Some((mut server, edge)) = start(&[]).await else { return };
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.publish(&clips::tiny(12).await, "Marmots").await;
    let viewer = edge.stranger();
    let master = format!("/media/{video}/master.m3u8");
    let all = hls::all(&viewer, &master).await;
    let playlist = &all[0].1;
    let (seen, unseen) = (playlist.segments[0].clone(), playlist.segments[1].clone());
    let body = viewer.get(&seen).await.expect(200).body;

    server.kill();
    wait_until("the playlist is older than a second", SHORT, async || {
        let reply = viewer.get(&master).await.expect(200);
        holds(cache(&reply) == "STALE", || cache(&reply).to_owned())
    })
    .await;
    hls::media(&viewer, &all[0].0.address).await;
    let reply = viewer.get(&seen).await.expect(200);
    assert_eq!((cache(&reply), &reply.body), ("HIT", &body));
    viewer.get(&unseen).await.expect_problem(503, "unavailable", "try again");
    viewer.get(&format!("/api/v1/videos/{video}")).await.expect_problem(503, "unavailable", "try again");

    server.restart().await;
    assert_eq!(cache(&viewer.get(&unseen).await.expect(200)), "MISS");
    wait_until("the playlist is fresh again", SHORT, async || {
        let reply = viewer.get(&master).await.expect(200);
        holds(cache(&reply) == "REVALIDATED", || cache(&reply).to_owned())
    })
    .await;
}

/// A private video's files lie at the edge, and only who may have them gets them.
#[tokio::test]
async fn a_cached_private_file_never_reaches_a_stranger() {
    let Some((mut server, edge)) = start(&[]).await else { return };
    let ada = Creator::sign_up(&server, "ada").await;
    let bob = Creator::sign_up(&server, "bob").await;
    let clip = clips::tiny(12).await;
    let video = ada.upload(&clip, &[("title", "Diary"), ("visibility", "private")]).await;
    let other = bob.upload(&clip, &[("title", "Notes"), ("visibility", "private")]).await;
    let public = ada.publish(&clip, "Marmots").await;
    ada.ready(&video).await;
    bob.ready(&other).await;
    let strangers = [edge.stranger(), edge.for_(&bob.api), edge.for_(&bob.browser)];

    // Her browser begins with its cookie; from there on the addresses carry the right.
    let master = format!("/media/{video}/master.m3u8");
    let reply = edge.for_(&ada.browser).get(&master).await.expect(200);
    assert_eq!((cache(&reply), reply.header("cache-control")), ("BYPASS", "private, no-cache"));
    let path = segment(&edge.for_(&ada.browser), &video).await;
    let token = path.split('/').find(|part| part.starts_with('~')).expect("a token").to_owned();
    let holder = edge.stranger();
    let first = holder.get(&path).await.expect(200);
    let again = holder.get(&path).await.expect(200);
    assert_eq!((cache(&first), cache(&again)), ("MISS", "HIT"), "there is a copy at the edge");
    assert_eq!(again.header("cache-control"), "private, max-age=3600, immutable");
    assert_eq!(again.try_header("access-control-allow-origin"), None);
    assert_eq!(again.body, first.body);

    // One copy, whoever's token, a new one included.
    let renewed = wait_until("a token of another second", SHORT, async || {
        let path = segment(&edge.for_(&ada.api), &video).await;
        if path.contains(&token) { Err(path) } else { Ok(path) }
    })
    .await;
    assert_eq!(cache(&holder.get(&renewed).await.expect(200)), "HIT");

    // Every way to the copy that does not carry the right.
    let name = path.rsplit('/').next().unwrap().to_owned();
    let others = segment(&edge.for_(&bob.browser), &other).await;
    let others_token = others.split('/').find(|part| part.starts_with('~')).unwrap().to_owned();
    let fetched = at_origin(&server, SIGNED, 200).await;
    let upper = video.to_uppercase();
    let mut tried = BTreeSet::new();
    for way in [
        format!("/media/{video}/{name}"),
        format!("/media/{video}/{name}?CMCD=bl%3D1"),
        format!("/media/{video}/~forged/{name}"),
        format!("/media/{video}/~/{name}"),
        format!("/media/{video}/{others_token}/{name}"),
        format!("/media/{video}/{}x/{name}", token),
        format!("/media/{video}//{name}"),
        format!("/media/{upper}/{name}"),
        format!("/media/{video}/%7Eforged/{name}"),
        format!("/media/{public}/%2e%2e/{video}/{name}"),
        format!("/media/{public}/..%2f{video}/{name}"),
        format!("/media/{other}/{others_token}/../../{video}/{name}"),
        format!("/media/{video}/{token}/../{name}"),
        format!("/media/{public}/{name}/../../{video}/{name}"),
        format!("/media/{video}/{name}%00"),
        format!("/_access/media/{video}/{name}"),
        format!("/internal/media-access/{video}"),
        master.clone(),
    ] {
        for stranger in &strangers {
            let reply = raw(stranger, &edge.url, &way).await;
            assert!(matches!(reply.status, 400 | 404), "{way}: {} {}", reply.status, reply.text());
            assert!(!reply.body.windows(32).any(|part| first.body.starts_with(part)), "{way}");
        }
        let reply = raw(&edge.stranger(), &edge.url, &way).await;
        assert_ne!(reply.try_header("x-cache-status"), Some("HIT"), "{way}");
        tried.insert(way);
    }
    println!("{} ways tried by {} strangers", tried.len(), strangers.len());
    edge.stranger().get(&format!("/media/{video}/{name}")).await.expect_not_found();
    assert_eq!(at_origin(&server, SIGNED, 200).await, fetched, "nobody was given anything");
    assert_eq!(cache(&holder.get(&path).await.expect(200)), "HIT");

    // With nobody to ask, nobody gets it: not the holder either.
    server.kill();
    for api in strangers.iter().chain([&holder]) {
        for way in [&path, &format!("/media/{video}/{name}")] {
            api.get(way).await.expect_problem(503, "unavailable", "try again");
        }
    }
}

/// A request whose path is sent as it is written; `reqwest` would tidy it.
async fn raw(api: &Api, edge: &str, path: &str) -> Reply {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = edge.trim_start_matches("http://");
    let who = match &api.credentials {
        Credentials::None => String::new(),
        Credentials::Bearer(token) => format!("authorization: Bearer {token}\r\n"),
        Credentials::Cookies(cookies) => format!("cookie: {cookies}\r\n"),
    };
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{who}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").expect("the end of the head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.parse().expect("a name"), value.trim().parse().expect("a value")));
    Reply {
        what: format!("GET {path}"),
        status,
        headers: headers.collect(),
        body: Bytes::from(answer.split_off(end + 4)),
    }
}

/// A video that was for everybody lies at every edge. Once it is private, its copies are for its
/// owner only, within a few seconds, and the origin's death does not bring them back.
#[tokio::test]
async fn a_video_made_private_stops_at_the_edge() {
    let Some((mut server, edge)) = start(&[]).await else { return };
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.publish(&clips::tiny(12).await, "Marmots").await;
    let viewer = edge.stranger();
    let master = format!("/media/{video}/master.m3u8");
    let path = segment(&viewer, &video).await;
    let body = viewer.get(&path).await.expect(200).body;
    assert_eq!(cache(&viewer.get(&path).await.expect(200)), "HIT");
    assert_eq!(cache(&viewer.get(&path).await.expect(200)), "HIT");

    set_visibility(&ada, &video, "private").await;
    let changed = Instant::now();
    let hers = edge.for_(&ada.browser);
    wait_until("the file is refused", SHORT, async || {
        // Her playlist holds her token. While the edge still takes the video for everybody's, it
        // must fetch none for her that others would get.
        let playlist = hers.get(&master).await;
        if playlist.status == 200 && cache(&playlist) != "BYPASS" {
            assert!(!playlist.text().contains('~'), "{} {}", cache(&playlist), playlist.text());
        }
        let reply = viewer.get(&path).await;
        holds(reply.status == 404, || format!("{} {}", reply.status, cache(&reply)))
    })
    .await;
    println!("refused {} ms after the video was made private", changed.elapsed().as_millis());
    viewer.get(&path).await.expect_not_found();
    viewer.get(&master).await.expect_not_found();
    // The copy is there still: for her.
    let reply = viewer.get(&segment(&hers, &video).await).await.expect(200);
    assert_eq!((cache(&reply), &reply.body), ("HIT", &body));
    assert_eq!(reply.header("cache-control"), "private, max-age=3600, immutable");
    assert_eq!(reply.try_header("access-control-allow-origin"), None);

    // The refusal has taken the permission's place for good: its age does not bring it back, nor
    // does the loss of everyone who could be asked. Twice as long as an answer is kept.
    server.kill();
    let killed = Instant::now();
    while killed.elapsed() < Duration::from_secs(6) {
        viewer.get(&path).await.expect_problem(503, "unavailable", "try again");
        viewer.get(&master).await.expect_problem(503, "unavailable", "try again");
    }

    server.restart().await;
    viewer.get(&path).await.expect_not_found();
    set_visibility(&ada, &video, "unlisted").await;
    let reply = wait_until("everybody gets the copy again", SHORT, async || {
        let reply = viewer.get(&path).await.expect(200);
        if cache(&reply) == "HIT" { Ok(reply) } else { Err(cache(&reply).to_owned()) }
    })
    .await;
    assert_eq!((reply.header("cache-control"), &reply.body), ("public, max-age=31536000, immutable", &body));
}

/// Uploads, telemetry, live events and the API work through the edge as they do without it.
#[tokio::test]
async fn everything_else_passes() {
    let Some((server, edge)) = start(&[]).await else { return };
    let ada = Creator::sign_up(&server, "ada").await;
    let (api, browser) = (edge.for_(&ada.api), edge.for_(&ada.browser));

    // Bytes reach the role as they are sent: those before a break are kept, save what is in nginx's
    // buffer at that moment.
    let clip = clips::large().await;
    let upload = Upload::create(&api, clip.bytes.len() as u64, &[("title", "Marmots"), ("visibility", "public")]).await;
    let (sent, announced) = (3 << 20, clip.bytes.len() as u64);
    upload.patch_cut(0, clip.bytes.slice(..sent), announced).await;
    let at = wait_until("the bytes before the break are durable", SHORT, async || {
        let reply = upload.head().await;
        if reply.status != 200 {
            return Err(reply.text());
        }
        let at = tus::offset(&reply) as usize;
        if (sent - (64 << 10)..=sent).contains(&at) { Ok(at) } else { Err(format!("{at} of {sent}")) }
    })
    .await;
    upload.patch(at as u64, clip.bytes.slice(at..)).await.expect(204);
    let video = upload.video_id.clone();

    let mut events = Events::open(&browser, &video).await;
    events
        .until("the video is ready", LONG, |event| event.name == "state" && event.data["playback_state"] == "ready")
        .await;
    let mut viewer = Viewer::new(&server);
    viewer.api = edge.stranger();
    let mut playback = viewer.open(&video, 60).await;
    let heartbeats = playback.watch_to(12_000);
    assert_eq!(playback.report(heartbeats).await, 4);
    events.until("the view is told", LONG, |event| event.name == "counters" && event.data["views"] == 1).await;

    // Pages of this site may act for the person who is signed in, and others may not.
    let from = |origin: &str| {
        browser.request(Method::POST, "/api/v1/tokens").header("origin", origin).json(&json!({"label": "x"}))
    };
    browser.send(from(&edge.url)).await.expect(201);
    browser.send(from("http://elsewhere.example")).await.expect_problem(403, "forbidden", "another site");

    for inside in ["/metrics", "/readyz", "/internal/media-access/x", "/api/v1/operator/dead-letters/videos"] {
        api.get(inside).await.expect(404);
    }
    assert_eq!(edge.stranger().get("/api/v1/instance").await.expect(200).json()["name"], "Millrace");
}

/// The role knows who asks by what the edge adds, and not by what a client claims.
#[tokio::test]
async fn addresses_are_those_that_the_edge_saw() {
    let settings = ["trusted_proxies=[\"127.0.0.1/32\"]", "accounts.sign_ups_an_hour=2"];
    let Some((_server, edge)) = start(&settings).await else { return };
    let sign_up = async |from: &str, claim: &str, login: &str| {
        let from: IpAddr = from.parse().unwrap();
        let client = reqwest::Client::builder().no_proxy().local_address(from).build().unwrap();
        let request = client.post(format!("{}/api/v1/accounts", edge.url)).header("x-forwarded-for", claim);
        request.json(&people::form(login)).send().await.unwrap().status().as_u16()
    };
    assert_eq!(sign_up("127.0.0.2", "203.0.113.1", "ada").await, 201);
    assert_eq!(sign_up("127.0.0.2", "203.0.113.2", "bob").await, 201);
    assert_eq!(sign_up("127.0.0.2", "203.0.113.3", "cem").await, 429, "another claim makes nobody another");
    assert_eq!(sign_up("127.0.0.3", "203.0.113.1", "dia").await, 201, "another address does");
}
