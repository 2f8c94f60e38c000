//! A store for a process that answers people: while the shared one is away it answers from what it
//! has read before and limits rates by itself. Writers do without it; for them an error is right.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use event_schemas::{Clock, Faulty, Millis, OffsetVector};
use futures::stream::BoxStream;
use moka::future::Cache;

use crate::{
    Cached, LeaseToken, MemoryStore, Quota, Ranked, RateDecision, ServingError, ServingStore, Stored, Versioned,
};

/// What is remembered, in bytes.
const REMEMBERED: u64 = 64 << 20;

/// What one entry costs besides its value.
const OVERHEAD: usize = 128;

/// The longest page of a ranking that is remembered.
const PAGE: usize = 1000;

/// Passes calls on to `inner`, and bridges the time in which it does not answer.
///
/// # Guarantees
/// * While `inner` answers, nothing differs from it.
/// * While it does not, a value or ranking read before is answered as it was read last; of several
///   keys asked at once those never read are answered as absent if any is known, and the call fails
///   if none is. A key that was absent is remembered as absent.
/// * While it does not, rate limits are this process's own: together the processes then let through
///   as many times more as they are.
/// * Writes, leases and subscriptions fail as `inner` does.
/// * Memory is bounded: what was not read for the longest time is forgotten first.
pub struct Enduring {
    inner: Arc<dyn ServingStore>,
    values: Cache<String, Option<Versioned>>,
    rankings: Cache<(String, usize, usize), Vec<Ranked>>,
    limits: MemoryStore,
}

impl Enduring {
    /// Remembers what is read from `inner` from now on; its own rate limits follow `clock`.
    #[must_use]
    pub fn new(inner: Arc<dyn ServingStore>, clock: Arc<dyn Clock>) -> Self {
        let weigh = |key: &String, value: &Option<Versioned>| {
            let bytes = key.len() + OVERHEAD + value.as_ref().map_or(0, |value| value.value.len());
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self {
            inner,
            values: Cache::builder().max_capacity(REMEMBERED).weigher(weigh).build(),
            rankings: Cache::builder().max_capacity(1000).build(),
            limits: MemoryStore::new(clock),
        }
    }

    async fn remember(&self, keys: &[String], values: &[Option<Versioned>]) {
        for (key, value) in keys.iter().zip(values) {
            self.values.insert(key.clone(), value.clone()).await;
        }
    }
}

fn bridged(what: &'static str) {
    metrics::counter!("millrace_serving_answers_from_memory_total", "what" => what).increment(1);
}

#[async_trait]
impl ServingStore for Enduring {
    async fn put(&self, key: &str, value: Bytes, offsets: OffsetVector) -> Result<Stored, ServingError> {
        self.inner.put(key, value, offsets).await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, ServingError> {
        let error = match self.inner.get_many(keys).await {
            Ok(values) => {
                self.remember(keys, &values).await;
                return Ok(values);
            }
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(error),
        };
        let mut values = Vec::with_capacity(keys.len());
        let mut known = false;
        for key in keys {
            let value = self.values.get(key).await;
            known |= value.is_some();
            values.push(value.flatten());
        }
        if !known {
            return Err(error);
        }
        bridged("values");
        Ok(values)
    }

    async fn delete(&self, key: &str) -> Result<(), ServingError> {
        self.values.invalidate(key).await;
        self.inner.delete(key).await
    }

    async fn rank_replace(
        &self,
        ranking: &str,
        entries: Vec<(String, f64)>,
        offsets: OffsetVector,
    ) -> Result<Stored, ServingError> {
        self.inner.rank_replace(ranking, entries, offsets).await
    }

    async fn rank_top(&self, ranking: &str, skip: usize, limit: usize) -> Result<Vec<Ranked>, ServingError> {
        let page = (ranking.to_owned(), skip, limit);
        match self.inner.rank_top(ranking, skip, limit).await {
            Ok(ranked) => {
                if limit <= PAGE {
                    self.rankings.insert(page, ranked.clone()).await;
                }
                Ok(ranked)
            }
            Err(error) if error.is_retryable() => {
                let known = self.rankings.get(&page).await.ok_or(error)?;
                bridged("rankings");
                Ok(known)
            }
            Err(error) => Err(error),
        }
    }

    async fn rank_remove(&self, ranking: &str, member: &str) -> Result<(), ServingError> {
        let pages: HashSet<_> = self.rankings.iter().map(|(page, _)| page.as_ref().clone()).collect();
        for page in pages.into_iter().filter(|(name, ..)| name == ranking) {
            self.rankings.invalidate(&page).await;
        }
        self.inner.rank_remove(ranking, member).await
    }

    async fn take(&self, bucket: &str, quota: Quota) -> Result<RateDecision, ServingError> {
        match self.inner.take(bucket, quota).await {
            Err(error) if error.is_retryable() => {
                bridged("rate limits");
                self.limits.take(bucket, quota).await
            }
            other => other,
        }
    }

    async fn publish(&self, channel: &str, message: Bytes) -> Result<(), ServingError> {
        self.inner.publish(channel, message).await
    }

    async fn subscribe(&self, channel: &str) -> Result<BoxStream<'static, Bytes>, ServingError> {
        self.inner.subscribe(channel).await
    }

    async fn cache_put(&self, key: &str, value: Bytes, ttl: Millis) -> Result<(), ServingError> {
        self.inner.cache_put(key, value, ttl).await
    }

    async fn cache_get(&self, key: &str) -> Result<Option<Cached>, ServingError> {
        self.inner.cache_get(key).await
    }

    async fn try_lease(&self, key: &str, holder: LeaseToken, ttl: Millis) -> Result<bool, ServingError> {
        self.inner.try_lease(key, holder, ttl).await
    }

    async fn release(&self, key: &str, holder: LeaseToken) -> Result<(), ServingError> {
        self.inner.release(key, holder).await
    }

    async fn clear(&self) -> Result<u64, ServingError> {
        self.values.invalidate_all();
        self.rankings.invalidate_all();
        self.inner.clear().await
    }

    async fn check(&self) -> Result<(), ServingError> {
        self.inner.check().await
    }
}
