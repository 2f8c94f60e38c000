//! An S3 server over a directory, for tests only.
//!
//! It speaks HTTP and checks signatures (crates.io's `s3s` does both); what it stores is found
//! again by the next server over the same directory, also when this one is killed. It keeps what
//! the program relies on: a conditional write that one of any number of writers wins, listings in
//! the order of the keys, parts of at least 5 MiB, deletes of absent objects that succeed.
//!
//! It can be told to do a write and lose the reply, and to have no conditional writes, as some
//! servers have none.

mod blob;
mod service;
mod store;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::{Method, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use s3s::{
    Body, HttpError, HttpResponse,
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{service::Service, store::Store};

/// The access key, unless another is chosen.
pub const ACCESS_KEY: &str = "test-access-key";
/// The secret key, unless another is chosen.
pub const SECRET_KEY: &str = "test-secret-key";

/// What the server does with a condition on a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conditions {
    /// It keeps it.
    #[default]
    Kept,
    /// It writes regardless, as servers do that do not know the header.
    Ignored,
    /// It answers that it has none.
    Refused,
}

/// What becomes of a write's reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The write is done, then the connection breaks.
    Lost,
    /// The write is done, then the answer is 500.
    Error,
}

/// What a server is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 for any that is free.
    pub listen: SocketAddr,
    /// Where it stores things; made if absent.
    pub directory: PathBuf,
    /// Buckets to have besides those already there.
    pub buckets: Vec<String>,
    /// Whose signatures it accepts.
    pub access_key: String,
    /// The secret of that key.
    pub secret_key: String,
    /// What it does with a condition on a write.
    pub conditions: Conditions,
}

impl Options {
    /// A server on a free port of this machine, over `directory`, with one bucket.
    pub fn new(directory: impl Into<PathBuf>, bucket: &str) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            directory: directory.into(),
            buckets: vec![bucket.to_owned()],
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            conditions: Conditions::Kept,
        }
    }
}

/// A running server. Dropping it breaks its connections; [`Self::stop`] also waits for what it was
/// doing, which has to be before another starts over the same directory.
#[derive(Debug)]
pub struct S3Server {
    options: Options,
    store: Arc<Store>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    stop: CancellationToken,
    running: TaskTracker,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl S3Server {
    /// Starts a server. It serves when this returns.
    ///
    /// # Errors
    /// The address is taken, or the directory can't be used.
    pub async fn start(mut options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        options.listen = listener.local_addr()?;
        let (directory, buckets) = (options.directory.clone(), options.buckets.clone());
        let store = tokio::task::spawn_blocking(move || Store::open(&directory, &buckets)).await??;
        let store = Arc::new(store);
        let (stop, running, replies) = (CancellationToken::new(), TaskTracker::new(), Arc::default());
        let service = Service { store: Arc::clone(&store), conditions: options.conditions, running: running.clone() };
        let mut builder = S3ServiceBuilder::new(service);
        builder.set_auth(SimpleAuth::from_single(options.access_key.as_str(), options.secret_key.as_str()));
        running.spawn(accept(listener, builder.build(), Arc::clone(&replies), stop.clone()));
        Ok(Self { options, store, replies, stop, running })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.options.listen
    }

    /// Its address as clients are told it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.options.listen)
    }

    /// The directory it is over.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.options.directory
    }

    /// What becomes of the replies to the next writes, in addition to those told before.
    pub fn reply_to_writes(&self, replies: impl IntoIterator<Item = Reply>) {
        self.replies.lock().extend(replies);
    }

    /// How many uploads in parts are neither complete nor aborted.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn unfinished_uploads(&self) -> io::Result<usize> {
        self.store.unfinished()
    }

    /// Stops it: no connection is left, no write is under way. The options start it anew at the
    /// same address over the same objects.
    pub async fn stop(self) -> Options {
        self.stop.cancel();
        self.running.close();
        self.running.wait().await;
        self.options.clone()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    service: S3Service,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        // What failed is the one connection, or there are too many of them for the moment.
        let Ok((socket, _)) = accepted else { continue };
        let (service, replies) = (service.clone(), Arc::clone(&replies));
        connections.spawn(async move {
            let handler = service_fn(move |request| answer(service.clone(), request, Arc::clone(&replies)));
            // A broken connection is the client's to notice.
            drop(http1::Builder::new().serve_connection(TokioIo::new(socket), handler).await);
        });
    }
    drop(listener);
    connections.shutdown().await;
}

async fn answer(
    service: S3Service,
    request: hyper::Request<Incoming>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
) -> Result<HttpResponse, HttpError> {
    let is_write = matches!(*request.method(), Method::PUT | Method::POST | Method::DELETE);
    let response = service.call(request.map(Body::from)).await?;
    // What was refused stays refused.
    let reply = if is_write && response.status().is_success() { replies.lock().pop_front() } else { None };
    match reply {
        None => Ok(response),
        Some(Reply::Lost) => Err(HttpError::new("the reply is lost, as the test wants it".into())),
        Some(Reply::Error) => {
            let mut response = HttpResponse::new(Body::empty());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Ok(response)
        }
    }
}
