//! The connection that all calls share: one at a time, replaced when it breaks.
//!
//! While there is none calls fail at once, so that an absent Redis costs its users no time. A call
//! that gets no answer in time gives the connection up: it may be one that only looks alive.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, PushInfo, PushKind, RedisError, ServerErrorKind,
    aio::MultiplexedConnection,
};
use serving_store::ServingError;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{OpenError, Place},
    examine::Findings,
};

/// Connecting and looking at the server may take so long.
pub(crate) const CONNECT: Duration = Duration::from_secs(3);

/// How many calls may wait to be written before further ones wait for room.
const QUEUE: usize = 1024;

/// The waits between attempts to connect: 50 ms, doubled up to a second, a little at random so
/// that many processes do not come at once.
pub(crate) fn waits() -> impl Iterator<Item = Duration> {
    let waits = ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(1))
        .without_max_times()
        .with_jitter();
    waits.build()
}

#[derive(Clone)]
enum State {
    Up {
        connection: MultiplexedConnection,
        number: u64,
    },
    /// It broke just now, and the first attempt to connect again is under way.
    Mending,
    Down(Arc<str>),
}

/// Which connections are known to be broken: all up to a number.
#[derive(Default)]
struct Broken {
    up_to: AtomicU64,
    told: Notify,
}

impl Broken {
    fn report(&self, number: u64) {
        self.up_to.fetch_max(number, Ordering::SeqCst);
        self.told.notify_one();
    }

    async fn wait_for(&self, number: u64) {
        while self.up_to.load(Ordering::SeqCst) < number {
            self.told.notified().await;
        }
    }
}

pub(crate) struct Link {
    state: watch::Receiver<State>,
    broken: Arc<Broken>,
    call_timeout: Duration,
}

impl Link {
    /// Connects, and goes on connecting whenever the connection breaks, until `cancel`.
    pub(crate) async fn open(
        client: Client,
        place: Place,
        call_timeout: Duration,
        cancel: CancellationToken,
    ) -> Result<Self, OpenError> {
        let broken = Arc::new(Broken::default());
        let (connection, findings) = connect(&client, &place, &broken, 1).await?;
        if let Some(warning) = findings.warning() {
            tracing::warn!(server = %place.server, "{warning}");
        }
        let (sender, state) = watch::channel(State::Up { connection, number: 1 });
        let keeper = keep(client, place, Arc::clone(&broken), sender);
        tokio::spawn(async move { cancel.run_until_cancelled(keeper).await });
        Ok(Self { state, broken, call_timeout })
    }

    /// Does `call` on the connection, within the time for a call.
    pub(crate) async fn call<T, F>(
        &self,
        doing: &'static str,
        call: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, ServingError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let mut used = None;
        let work = async {
            let (connection, number) = self.connection().await?;
            used = Some(number);
            call(connection).await.map_err(|source| {
                if gives_up(&source) {
                    self.broken.report(number);
                }
                ServingError::Failed { doing, source: Box::new(source) }
            })
        };
        let result = timeout(self.call_timeout, work).await;
        result.unwrap_or_else(|_| {
            if let Some(number) = used {
                self.broken.report(number);
            }
            Err(ServingError::Unavailable(format!("it did not {doing} within {:?}", self.call_timeout)))
        })
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), ServingError> {
        let mut states = self.state.clone();
        let stopped = || ServingError::Unavailable("the store is closed".to_owned());
        let state = states.wait_for(|state| !matches!(state, State::Mending)).await.map_err(|_| stopped())?;
        match &*state {
            State::Up { connection, number } => Ok((connection.clone(), *number)),
            State::Down(why) => Err(ServingError::Unavailable(why.to_string())),
            State::Mending => Err(stopped()),
        }
    }

    /// Resolves when there is a connection.
    pub(crate) async fn connected(&self) {
        // An error means that the store is closed; there is nothing to wait for.
        let _ = self.state.clone().wait_for(|state| matches!(state, State::Up { .. })).await;
    }
}

/// Whether only another connection, perhaps to another server behind the same name, can help.
fn gives_up(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_io_error()
        || matches!(error.kind(), ErrorKind::Parse | ErrorKind::Server(ServerErrorKind::ReadOnly))
}

async fn keep(client: Client, place: Place, broken: Arc<Broken>, state: watch::Sender<State>) {
    let up = metrics::gauge!("millrace_redis_connected");
    up.set(1.0);
    for number in 2.. {
        broken.wait_for(number - 1).await;
        up.set(0.0);
        state.send_replace(State::Mending);
        tracing::warn!(server = %place.server, "the connection to Redis broke; connecting again");
        let mut waits = waits();
        let connection = loop {
            match connect(&client, &place, &broken, number).await {
                Ok((connection, _)) => break connection,
                Err(error) => {
                    tracing::debug!(%error, "connecting to Redis failed; trying again");
                    state.send_replace(State::Down(error.to_string().into()));
                }
            }
            tokio::time::sleep(waits.next().unwrap_or(CONNECT)).await;
        };
        state.send_replace(State::Up { connection, number });
        up.set(1.0);
        tracing::info!(server = %place.server, "connected to Redis again");
    }
}

async fn connect(
    client: &Client,
    place: &Place,
    broken: &Arc<Broken>,
    number: u64,
) -> Result<(MultiplexedConnection, Findings), OpenError> {
    let broken = Arc::clone(broken);
    let config = AsyncConnectionConfig::new()
        // The whole of connecting has its time, and so has each call.
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE)
        .set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                broken.report(number);
            }
            Ok::<_, std::convert::Infallible>(())
        });
    let connecting = async {
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        // A server that is still loading its data says so here.
        redis::cmd("PING").exec_async(&mut connection).await?;
        match redis::cmd("INFO").query_async::<String>(&mut connection).await {
            Ok(info) => Ok((connection, Findings::of(&info))),
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => {
                tracing::warn!("the user at Redis may not use INFO, so version, role and eviction stay unchecked");
                Ok((connection, Findings::default()))
            }
            Err(error) => Err(error),
        }
    };
    let silent = || OpenError::Silent { server: place.server.clone(), millis: CONNECT.as_millis() };
    let connected = timeout(CONNECT, connecting).await.map_err(|_| silent())?;
    let (connection, findings) = connected.map_err(|error| place.explain(error))?;
    findings.verdict(place)?;
    Ok((connection, findings))
}
