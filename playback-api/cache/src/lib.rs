//! The serving-store seam: materialized views, counters, rankings, rate limits and fan-out.
//!
//! [`ServingStore`] states what every back end guarantees; [`MemoryStore`] keeps it in the
//! process, and `serving-store-redis` shares it between processes. [`counters`] and [`stats`] give
//! the values under each key a type; [`flight`] keeps answers that are dear to compute. Stages and
//! jobs write, the playback API reads; everything in here can be rebuilt from the log and the lake.

pub mod counters;
mod elapsed;
mod enduring;
mod error;
mod expiring;
pub mod fanout;
pub mod flight;
mod limits;
mod memory;
pub mod stats;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod failing;

use async_trait::async_trait;
use bytes::Bytes;
use event_schemas::{Millis, OffsetVector};
use futures::stream::BoxStream;

pub use enduring::Enduring;
pub use error::ServingError;
pub use flight::{FlightError, Freshness, SingleFlight};
pub use memory::MemoryStore;

/// A value and what it has taken into account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes stored.
    pub value: Bytes,
    /// The offsets that the value covers.
    pub offsets: OffsetVector,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The value is now the stored one.
    Replaced,
    /// The stored value covers something that this one does not; nothing was changed.
    Stale,
}

/// A member of a ranking.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// The member, such as a video id.
    pub member: String,
    /// Its score; higher comes first.
    pub score: f64,
}

/// How often something may be done: `burst` times at once, regained evenly over `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    /// The number allowed at once; 0 is taken as 1.
    pub burst: u32,
    /// The time in which an empty bucket fills up again; less than 1 ms is taken as 1 ms.
    pub per: Millis,
}

/// Whether a rate limit lets something through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateDecision {
    /// Go on; one unit was taken.
    Allowed,
    /// Too many; nothing was taken.
    Denied {
        /// When the next one will be let through if nobody else takes it.
        retry_after: Millis,
    },
}

/// A value kept for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// The bytes kept.
    pub value: Bytes,
    /// How long the store will go on keeping them, by its own clock; more than 0.
    pub expires_in: Millis,
}

/// The largest value that [`ServingStore::cache_put`] keeps, in bytes.
pub const CACHED_VALUE_LIMIT: usize = 1024 * 1024;

/// Who holds a lease: a random number that nobody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseToken(uuid::Uuid);

impl LeaseToken {
    /// A new holder.
    #[must_use]
    pub fn generate() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl std::fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// Counts a write by what became of it, for every back end alike.
pub fn counted(stored: Stored) -> Stored {
    let outcome = match stored {
        Stored::Replaced => "replaced",
        Stored::Stale => "stale",
    };
    metrics::counter!("millrace_serving_writes_total", "outcome" => outcome).increment(1);
    stored
}

/// Counts a refusal of a rate limit, for every back end alike.
pub fn counted_decision(decision: RateDecision) -> RateDecision {
    if decision != RateDecision::Allowed {
        metrics::counter!("millrace_rate_limit_denials_total").increment(1);
    }
    decision
}

/// What the playback side serves from, shared by everything that writes and reads it.
///
/// # Guarantees
/// * **Absolute values**: a write replaces the whole value; nothing is added to. Writing the same
///   value twice is harmless.
/// * **No late writer wins**: a value (or ranking) whose offset vector does not
///   [cover](OffsetVector::covers) the stored one is ignored and reported as [`Stored::Stale`].
///   Equal vectors replace, so that a figure can be computed anew by another rule.
/// * **Atomic**: a reader sees a value with its own offset vector, and a ranking as one writer
///   wrote it (less what was removed since), never a mixture.
/// * **Not durable**: a restart may lose everything. Writers rebuild it, readers live with absence.
/// * **Errors** leave the outcome of that call unknown; repeating it is safe.
/// * Keys are ASCII, parts joined by `/`; values are up to a mebibyte.
#[async_trait]
pub trait ServingStore: Send + Sync + 'static {
    /// Replaces the value at `key`, unless `offsets` does not cover what is stored there.
    ///
    /// # Errors
    /// The store does not answer.
    async fn put(&self, key: &str, value: Bytes, offsets: OffsetVector) -> Result<Stored, ServingError>;

    /// The value at `key`.
    ///
    /// # Errors
    /// The store does not answer.
    async fn get(&self, key: &str) -> Result<Option<Versioned>, ServingError> {
        let mut values = self.get_many(&[key.to_owned()]).await?;
        Ok(values.pop().flatten())
    }

