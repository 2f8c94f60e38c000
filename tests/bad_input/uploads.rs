//! Requests that break the upload protocol, or are somebody else's.

use bytes::Bytes;
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::json;

use crate::support::{Creator, SHORT, Server, Upload, tus, wait_until};

#[tokio::test]
async fn uploads_that_break_the_protocol_are_refused() {
    let server = Server::start(&["uploads.max_size=2MiB"]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let send = async |request| ada.api.send(request).await;

    // What is refused at creation is not begun.
    let instance = server.stranger().get("/api/v1/instance").await.expect(200).json();
    assert_eq!(instance["max_upload_bytes"], 2 << 20, "{instance}");
    let options = server.stranger().send(server.stranger().request(Method::OPTIONS, "/uploads")).await.expect(204);
    assert_eq!((options.header("tus-version"), options.header("tus-max-size")), ("1.0.0", "2097152"));
    send(ada.creation("0", &[])).await.expect_problem(422, "invalid", "the file is empty");
    send(ada.creation("2097153", &[])).await.expect_problem(413, "too-large", "at most 2 MiB");
    for length in ["-1", "1e6", "9223372036854775808", "a lot"] {
        send(ada.creation(length, &[])).await.expect_problem(400, "bad-request", "upload-length");
    }
    send(ada.creation("10", &[("visibility", "secret")])).await.expect_problem(422, "invalid", "private");
    send(ada.creation("10", &[("title", &"t".repeat(121))])).await.expect_problem(422, "invalid", "title");
    let creating = || ada.api.request(Method::POST, "/uploads").header("tus-resumable", "1.0.0");
    send(creating()).await.expect_problem(400, "bad-request", "`Upload-Length` header is missing");
    let metadata = creating().header("upload-length", 10).header("upload-metadata", "title ???");
    send(metadata).await.expect_problem(400, "bad-request", "not base64");
    let deferred = creating().header("upload-defer-length", 1);
    send(deferred).await.expect_problem(400, "bad-request", "deferred lengths");
    let old = ada.api.request(Method::POST, "/uploads").header("upload-length", 10).header("tus-resumable", "0.2.2");
    let refused = send(old).await.expect_problem(412, "tus-version", "0.2.2");
    assert_eq!(refused.header("tus-version"), "1.0.0");
    ada.has_nothing().await;
    assert_eq!(server.files("uploads"), [""; 0]);

    // What is refused later leaves the upload as it was.
    let upload = Upload::create(&ada.api, 1000, &[("title", "Ten hundred bytes")]).await;
    let bytes = Bytes::from(vec![7; 1000]);
    upload.patch(1, bytes.slice(1..)).await.expect_problem(409, "wrong-offset", "0");
    let reply = upload.patch(0, bytes.slice(..400)).await.expect(204);
    assert_eq!(tus::offset(&reply), 400);
    upload.patch(0, bytes.clone()).await.expect_problem(409, "wrong-offset", "400");
    upload.patch(400, bytes.clone()).await.expect_problem(413, "more-than-announced", "600");
    let plain = upload.request(Method::PATCH).header("upload-offset", 400).header(CONTENT_TYPE, "text/plain");
    send(plain.body(bytes.clone())).await.expect_problem(415, "content-type", tus::OFFSET_BODY);
    let nowhere = upload.request(Method::PATCH).header(CONTENT_TYPE, tus::OFFSET_BODY).body(bytes.clone());
    send(nowhere).await.expect_problem(400, "bad-request", "`Upload-Offset` header is missing");
    let nowhere = upload.request(Method::PATCH).header(CONTENT_TYPE, tus::OFFSET_BODY).header("upload-offset", "x");
    send(nowhere.body(bytes.clone())).await.expect_problem(400, "bad-request", "whole number");
    let put = upload.request(Method::PUT).body(bytes.clone());
    send(put).await.expect_problem(405, "method", "");
    assert_eq!(upload.offset().await, 400);

    // A termination takes everything with it.
    send(upload.request(Method::DELETE)).await.expect(204);
    for method in [Method::HEAD, Method::DELETE] {
        assert!(matches!(send(upload.request(method)).await.status, 404 | 410));
    }
    upload.patch(400, bytes.slice(400..)).await.expect_problem(410, "upload-gone", "new upload");
    ada.has_nothing().await;
    wait_until("the chunks of the terminated upload are gone", SHORT, async || {
        let left = server.files("uploads");
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;

    // What is complete takes no more.
    let upload = Upload::create(&ada.api, 10, &[]).await;
    upload.patch(0, bytes.slice(..10)).await.expect(204);
    let more = upload.patch(10, bytes.slice(..10)).await;
    assert!(matches!(more.status, 409 | 413), "{}", more.text());
    assert_eq!(upload.offset().await, 10);
}

#[tokio::test]
async fn an_upload_is_its_owners_alone() {
    let server = Server::start(&[]).await;
    let (ada, eve) = (Creator::sign_up(&server, "ada").await, Creator::sign_up(&server, "eve").await);
    let upload = Upload::create(&ada.api, 1000, &[("title", "Mine")]).await;
    upload.patch(0, Bytes::from(vec![1; 100])).await.expect(204);

    for (other, status, slug) in
        [(&server.stranger(), 401, "sign-in-required"), (&eve.api, 404, "not-found"), (&eve.browser, 404, "not-found")]
    {
        let theirs = Upload { api: other.clone(), ..upload.clone() };
        assert_eq!(theirs.head().await.status, status);
        theirs.patch(100, Bytes::from(vec![2; 900])).await.expect_problem(status, slug, "");
        other.send(theirs.request(Method::DELETE)).await.expect_problem(status, slug, "");
    }
    server.stranger().send(tus::creation(&server.stranger(), "10", &[])).await.expect_problem(
        401,
        "sign-in-required",
        "",
    );
    server.stranger().get("/api/v1/uploads").await.expect_problem(401, "sign-in-required", "");
    eve.has_nothing().await;
    eve.api.patch(&format!("/api/v1/videos/{}", upload.video_id), &json!({"title": "Eve's"})).await.expect_not_found();
    eve.api.delete(&format!("/api/v1/videos/{}", upload.video_id)).await.expect_not_found();

    // Nor can a stranger's attempt interrupt or move it.
    assert_eq!(upload.offset().await, 100);
    upload.patch(100, Bytes::from(vec![1; 900])).await.expect(204);
    let video = ada.failed(&upload.video_id).await;
    assert_eq!(video["title"], "Mine");
}
