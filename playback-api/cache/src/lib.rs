//! The serving-store seam: materialized views, counters, rankings, rate limits and fan-out.
//!
//! [`ServingStore`] states what every back end guarantees; [`MemoryStore`] keeps it in the
//! process. [`counters`] and [`stats`] give the values under each key a type. Stages and jobs
//! write, the playback API reads; everything in here can be rebuilt from the log and the lake.

pub mod counters;
mod error;
mod fanout;
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

pub use error::ServingError;
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

    /// The messages published on `channel` once this has resolved, in order. A listener that is
    /// too slow loses the oldest and is told nothing, so a message must say all that is needed or
    /// only that something changed. The stream ends when the store goes away; dropping it
    /// unsubscribes, and a channel without listeners takes no memory.
    ///
    /// # Errors
    /// The store does not answer.
    async fn subscribe(&self, channel: &str) -> Result<BoxStream<'static, Bytes>, ServingError>;

    /// Whether the store answers, for readiness.
    ///
    /// # Errors
    /// What stands in the way.
    async fn check(&self) -> Result<(), ServingError>;
}