    /// The values at `keys`, in their order; each is read atomically, the list as a whole is not.
    ///
    /// # Errors
    /// The store does not answer.
    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, ServingError>;

    /// Forgets the value at `key` together with its offsets. A writer that is still at work may
    /// write it again: what must never be seen is for the access policy to hide.
    ///
    /// # Errors
    /// The store does not answer.
    async fn delete(&self, key: &str) -> Result<(), ServingError>;

    /// Replaces a whole ranking, unless `offsets` does not cover those of the stored one. Of a
    /// member given twice the last score counts; a score that is not a number is refused.
    ///
    /// # Errors
    /// [`ServingError::NotANumber`]; the store does not answer.
    async fn rank_replace(
        &self,
        ranking: &str,
        entries: Vec<(String, f64)>,
        offsets: OffsetVector,
    ) -> Result<Stored, ServingError>;

    /// Members `skip..skip + limit` by falling score, ties by rising bytes of the member. An
    /// unknown ranking is empty.
    ///
    /// # Errors
    /// The store does not answer.
    async fn rank_top(&self, ranking: &str, skip: usize, limit: usize) -> Result<Vec<Ranked>, ServingError>;

    /// Takes one member out, until a later [`Self::rank_replace`] names it again.
    ///
    /// # Errors
    /// The store does not answer.
    async fn rank_remove(&self, ranking: &str, member: &str) -> Result<(), ServingError>;

    /// Takes one unit from `bucket` if `quota` allows it now (GCRA). Buckets are independent for
    /// each pair of name and quota. Memory is bounded: under pressure the buckets with the least
    /// to wait for are forgotten first.
    ///
    /// # Errors
    /// The store does not answer. The caller decides whether that lets through or refuses.
    async fn take(&self, bucket: &str, quota: Quota) -> Result<RateDecision, ServingError>;

    /// Hands `message` to whoever listens on `channel` now: at most once, and to nobody later.
    ///
    /// # Errors
    /// The store does not answer.
    async fn publish(&self, channel: &str, message: Bytes) -> Result<(), ServingError>;

    /// The messages published on `channel` once this has resolved, in order; one published shortly
    /// before may come too. A listener that is too slow loses the oldest and is told nothing, so a
    /// message must say all that is needed or only that something changed. Where the way to a
    /// shared store was interrupted messages are lost, and once it is whole again each listener
    /// gets one empty message: an empty message always means "read again". The stream ends when
    /// this store is dropped; dropping the stream unsubscribes, and a channel without listeners
    /// takes no memory.
    ///
    /// # Errors
    /// The store does not answer.
    async fn subscribe(&self, channel: &str) -> Result<BoxStream<'static, Bytes>, ServingError>;

    /// Keeps `value` at `key` for `ttl`, whatever was there; apart from the values of
    /// [`Self::put`], and without offsets: for answers that may be old by `ttl`. The store may
    /// forget it sooner, and does not keep more than [`CACHED_VALUE_LIMIT`] bytes.
    ///
    /// # Errors
    /// The store does not answer.
    async fn cache_put(&self, key: &str, value: Bytes, ttl: Millis) -> Result<(), ServingError>;

    /// What [`Self::cache_put`] keeps at `key`.
    ///
    /// # Errors
    /// The store does not answer.
    async fn cache_get(&self, key: &str) -> Result<Option<Cached>, ServingError>;

    /// Takes the lease `key` for `holder`, for `ttl` from now; true if `holder` has it now. A
    /// holder that asks again prolongs it, so that repeating after an error is safe. It spares
    /// work and protects no data: a store that restarts or is full forgets leases.
    ///
    /// # Errors
    /// The store does not answer.
    async fn try_lease(&self, key: &str, holder: LeaseToken, ttl: Millis) -> Result<bool, ServingError>;

    /// Gives the lease `key` back, if `holder` has it.
    ///
    /// # Errors
    /// The store does not answer.
    async fn release(&self, key: &str, holder: LeaseToken) -> Result<(), ServingError>;

    /// Forgets every value, ranking and cached value of this program, and nothing of anybody else;
    /// answers how many. Rate limits, leases and listeners stay: nothing could rebuild them, and
    /// forgetting a limit would open what it guards. What is written meanwhile may stay or go.
    ///
    /// # Errors
    /// The store does not answer; a part may be forgotten.
    async fn clear(&self) -> Result<u64, ServingError>;

    /// Whether the store answers, for readiness.
    ///
    /// # Errors
    /// What stands in the way.
    async fn check(&self) -> Result<(), ServingError>;
}
