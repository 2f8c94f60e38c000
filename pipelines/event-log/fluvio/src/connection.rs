//! Requests to the servers of a cluster, one at a time on each connection.
//!
//! A broker answers the requests of one connection in turn, and an append is answered only when
//! all replicas have it: requests that share a connection would wait for each other. So a request
//! takes an idle connection or opens one, and gives it back after an orderly answer. After an
//! error, a time-out or a caller that went away the connection is dropped. An address that could
//! not be reached is left alone for a while, which doubles up to a limit.

use std::{collections::HashMap, io, time::Duration};

use bytes::Bytes;
use fluvio_protocol::{
    Decoder,
    api::{Request, RequestMessage},
    link::versions::ApiVersionsRequest,
    record::{RawRecords, RecordSet},
};
use fluvio_socket::{ClientConfig, Versions};
use fluvio_spu_schema::server::{
    stream_fetch::{DefaultStreamFetchRequest, StreamFetchResponse},
    update_offset::{OffsetUpdate, UpdateOffsetsRequest},
};
use metrics::counter;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::wire::Wire;

/// An idle connection older than this is not used again: the other side may have gone.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_PER_TARGET: usize = 16;
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// A server of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// `host:port`.
    pub address: String,
    /// The broker's name, which certificates are checked for; none for the controller.
    pub broker: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(crate) enum CallError {
    /// The request never left.
    NotSent(String),
    /// It may have arrived.
    NoAnswer(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(why) | Self::NoAnswer(why) => f.write_str(why),
        }
    }
}

struct Connection {
    wire: Wire,
    versions: Versions,
    correlation: i32,
    used: Instant,
}

impl Connection {
    async fn open(config: &ClientConfig) -> io::Result<Self> {
        let mut wire = Wire::connect(config).await?;
        let hello = ApiVersionsRequest {
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            client_os: std::env::consts::OS.to_owned(),
            client_arch: std::env::consts::ARCH.to_owned(),
        };
        let hello = RequestMessage::new_request(hello);
        let version = hello.header.api_version();
        wire.send(&hello).await?;
        let versions = Versions::new(decode::<ApiVersionsRequest>(wire.next().await?.1, version)?);
        Ok(Self { wire, versions, correlation: 0, used: Instant::now() })
    }

    async fn exchange<R: Request>(&mut self, message: &RequestMessage<R>) -> io::Result<R::Response> {
        self.wire.send(message).await?;
        let (correlation, answer) = self.wire.next().await?;
        if correlation != message.header.correlation_id() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the server answered another request"));
        }
        decode::<R>(answer, message.header.api_version())
    }

    fn message<R: Request>(
        &mut self,
        build: impl FnOnce(i16) -> Result<R, String>,
    ) -> Result<RequestMessage<R>, CallError> {
        let version = self.versions.lookup_version::<R>().ok_or_else(|| {
            let platform = self.versions.platform_version();
            let why = format!(
                "the server (platform {platform}) does not know request {}: use Fluvio 0.18 or newer",
                R::API_KEY
            );
            CallError::NotSent(why)
        })?;
        let mut message = RequestMessage::new_request(build(version).map_err(CallError::NotSent)?);
        self.correlation = self.correlation.wrapping_add(1);
        message.header.set_client_id("millrace").set_api_version(version).set_correlation_id(self.correlation);
        Ok(message)
    }
}

fn decode<R: Request>(mut answer: Bytes, version: i16) -> io::Result<R::Response> {
    R::Response::decode_from(&mut answer, version)
}

/// What is known of an address.
#[derive(Default)]
struct Known {
    idle: Vec<Connection>,
    /// Since it could not be reached: when to try again, how long to wait after that, and why.
    refused: Option<(Instant, Duration, String)>,
}

/// The connections to a cluster.
pub(crate) struct Pool {
    config: ClientConfig,
    timeout: Duration,
    known: Mutex<HashMap<Target, Known>>,
}

impl Pool {
    /// Connections made by `config`; each call takes at most `timeout`.
    pub fn new(config: ClientConfig, timeout: Duration) -> Self {
        Self { config, timeout, known: Mutex::default() }
    }

    /// Sends a request and waits for its answer.
    pub async fn call<R: Request>(&self, target: &Target, request: R) -> Result<R::Response, CallError> {
        self.call_built(target, self.timeout, |_| Ok(request)).await
    }

