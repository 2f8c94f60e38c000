//! The serving store in the memory of one process.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use event_schemas::{Clock, OffsetVector};
use futures::{StreamExt, stream::BoxStream};
use parking_lot::RwLock;

use crate::{
    Quota, Ranked, RateDecision, ServingError, ServingStore, Stored, Versioned,
    fanout::Fanout,
    limits::{BUCKETS, Limits},
};

/// Keeps everything in this process; a restart begins empty.
pub struct MemoryStore {
    values: RwLock<HashMap<String, Versioned>>,
    rankings: RwLock<HashMap<String, Ranking>>,
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
    /// An empty store; rate limits follow `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            values: RwLock::default(),
            rankings: RwLock::default(),
            limits: Limits::new(clock, BUCKETS),
            fanout: Fanout::default(),
        }
    }

    /// The number of channels that anyone listens to.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.fanout.channels()
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").field("values", &self.values.read().len()).finish_non_exhaustive()
    }
}

fn counted(stored: Stored) -> Stored {
    let outcome = match stored {
        Stored::Replaced => "replaced",
        Stored::Stale => "stale",
    };
    metrics::counter!("millrace_serving_writes_total", "outcome" => outcome).increment(1);
    stored
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
        let decision = self.limits.take(bucket, quota);
        if decision != RateDecision::Allowed {
            metrics::counter!("millrace_rate_limit_denials_total").increment(1);
        }
        Ok(decision)
    }

    async fn publish(&self, channel: &str, message: Bytes) -> Result<(), ServingError> {
        self.fanout.publish(channel, message);
        Ok(())
    }

    async fn subscribe(&self, channel: &str) -> Result<BoxStream<'static, Bytes>, ServingError> {
        Ok(self.fanout.subscribe(channel).boxed())
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
