//! The serving store in the memory of one process.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use event_schemas::{Clock, Millis, OffsetVector};
use futures::{StreamExt, stream::BoxStream};
use parking_lot::{Mutex, RwLock};

use crate::{
    CACHED_VALUE_LIMIT, Cached, LeaseToken, Quota, Ranked, RateDecision, ServingError, ServingStore, Stored, Versioned,
    counted, counted_decision,
    elapsed::Monotonic,
    expiring::Expiring,
    fanout::Fanout,
    limits::{BUCKETS, Limits},
};

/// The most bytes of cached values kept, keys included.
const CACHED_BYTES: usize = 64 * 1024 * 1024;

/// The most leases held at a time.
const LEASES: usize = 65_536;

/// Keeps everything in this process; a restart begins empty.
pub struct MemoryStore {
    values: RwLock<HashMap<String, Versioned>>,
    rankings: RwLock<HashMap<String, Ranking>>,
    cached: Mutex<Expiring<Bytes>>,
    leases: Mutex<Expiring<LeaseToken>>,
    clock: Monotonic,
    limits: Limits,
    fanout: Fanout,
}

/// A ranking, in order and by member.
#[derive(Default)]
struct Ranking {
    ordered: BTreeSet<(Falling, String)>,
    scores: HashMap<String, f64>,
    offsets: OffsetVector,
}

/// A score of which the highest comes first. Scores are numbers: [`MemoryStore::rank_replace`]
/// refuses others.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Falling(f64);

impl Eq for Falling {}

impl Ord for Falling {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.total_cmp(&self.0)
    }
}

