//! Stampede protection: answers that are dear to compute are computed once and kept for a time.
//!
//! [`SingleFlight::get_or_compute`] joins the callers of one process in one computation, and those
//! of several processes by a lease in the serving store. What is a little old is served at once
//! and computed anew behind the caller's back. Handlers of dear reads call it; errors of the store
//! never become theirs.

use std::{
    collections::{HashMap, hash_map::Entry},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use event_schemas::{Fault, Faulty, Millis};
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{LeaseToken, ServingStore};

/// How many values are computed anew in the background at a time; the others stay old for now.
const REFRESHES: usize = 64;

/// How often a process looks whether another one's computation is over, should the word of it
/// get lost.
const LOOK: Duration = Duration::from_millis(250);

/// How long an answer may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// So long it is served without more ado.
    pub fresh: Millis,
    /// So much longer it is served while a new one is computed.
    pub stale: Millis,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FlightError<E> {
    /// The computation failed; everybody who waited for it is told.
    #[error(transparent)]
    Computation(Arc<E>),
    /// The computation panicked, or the process is stopping.
    #[error("the computation was broken off")]
    BrokenOff,
}

impl<E> Clone for FlightError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Computation(error) => Self::Computation(Arc::clone(error)),
            Self::BrokenOff => Self::BrokenOff,
        }
    }
}

impl<E: Faulty + 'static> Faulty for FlightError<E> {
    fn fault(&self) -> Fault {
        match self {
            Self::Computation(error) => error.fault(),
            Self::BrokenOff => Fault::Program,
        }
    }

    fn is_retryable(&self) -> bool {
        match self {
            Self::Computation(error) => error.is_retryable(),
            Self::BrokenOff => true,
        }
    }
}

/// None: this was for later, and somebody else does it.
type Outcome<E> = Result<Option<Bytes>, FlightError<E>>;
type Flight<E> = Shared<BoxFuture<'static, Outcome<E>>>;

/// Whether a caller waits for the computation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    Awaited,
    Later,
}

/// The computations under way in this process.
pub struct SingleFlight<E> {
    store: Arc<dyn ServingStore>,
    lease: Millis,
    flights: Mutex<HashMap<String, Flight<E>>>,
    refreshes: Arc<Semaphore>,
}

impl<E> std::fmt::Debug for SingleFlight<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SingleFlight").field("flights", &self.flights.lock().len()).finish_non_exhaustive()
    }
}

impl<E: std::error::Error + Send + Sync + 'static> SingleFlight<E> {
    /// Keeps answers in `store`. `lease` should be longer than any computation takes: once it has
    /// run out another process may begin the same one, which is how a dead process is got over.
    #[must_use]
    pub fn new(store: Arc<dyn ServingStore>, lease: Millis) -> Arc<Self> {
        Arc::new(Self { store, lease, flights: Mutex::default(), refreshes: Arc::new(Semaphore::new(REFRESHES)) })
    }

    /// The answer kept at `key`, else that of `compute`, which is then kept for `ttl`.
    ///
    /// # Guarantees
    /// * While the store answers, at most one computation of a key runs in all processes in the
    ///   time of one lease; the other callers wait for it, or get the answer that is a little old.
    /// * While it does not, at most one computation of a key runs in each process, and its answer
    ///   goes to all who wait; nothing fails because of the store.
    /// * A caller that goes away does not stop a computation. One that fails is not kept: all who
    ///   wait in this process get the error, those in others try for themselves.
    /// * What is held in memory is one entry for each key being computed, and at most a fixed number
    ///   of computations that nobody waits for.
    ///
    /// # Errors
    /// Those of `compute`.
    pub async fn get_or_compute<F, Fut>(
        self: &Arc<Self>,
        key: &str,
        ttl: Freshness,
        compute: F,
    ) -> Result<Bytes, FlightError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Bytes, E>> + Send + 'static,
    {
        let mut compute = Some(compute);
        loop {
            if let Ok(Some(cached)) = self.store.cache_get(key).await {
                if cached.expires_in > ttl.stale {
                    count("fresh");
                } else {
                    count("stale");
                    drop(self.join(key, ttl, Urgency::Later, &mut compute));
                }
                return Ok(cached.value);
            }
            let Some(flight) = self.join(key, ttl, Urgency::Awaited, &mut compute) else {
                return Err(FlightError::BrokenOff);
            };
            // None: what was under way left the work to another process. Now it is ours.
            if let Some(value) = flight.await? {
                return Ok(value);
            }
        }
    }

    /// The computation under way, else a new one; none if that would need a second `compute`.
    fn join<F, Fut>(
        self: &Arc<Self>,
        key: &str,
        ttl: Freshness,
        urgency: Urgency,
        compute: &mut Option<F>,
    ) -> Option<Flight<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Bytes, E>> + Send + 'static,
    {
        let mut flights = self.flights.lock();
        match flights.entry(key.to_owned()) {
            Entry::Occupied(there) => Some(there.get().clone()),
            Entry::Vacant(free) => {
                let landing = Landing { flights: Arc::clone(self), key: key.to_owned() };
                let task = tokio::spawn(fly(landing, ttl, urgency, compute.take()?));
                let flight = task.map(|done| done.unwrap_or(Err(FlightError::BrokenOff))).boxed().shared();
                Some(free.insert(flight).clone())
            }
        }
    }
}