    /// The same within another time, for a request whose form depends on the server's version.
    pub async fn call_built<R: Request>(
        &self,
        target: &Target,
        limit: Duration,
        build: impl FnOnce(i16) -> Result<R, String>,
    ) -> Result<R::Response, CallError> {
        let deadline = Instant::now() + limit;
        let mut connection = match self.idle(target) {
            Some(connection) => connection,
            None => self.connect(target, deadline).await?,
        };
        let message = connection.message(build)?;
        match tokio::time::timeout_at(deadline, connection.exchange(&message)).await {
            Ok(Ok(answer)) => {
                connection.used = Instant::now();
                self.give_back(target, connection);
                Ok(answer)
            }
            failed => {
                // What else is idle is as old: it would fail the same way.
                self.known.lock().entry(target.clone()).or_default().idle.clear();
                counter!("millrace_log_broken_connections_total").increment(1);
                let why = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => format!("no answer within {limit:?}"),
                };
                Err(CallError::NoAnswer(format!("{}: {why}", target.address)))
            }
        }
    }

    /// Opens a stream of a partition on a connection of its own.
    pub async fn watch(&self, target: &Target, request: DefaultStreamFetchRequest) -> Result<Watch, CallError> {
        let deadline = Instant::now() + self.timeout;
        let mut connection = self.connect(target, deadline).await?;
        let message = connection.message(|_| Ok(request))?;
        let (correlation, version) = (message.header.correlation_id(), message.header.api_version());
        let Connection { mut wire, versions, .. } = connection;
        match tokio::time::timeout_at(deadline, wire.send(&message)).await {
            Ok(Ok(())) => Ok(Watch { wire, versions, correlation, last: correlation, version }),
            Ok(Err(error)) => Err(CallError::NoAnswer(format!("{}: {error}", target.address))),
            Err(_) => Err(CallError::NoAnswer(format!("{}: no answer within {:?}", target.address, self.timeout))),
        }
    }

    /// Forgets every connection.
    pub fn close(&self) {
        self.known.lock().clear();
    }

    fn idle(&self, target: &Target) -> Option<Connection> {
        let mut known = self.known.lock();
        let idle = &mut known.get_mut(target)?.idle;
        idle.retain(|connection| connection.used.elapsed() < IDLE);
        idle.pop()
    }

    fn give_back(&self, target: &Target, connection: Connection) {
        let mut known = self.known.lock();
        let idle = &mut known.entry(target.clone()).or_default().idle;
        if idle.len() < IDLE_PER_TARGET {
            idle.push(connection);
        }
    }

    async fn connect(&self, target: &Target, deadline: Instant) -> Result<Connection, CallError> {
        if let Some((until, _, why)) = self.known.lock().get(target).and_then(|known| known.refused.clone())
            && Instant::now() < until
        {
            return Err(CallError::NotSent(why));
        }
        let mut config = match &target.broker {
            Some(name) => self.config.with_prefix_sni_domain(name),
            None => self.config.recreate(),
        };
        config.set_addr(target.address.clone());
        let why = match tokio::time::timeout_at(deadline, Connection::open(&config)).await {
            Ok(Ok(connection)) => {
                self.known.lock().entry(target.clone()).or_default().refused = None;
                return Ok(connection);
            }
            Ok(Err(error)) => format!("{} can't be reached: {error}", target.address),
            Err(_) => format!("{} can't be reached in time", target.address),
        };
        let mut known = self.known.lock();
        let refused = &mut known.entry(target.clone()).or_default().refused;
        let wait = refused.as_ref().map_or(RETRY_FIRST, |(_, wait, _)| (*wait * 2).min(RETRY_LAST));
        *refused = Some((Instant::now() + wait, wait, why.clone()));
        Err(CallError::NotSent(why))
    }
}

/// A stream of a partition: the broker sends, and sends no more until told how far to go on from.
pub(crate) struct Watch {
    wire: Wire,
    versions: Versions,
    correlation: i32,
    last: i32,
    version: i16,
}

impl Watch {
    /// What the broker sends next. Cancel-safe.
    pub async fn next(&mut self) -> Result<StreamFetchResponse<RecordSet<RawRecords>>, String> {
        loop {
            let (correlation, message) = self.wire.next().await.map_err(|e| e.to_string())?;
            // Anything else answers `go_on`.
            if correlation == self.correlation {
                return decode::<DefaultStreamFetchRequest>(message, self.version).map_err(|e| e.to_string());
            }
        }
    }

    /// Tells the broker to send what is or comes at `offset` and later.
    pub async fn go_on(&mut self, session: u32, offset: i64) -> Result<(), String> {
        let update = UpdateOffsetsRequest::new(vec![OffsetUpdate { offset, session_id: session }]);
        let version = self.versions.lookup_version::<UpdateOffsetsRequest>().unwrap_or_default();
        let mut message = RequestMessage::new_request(update);
        self.last = self.last.wrapping_add(1);
        message.header.set_client_id("millrace").set_api_version(version).set_correlation_id(self.last);
        self.wire.send(&message).await.map_err(|e| e.to_string())
    }
}
