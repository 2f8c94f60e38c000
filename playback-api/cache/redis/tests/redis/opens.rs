//! What is said at the start when a Redis can't be used.

use std::process::Command;

use bytes::Bytes;
use event_schemas::{Faulty as _, OffsetVector};
use serving_store::ServingStore as _;
use serving_store_redis::{OpenError, Options, RedisStore};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::server::{Server, fresh, not_run};

async fn refused(url: &str, options: &Options) -> OpenError {
    let error = RedisStore::open(url, options).await.map(|_| ()).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("hush"), "shows the password: {text}");
    error
}

#[tokio::test]
async fn nobody_there() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = refused(&format!("redis://:hush@127.0.0.1:{port}"), &fresh()).await;
    assert!(matches!(&error, OpenError::Unreachable { server, .. } if server.ends_with(&port.to_string())), "{error}");
    assert!(error.is_retryable());
    let error = refused("redis://127.0.0.1", &Options { prefix: "m*".into(), ..fresh() }).await;
    assert!(matches!(error, OpenError::Prefix(_)));
}

#[tokio::test]
async fn user_or_password_are_wrong() {
    let Some(server) = Server::with(&["--requirepass", "hush1"]) else { return };
    for user in ["", "user@", ":hush2@", "default:hush2@", "nobody:hush1@"] {
        let error = refused(&format!("redis://{user}127.0.0.1:{}", server.port), &fresh()).await;
        assert!(matches!(error, OpenError::Credentials { .. }), "{user}: {error}");
    }
    let url = format!("redis://:hush1@127.0.0.1:{}", server.port);
    RedisStore::open(&url, &fresh()).await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn the_user_may_not() {
    let Some(server) = Server::start() else { return };
    let mut raw = server.raw().await;
    let options = fresh();
    let url = format!("redis://app:hush@127.0.0.1:{}", server.port);
    let mut grant = async |rules: &str| {
        let mut set = redis::cmd("ACL");
        set.arg("SETUSER").arg("app").arg("reset").arg("on").arg(">hush").arg(rules.split(' ').collect::<Vec<_>>());
        set.exec_async(&mut raw).await.unwrap();
    };
    grant("~* +@all").await;
    let error = refused(&url, &options).await;
    assert!(matches!(error, OpenError::Permission { .. }), "no channels: {error}");
    grant("&* ~other:* +@all").await;
    let error = refused(&url, &options).await;
    assert!(matches!(error, OpenError::Permission { .. }), "other keys: {error}");
    // What the error says to grant is enough for everything.
    let text = error.to_string();
    let rules = text.split("ACL SETUSER <user> ").nth(1).unwrap();
    grant(rules).await;
    let store = RedisStore::open(&url, &options).await.unwrap();
    store.put("k", Bytes::from("v"), OffsetVector::default()).await.unwrap();
    store.rank_replace("r", vec![("a".into(), 1.0)], OffsetVector::default()).await.unwrap();
    store.rank_remove("r", "a").await.unwrap();
    drop(store.subscribe("c").await.unwrap());
    assert_eq!(store.get("k").await.unwrap().unwrap().value, "v");
    store.delete("k").await.unwrap();
    assert_eq!(store.clear().await.unwrap(), 1);
}

#[tokio::test]
async fn there_is_no_such_database() {
    let Some(server) = Server::with(&["--databases", "2"]) else { return };
    let error = refused(&format!("{}/2", server.url()), &fresh()).await;
    assert!(matches!(error, OpenError::Database { database: 2, .. }), "{error}");
}

#[tokio::test]
async fn replicas_and_clusters_will_not_do() {
    let Some(server) = Server::with(&["--replicaof", "127.0.0.1 1"]) else { return };
    let error = refused(&server.url(), &fresh()).await;
    assert!(matches!(error, OpenError::Replica { .. }), "{error}");
    let Some(server) = Server::with(&["--cluster-enabled", "yes"]) else { return };
    let error = refused(&server.url(), &fresh()).await;
    assert!(matches!(error, OpenError::Cluster { .. }), "{error}");
}

#[tokio::test]
async fn an_old_server_is_told_to_be_upgraded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        while client.read(&mut buffer).await.unwrap_or(0) > 0 {
            // What version 5 says to each command of the greeting.
            let reply = "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n";
            let _ = client.write_all(reply.repeat(3).as_bytes()).await;
        }
    });
    let error = refused(&format!("redis://127.0.0.1:{port}"), &fresh()).await;
    assert!(matches!(error, OpenError::TooOld { .. }), "{error}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_silent_server_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = refused(&format!("redis://127.0.0.1:{}", listener.local_addr().unwrap().port()), &fresh()).await;
    assert!(matches!(error, OpenError::Silent { .. }), "{error}");
}

#[tokio::test]
async fn tls_takes_only_the_named_authority() {
    let files = tempfile::TempDir::new().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &path("key.pem"), "-out", &path("cert.pem")])
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        return not_run("no openssl to make a certificate");
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let arguments =
        ["--tls-port", &port.to_string(), "--tls-cert-file", &path("cert.pem"), "--tls-key-file", &path("key.pem")];
    let Some(server) = Server::with(&[&arguments[..], &["--tls-auth-clients", "no"]].concat()) else { return };
    let url = format!("rediss://localhost:{port}");
    let error = refused(&url, &fresh()).await;
    assert!(matches!(error, OpenError::Unreachable { .. } | OpenError::Silent { .. }), "{error}");
    let authority = Some(std::fs::read(path("cert.pem")).unwrap());
    let store = RedisStore::open(&url, &Options { authority, ..fresh() }).await.unwrap();
    store.check().await.unwrap();
    drop(store.subscribe("c").await.unwrap());
    // A port that expects TLS is not spoken to without it.
    let error = refused(&format!("redis://localhost:{port}"), &fresh()).await;
    assert!(error.is_retryable(), "{error}");
    drop(server);
}
