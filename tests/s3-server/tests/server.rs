//! The server as its clients see it, and after it was killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path as FsPath,
    process::{Child, Command, Stdio},
    time::Duration,
};

use object_store::{
    Attribute, Attributes, Error, ObjectStore as _, ObjectStoreExt, PutOptions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut, S3CopyIfNotExists},
    integration,
    path::Path,
};
use s3_server::{ACCESS_KEY, Options, Reply, S3Server, SECRET_KEY};

fn client(address: SocketAddr) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_endpoint(format!("http://{address}"))
        .with_allow_http(true)
        .with_bucket_name("bucket")
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_copy_if_not_exists(S3CopyIfNotExists::Multipart)
}

async fn served() -> (tempfile::TempDir, S3Server, AmazonS3) {
    let dir = tempfile::tempdir().unwrap();
    let server = S3Server::start(Options::new(dir.path(), "bucket")).await.unwrap();
    let client = client(server.address()).build().unwrap();
    (dir, server, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_librarys_own_suite_passes() {
    // Each part leaves objects behind, so each gets a server of its own.
    macro_rules! passes {
        ($($part:ident($($more:expr),*)),+ $(,)?) => {$({
            let (_dir, _server, client) = served().await;
            integration::$part(&client, $($more),*).await;
        })+};
    }
    passes!(
        put_get_delete_list(),
        get_opts(),
        put_opts(true),
        put_get_attributes(),
        stream_get(),
        list_uses_directories_correctly(),
        list_with_delimiter(),
        list_with_offset_exclusivity(),
        rename_and_copy(),
        copy_if_not_exists(),
        copy_rename_nonexistent_object(),
        multipart_race_condition(true),
        multipart_out_of_order(),
    );
    let (_dir, _server, client) = served().await;
    integration::multipart(&client, &client).await;
    let (_dir, _server, client) = served().await;
    integration::list_paginated(&client, &client).await;
}

#[tokio::test]
async fn strangers_are_refused() {
    let (_dir, server, _) = served().await;
    let at = Path::from("a");
    let wrong_secret = client(server.address()).with_secret_access_key("another").build().unwrap();
    let error = wrong_secret.put(&at, "x".into()).await.unwrap_err();
    assert!(error.to_string().contains("SignatureDoesNotMatch"), "{error}");
    let unknown = client(server.address()).with_access_key_id("another").build().unwrap();
    assert!(unknown.put(&at, "x".into()).await.is_err());
    let unsigned = client(server.address()).with_skip_signature(true).build().unwrap();
    assert!(matches!(unsigned.put(&at, "x".into()).await, Err(Error::PermissionDenied { .. })));
    let elsewhere = client(server.address()).with_bucket_name("other").build().unwrap();
    let error = elsewhere.put(&at, "x".into()).await.unwrap_err();
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
}

#[tokio::test]
async fn a_reply_is_lost_after_the_write_was_done() {
    let (_dir, server, _) = served().await;
    let once = RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, ..Default::default() };
    let client = client(server.address()).with_retry(once).build().unwrap();
    server.reply_to_writes([Reply::Lost, Reply::Error]);
    for name in ["lost", "error"] {
        let at = Path::from(name);
        assert!(client.put(&at, name.into()).await.is_err());
        assert_eq!(client.get(&at).await.unwrap().bytes().await.unwrap(), name);
    }
    client.put(&Path::from("done"), "x".into()).await.unwrap();
}

struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(directory: &FsPath, listen: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_s3-server"))
            .args(["--bucket", "bucket", "--listen", listen, "--directory"])
            .arg(directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_killed_server_has_everything_when_it_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Process::start(dir.path(), "127.0.0.1:0");
    let store = client(first.address).build().unwrap();
    let attributes = Attributes::from_iter([(Attribute::ContentType, "video/mp4")]);
    let opts = PutOptions { attributes, ..PutOptions::default() };
    let etag = store.put_opts(&Path::from("a/b"), "contents".into(), opts).await.unwrap().e_tag;
    store.put(&Path::from("gone"), "x".into()).await.unwrap();
    store.delete(&Path::from("gone")).await.unwrap();
    let mut upload = store.put_multipart(&Path::from("parts")).await.unwrap();
    upload.put_part(vec![7; 5 << 20].into()).await.unwrap();
    first.kill();
    assert!(store.head(&Path::from("a/b")).await.is_err(), "it still serves");

    let _second = Process::start(dir.path(), &first.address.to_string());
    let found = store.get(&Path::from("a/b")).await.unwrap();
    assert_eq!(
        (found.meta.e_tag.clone(), found.attributes.get(&Attribute::ContentType).unwrap().as_ref()),
        (etag, "video/mp4")
    );
    assert_eq!(found.bytes().await.unwrap(), "contents");
    assert!(matches!(store.head(&Path::from("gone")).await, Err(Error::NotFound { .. })));
    upload.put_part("end".into()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(store.head(&Path::from("parts")).await.unwrap().size, (5 << 20) + 3);
}
