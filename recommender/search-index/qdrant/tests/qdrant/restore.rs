//! Restoring a snapshot goes by the server's HTTP interface, which the client library lacks.

use std::sync::Arc;

use parking_lot::Mutex;
use search_index::{Change, SearchError, SearchIndex, conformance::document};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{fake::Fake, found, open};

/// Answers one HTTP request after doing `work` with it.
async fn answer_one(listener: TcpListener, status: &'static str, work: impl FnOnce(&str) + Send + 'static) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.unwrap();
        request.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&request);
        let length = text.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= length.unwrap_or(0_usize)
        {
            let _ = head;
            break;
        }
    }
    work(&String::from_utf8_lossy(&request));
    let body = r#"{"status":{"error":"told why"}}"#;
    let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(reply.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_is_restored_beside_the_index_and_takes_its_place() {
    let fake = Fake::start().await;
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = http.local_addr().unwrap().port();
    fake.state.lock().key = Some("key".into());
    let url = format!("{}&rest_port={port}", fake.url("videos").replace("qdrant://", "qdrant://:key@"));
    let index = open(&url, vec![]).await;
    index.apply(vec![Change::Upsert(document("snapped"))], None).await.unwrap();
    let snapshot = index.create_snapshot().await.unwrap();
    assert_eq!(index.list_snapshots().await.unwrap(), std::slice::from_ref(&snapshot));
    let expected = format!("http://127.0.0.1:{port}/collections/videos.1/snapshots/{}", snapshot.name);
    assert_eq!((snapshot.location.as_str(), snapshot.bytes), (expected.as_str(), 7));

    let asked = Arc::new(Mutex::new(String::new()));
    let (state, heard) = (Arc::clone(&fake.state), Arc::clone(&asked));
    let answering = tokio::spawn(answer_one(http, "200 OK", move |request| {
        request.clone_into(&mut heard.lock());
        let name = request.split('/').nth(2).unwrap().to_owned();
        // What the snapshot holds comes to be under the new name.
        let mut state = state.lock();
        let collection = state.collections.remove("videos.1").unwrap();
        state.collections.insert(name, collection);
        let creation = state.collections.values().next().unwrap().creation.clone();
        state.collections.insert("videos.1".into(), crate::fake::Collection { creation, ..Default::default() });
    }));
    index.restore_snapshot(&snapshot.location).await.unwrap();
    answering.await.unwrap();
    let asked = asked.lock().clone();
    assert!(asked.starts_with("PUT /collections/videos.") && asked.contains("/snapshots/recover HTTP/1.1"), "{asked}");
    assert!(asked.contains("api-key: key") && asked.contains(r#""api_key":"key""#), "{asked}");
    assert!(asked.contains(&format!("\"location\":\"{expected}\"")), "{asked}");
    assert_eq!(found(&index, "snapped").await, 1);
    let state = fake.state.lock();
    assert!(state.collections.len() == 1 && !state.collections.contains_key("videos.1"));
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_restored_leaves_the_index() {
    let fake = Fake::start().await;
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = http.local_addr().unwrap().port();
    let index = open(&format!("{}&rest_port={port}", fake.url("videos")), vec![]).await;
    index.apply(vec![Change::Upsert(document("unharmed"))], None).await.unwrap();
    let elsewhere: url::Url = "https://elsewhere.example/some.snapshot".parse().unwrap();
    let answering = tokio::spawn(answer_one(http, "400 Bad Request", |request| {
        assert!(!request.contains("api"), "no key goes elsewhere: {request}");
    }));
    let error = index.restore_snapshot(&elsewhere).await.unwrap_err();
    answering.await.unwrap();
    assert!(matches!(&error, SearchError::Refused { problem, .. } if problem.contains("told why")), "{error}");
    let error = index.restore_snapshot(&elsewhere).await.unwrap_err();
    assert!(matches!(error, SearchError::Unavailable(_)), "nobody listens: {error}");
    assert_eq!(found(&index, "unharmed").await, 1);
    assert_eq!(fake.state.lock().collections.len(), 1);
}