/// Takes a flight off the list when its task ends, however it ends.
struct Landing<E> {
    flights: Arc<SingleFlight<E>>,
    key: String,
}

impl<E> Drop for Landing<E> {
    fn drop(&mut self) {
        self.flights.flights.lock().remove(&self.key);
    }
}

async fn fly<E, F, Fut>(landing: Landing<E>, ttl: Freshness, urgency: Urgency, compute: F) -> Outcome<E>
where
    E: std::error::Error + Send + Sync + 'static,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<Bytes, E>>,
{
    let (store, key, lease) = (&landing.flights.store, landing.key.as_str(), landing.flights.lease);
    let permit = match urgency {
        Urgency::Awaited => None,
        Urgency::Later => match Arc::clone(&landing.flights.refreshes).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => return Ok(None),
        },
    };
    let holder = LeaseToken::generate();
    loop {
        match store.try_lease(key, holder, lease).await {
            Ok(true) => break,
            Ok(false) if urgency == Urgency::Later => return Ok(None),
            Ok(false) => {
                if let Some(value) = answer_of_another(store.as_ref(), key).await {
                    count("awaited");
                    return Ok(Some(value));
                }
            }
            Err(_) if urgency == Urgency::Later => return Ok(None),
            // Without the store each process is on its own.
            Err(_) => break,
        }
    }
    // Another may have been at it until just now.
    let there = store.cache_get(key).await.ok().flatten();
    let result = match there.filter(|cached| cached.expires_in > ttl.stale) {
        Some(cached) => Ok(cached.value),
        None => {
            count("computed");
            // A panic must not keep the lease.
            let computing = AssertUnwindSafe(async { compute().await }).catch_unwind().await;
            let result = computing
                .map_err(|_| FlightError::BrokenOff)
                .and_then(|done| done.map_err(|error| FlightError::Computation(Arc::new(error))));
            if let Ok(value) = &result {
                let ttl = Millis(ttl.fresh.0.saturating_add(ttl.stale.0));
                if let Err(error) = store.cache_put(key, value.clone(), ttl).await {
                    tracing::debug!(key, %error, "an answer was computed and is not kept");
                }
            }
            result
        }
    };
    // Should these get lost, the lease runs out and the others look by themselves.
    let _ = store.release(key, holder).await;
    let _ = store.publish(&channel(key), Bytes::new()).await;
    drop(permit);
    if urgency == Urgency::Later
        && let Err(error) = &result
    {
        tracing::warn!(key, %error, "an answer could not be computed anew and grows old");
    }
    result.map(Some)
}

/// Waits until the process that has the lease should be done, and takes its answer.
async fn answer_of_another(store: &dyn ServingStore, key: &str) -> Option<Bytes> {
    let done = store.subscribe(&channel(key)).await;
    // It may have been done before we listened.
    if let Ok(Some(cached)) = store.cache_get(key).await {
        return Some(cached.value);
    }
    match done {
        Ok(mut done) => drop(tokio::time::timeout(LOOK, done.next()).await),
        Err(_) => tokio::time::sleep(LOOK).await,
    }
    store.cache_get(key).await.ok().flatten().map(|cached| cached.value)
}

/// Where the end of a computation is announced.
fn channel(key: &str) -> String {
    format!("computed/{key}")
}

fn count(outcome: &'static str) {
    metrics::counter!("millrace_cached_answers_total", "outcome" => outcome).increment(1);
}
