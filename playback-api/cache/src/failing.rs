//! A serving store that fails by a seed, before or after the call it stands in for.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use event_schemas::{Millis, OffsetVector};
use futures::stream::BoxStream;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::{Cached, LeaseToken, Quota, Ranked, RateDecision, ServingError, ServingStore, Stored, Versioned};

/// How often calls fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailurePlan {
    /// Decides which calls fail; the same seed and calls give the same failures.
    pub seed: u64,
    /// The share of calls that fail before they do anything, 0 to 1.
    pub before: f64,
    /// The share of calls that do what they should and fail all the same, 0 to 1.
    pub after: f64,
}

/// Hands calls on to another store and lets some of them fail with
/// [`ServingError::Unavailable`].
pub struct FailingStore {
    inner: Arc<dyn ServingStore>,
    plan: FailurePlan,
    random: Mutex<SmallRng>,
    healed: AtomicBool,
}

impl FailingStore {
    /// `inner`, failing by `plan`.
    #[must_use]
    pub fn new(inner: Arc<dyn ServingStore>, plan: FailurePlan) -> Self {
        Self { inner, plan, random: Mutex::new(SmallRng::seed_from_u64(plan.seed)), healed: AtomicBool::new(false) }
    }

    /// From now on nothing fails.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
    }

    /// From now on it fails again by its plan.
    pub fn fail_again(&self) {
        self.healed.store(false, Ordering::SeqCst);
    }

    async fn run<T>(&self, call: impl Future<Output = Result<T, ServingError>>) -> Result<T, ServingError> {
        let roll: f64 = if self.healed.load(Ordering::SeqCst) { 1.0 } else { self.random.lock().random() };
        if roll < self.plan.before {
            return Err(ServingError::Unavailable("injected before the call".into()));
        }
        let done = call.await?;
        if roll < self.plan.before + self.plan.after {
            return Err(ServingError::Unavailable("injected after the call".into()));
        }
        Ok(done)
    }
}

#[async_trait]
impl ServingStore for FailingStore {
    async fn put(&self, key: &str, value: Bytes, offsets: OffsetVector) -> Result<Stored, ServingError> {
        self.run(self.inner.put(key, value, offsets)).await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, ServingError> {
        self.run(self.inner.get_many(keys)).await
    }

    async fn delete(&self, key: &str) -> Result<(), ServingError> {
        self.run(self.inner.delete(key)).await
    }

    async fn rank_replace(
        &self,
        ranking: &str,
        entries: Vec<(String, f64)>,
        offsets: OffsetVector,
    ) -> Result<Stored, ServingError> {
        self.run(self.inner.rank_replace(ranking, entries, offsets)).await
    }

    async fn rank_top(&self, ranking: &str, skip: usize, limit: usize) -> Result<Vec<Ranked>, ServingError> {
        self.run(self.inner.rank_top(ranking, skip, limit)).await
    }

    async fn rank_remove(&self, ranking: &str, member: &str) -> Result<(), ServingError> {
        self.run(self.inner.rank_remove(ranking, member)).await
    }

    async fn take(&self, bucket: &str, quota: Quota) -> Result<RateDecision, ServingError> {
        self.run(self.inner.take(bucket, quota)).await
    }

    async fn publish(&self, channel: &str, message: Bytes) -> Result<(), ServingError> {
        self.run(self.inner.publish(channel, message)).await
    }

    async fn subscribe(&self, channel: &str) -> Result<BoxStream<'static, Bytes>, ServingError> {
        self.run(self.inner.subscribe(channel)).await
    }

    async fn cache_put(&self, key: &str, value: Bytes, ttl: Millis) -> Result<(), ServingError> {
        self.run(self.inner.cache_put(key, value, ttl)).await
    }

    async fn cache_get(&self, key: &str) -> Result<Option<Cached>, ServingError> {
        self.run(self.inner.cache_get(key)).await
    }

    async fn try_lease(&self, key: &str, holder: LeaseToken, ttl: Millis) -> Result<bool, ServingError> {
        self.run(self.inner.try_lease(key, holder, ttl)).await
    }

    async fn release(&self, key: &str, holder: LeaseToken) -> Result<(), ServingError> {
        self.run(self.inner.release(key, holder)).await
    }

    async fn clear(&self) -> Result<u64, ServingError> {
        self.run(self.inner.clear()).await
    }

    async fn check(&self) -> Result<(), ServingError> {
        self.run(self.inner.check()).await
    }
}