impl PartialOrd for Falling {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl MemoryStore {
    /// An empty store; rate limits, cached values and leases follow `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            values: RwLock::default(),
            rankings: RwLock::default(),
            cached: Mutex::new(Expiring::new(CACHED_BYTES)),
            leases: Mutex::new(Expiring::new(LEASES)),
            clock: Monotonic::new(Arc::clone(&clock)),
            limits: Limits::new(clock, BUCKETS),
            fanout: Fanout::default(),
        }
    }

    /// The number of channels that anyone listens to.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.fanout.channels().len()
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").field("values", &self.values.read().len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl ServingStore for MemoryStore {
    async fn put(&self, key: &str, value: Bytes, offsets: OffsetVector) -> Result<Stored, ServingError> {
        let new = Versioned { value, offsets };
        Ok(counted(match self.values.write().entry(key.to_owned()) {
            Entry::Occupied(there) if !new.offsets.covers(&there.get().offsets) => Stored::Stale,
            Entry::Occupied(mut there) => {
                there.insert(new);
                Stored::Replaced
            }
            Entry::Vacant(free) => {
                free.insert(new);
                Stored::Replaced
            }
        }))
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, ServingError> {
        let values = self.values.read();
        Ok(keys.iter().map(|key| values.get(key).cloned()).collect())
    }

    async fn delete(&self, key: &str) -> Result<(), ServingError> {
        self.values.write().remove(key);
        Ok(())
    }

    async fn rank_replace(
        &self,
        ranking: &str,
        entries: Vec<(String, f64)>,
        offsets: OffsetVector,
    ) -> Result<Stored, ServingError> {
        if let Some((member, _)) = entries.iter().find(|(_, score)| score.is_nan()) {
            return Err(ServingError::NotANumber { ranking: ranking.to_owned(), member: member.clone() });
        }
        // Zero has two signs and one place in the order.
        let scores: HashMap<String, f64> = entries.into_iter().map(|(member, score)| (member, score + 0.0)).collect();
        let ordered = scores.iter().map(|(member, score)| (Falling(*score), member.clone())).collect();
        let mut rankings = self.rankings.write();
        let there = rankings.entry(ranking.to_owned()).or_default();
        if !offsets.covers(&there.offsets) {
            return Ok(counted(Stored::Stale));
        }
        *there = Ranking { ordered, scores, offsets };
        Ok(counted(Stored::Replaced))
    }

    async fn rank_top(&self, ranking: &str, skip: usize, limit: usize) -> Result<Vec<Ranked>, ServingError> {
        let rankings = self.rankings.read();
        let Some(ranking) = rankings.get(ranking) else { return Ok(Vec::new()) };
        let page = ranking.ordered.iter().skip(skip).take(limit);
        Ok(page.map(|(score, member)| Ranked { member: member.clone(), score: score.0 }).collect())
    }

    async fn rank_remove(&self, ranking: &str, member: &str) -> Result<(), ServingError> {
        if let Some(ranking) = self.rankings.write().get_mut(ranking)
            && let Some((member, score)) = ranking.scores.remove_entry(member)
        {
            ranking.ordered.remove(&(Falling(score), member));
        }
        Ok(())
    }

    async fn take(&self, bucket: &str, quota: Quota) -> Result<RateDecision, ServingError> {
        Ok(counted_decision(self.limits.take(bucket, quota)))
    }

    async fn publish(&self, channel: &str, message: Bytes) -> Result<(), ServingError> {
        self.fanout.publish(channel, message);
        Ok(())
    }

    async fn subscribe(&self, channel: &str) -> Result<BoxStream<'static, Bytes>, ServingError> {
        Ok(self.fanout.subscribe(channel).boxed())
    }

    async fn cache_put(&self, key: &str, value: Bytes, ttl: Millis) -> Result<(), ServingError> {
        if value.len() > CACHED_VALUE_LIMIT {
            return Ok(());
        }
        let weight = key.len() + value.len();
        self.cached.lock().insert(key, value, weight, self.clock.passed(), ttl.to_duration());
        Ok(())
    }

    async fn cache_get(&self, key: &str) -> Result<Option<Cached>, ServingError> {
        let cached = self.cached.lock();
        Ok(cached.get(key, self.clock.passed()).map(|(value, left)| {
            let left = i64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
            Cached { value: value.clone(), expires_in: Millis(left) }
        }))
    }

    async fn try_lease(&self, key: &str, holder: LeaseToken, ttl: Millis) -> Result<bool, ServingError> {
        let mut leases = self.leases.lock();
        let now = self.clock.passed();
        if leases.get(key, now).is_some_and(|(there, _)| *there != holder) {
            return Ok(false);
        }
        leases.insert(key, holder, 1, now, ttl.to_duration());
        Ok(true)
    }

    async fn release(&self, key: &str, holder: LeaseToken) -> Result<(), ServingError> {
        let mut leases = self.leases.lock();
        if leases.get(key, self.clock.passed()).is_some_and(|(there, _)| *there == holder) {
            leases.remove(key);
        }
        Ok(())
    }

    async fn clear(&self) -> Result<u64, ServingError> {
        let values = std::mem::take(&mut *self.values.write()).len();
        let rankings = std::mem::take(&mut *self.rankings.write()).len();
        let mut cached = self.cached.lock();
        let forgotten = values + rankings + cached.len();
        cached.clear();
        Ok(forgotten as u64)
    }

    async fn check(&self) -> Result<(), ServingError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use event_schemas::TestClock;

    use super::*;

    #[tokio::test]
    async fn a_channel_lives_as_long_as_someone_listens() {
        let store = MemoryStore::new(Arc::new(TestClock::default()));
        store.publish("video", Bytes::from_static(b"nobody hears")).await.unwrap();
        assert_eq!(store.channels(), 0);
        let first = store.subscribe("video").await.unwrap();
        let second = store.subscribe("video").await.unwrap();
        drop(first);
        assert_eq!(store.channels(), 1);
        drop(second);
        assert_eq!(store.channels(), 0);
    }

    #[tokio::test]
    async fn listeners_learn_that_the_store_is_gone() {
        let store = MemoryStore::new(Arc::new(TestClock::default()));
        let messages = store.subscribe("video").await.unwrap();
        drop(store);
        assert_eq!(messages.collect::<Vec<_>>().await, Vec::<Bytes>::new());
    }
}
