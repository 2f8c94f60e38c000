//! Addresses that lead nowhere, or would lead out of where they belong.

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Creator, Server, Viewer, clips, hls};

/// Sends a request target as it is, which an HTTP library would tidy up first; returns status
/// line, headers and body.
async fn raw(server: &Server, target: &str) -> String {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn unknown_addresses_are_told_apart_from_nothing_else() {
    let clip = clips::tiny(3).await;
    let server = Server::start(&[]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.publish(&clip, "Known").await;
    let unknown = "0193a6f0-5f6c-7d3e-9c41-6f2b8a9d0e11";

    for api in [&server.stranger(), &ada.api] {
        for id in [unknown, "1", "none", "%00", "..%2f..%2fcatalog.db", &format!("{video}0")] {
            let about = format!("/api/v1/videos/{id}");
            for path in [&about, &format!("{about}/related"), &format!("{about}/events"), &format!("{about}/stats")] {
                api.get(path).await.expect_not_found();
            }
            api.patch(&about, &json!({"title": "x"})).await.expect_not_found();
            api.delete(&about).await.expect_not_found();
            api.send(api.request(Method::POST, &format!("{about}/playback"))).await.expect_not_found();
            api.get(&format!("/media/{id}/master.m3u8")).await.expect_not_found();
            api.get(&format!("/media/{id}/~x/master.m3u8")).await.expect_not_found();
        }
        for name in ["1080p.m3u8", "audio0.m4s", "master.mpd", "0000.m4s", "..%2fLOCK", "%2e%2e", "x%00.m4s"] {
            api.get(&format!("/media/{video}/{name}")).await.expect_not_found();
        }
        api.get(&format!("/media/{video}/not-a-token/master.m3u8")).await.expect_not_found();
        for path in ["/api/v1/nothing", "/api/v2/videos", "/media/", "/uploads/x/y", "/api/"] {
            let reply = api.get(path).await;
            assert_eq!(reply.status, 404, "{path}: {}", reply.text());
            assert_eq!(reply.header("content-type"), "application/problem+json", "{path}");
        }
    }
    for path in [format!("/uploads/{unknown}"), "/uploads/1".to_owned(), "/uploads/..%2f..%2fLOCK".to_owned()] {
        let head = ada.api.request(Method::HEAD, &path).header("tus-resumable", "1.0.0");
        assert_eq!(ada.api.send(head).await.status, 404, "{path}");
        let terminate = ada.api.request(Method::DELETE, &path).header("tus-resumable", "1.0.0");
        ada.api.send(terminate).await.expect_not_found();
    }
    ada.api.delete(&format!("/api/v1/tokens/{unknown}")).await.expect_not_found();
    ada.api.delete("/api/v1/tokens/1").await.expect_not_found();

    // A file of one video is no file of another.
    let other = ada.publish(&clips::tiny(6).await, "Other").await;
    for (_, playlist) in hls::all(&ada.api, &format!("/media/{video}/master.m3u8")).await {
        let theirs = playlist.segments[0].replace(&video, &other);
        ada.api.get(&theirs).await.expect_not_found();
    }

    // Lists say what they can't do.
    for (path, part) in [
        ("/api/v1/videos?limit=0", "limit"),
        ("/api/v1/videos?limit=101", "limit"),
        ("/api/v1/videos?cursor=x", "cursor"),
        ("/api/v1/search?q=a&cursor=x", "cursor"),
        ("/api/v1/trending?limit=0", "limit"),
        (&format!("/api/v1/search?q={}", "q".repeat(501)), "q"),
        (&format!("/api/v1/videos/{video}/related?limit=0"), "limit"),
    ] {
        server.stranger().get(path).await.expect_problem(422, "invalid", part);
    }
    ada.api.get(&format!("/api/v1/videos/{video}/stats?hours=0")).await.expect_problem(422, "invalid", "hours");
    let reply = server.stranger().get("/api/v1/videos?limit=many").await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(reply.header("content-type"), "application/problem+json");

    // An edit is whole or not at all.
    let about = format!("/api/v1/videos/{video}");
    for (edit, part) in [
        (json!({"title": ""}), "title"),
        (json!({"title": "t".repeat(121)}), "title"),
        (json!({"title": "New", "description": "d".repeat(5001)}), "description"),
        (json!({"title": "New", "tags": vec!["t"; 21]}), "tags"),
        (json!({"title": "New", "tags": ["t".repeat(41)]}), "tags"),
    ] {
        ada.api.patch(&about, &edit).await.expect_problem(422, "invalid", part);
    }
    for edit in [json!({"title": "New", "colour": "red"}), json!({"visibility": "secret"}), json!([1])] {
        let reply = ada.api.patch(&about, &edit).await;
        assert!(matches!(reply.status, 400 | 422), "{edit}: {}", reply.text());
        assert_eq!(reply.header("content-type"), "application/problem+json");
    }
    assert_eq!(ada.api.video(&video).await["title"], "Known");
    let viewer = Viewer::new(&server);
    viewer.api.patch(&about, &json!({"title": "New"})).await.expect_problem(401, "sign-in-required", "");
    let eve = Creator::sign_up(&server, "eve").await;
    eve.api.patch(&about, &json!({"title": "New"})).await.expect_problem(403, "forbidden", "somebody else");
    eve.api.delete(&about).await.expect_problem(403, "forbidden", "somebody else");
}

#[tokio::test]
async fn no_address_leads_out_of_the_media() {
    let server = Server::start(&[]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let video = ada.publish(&clips::tiny(3).await, "Known").await;
    let secret = std::fs::read_to_string(server.data().join("secrets/operator.token")).unwrap();

    for place in ["secrets/operator.token", "LOCK", "catalog.db", "etc/passwd"] {
        let encoded = place.replace('/', "%2f");
        for target in [
            format!("/media/{video}/../../{place}"),
            format!("/media/{video}/..%2f..%2f{encoded}"),
            format!("/media/{video}/%2e%2e/%2e%2e/{place}"),
            format!("/media/..%2f..%2f{encoded}/master.m3u8"),
            format!("/media/{video}/~x/..%2f..%2f{encoded}"),
            format!("/media/{video}/..\\..\\{place}"),
            format!("/../{place}"),
            format!("/..%2f{encoded}"),
            format!("/assets/..%2f..%2f..%2f{encoded}"),
            format!("//{place}"),
        ] {
            let answer = raw(&server, &target).await;
            let status = answer.split(' ').nth(1).unwrap_or_default();
            // The web app answers for addresses that it may know; it holds nothing else.
            let is_app = answer.to_ascii_lowercase().contains("content-type: text/html");
            assert!(matches!(status, "400" | "404") || (status == "200" && is_app), "{target}: {answer}");
            assert!(!answer.contains(secret.trim()), "{target}");
            assert!(!answer.contains("root:x:0") && !answer.contains("SQLite format"), "{target}");
            assert!(!answer.contains(&server.data().display().to_string()), "{target}: {answer}");
        }
    }
}
