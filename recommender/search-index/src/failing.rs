//! An index that fails by a seed, before or after the call it stands in for.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use event_schemas::{Partition, VideoId};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::{Applied, Change, DenseSpace, Hit, Position, SearchError, SearchIndex, SearchPage, SearchQuery};

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

/// Hands calls on to another index and lets some of them fail with [`SearchError::Unavailable`].
pub struct FailingIndex {
    inner: Arc<dyn SearchIndex>,
    plan: FailurePlan,
    random: Mutex<SmallRng>,
    healed: AtomicBool,
}

impl FailingIndex {
    /// `inner`, failing by `plan`.
    #[must_use]
    pub fn new(inner: Arc<dyn SearchIndex>, plan: FailurePlan) -> Self {
        Self { inner, plan, random: Mutex::new(SmallRng::seed_from_u64(plan.seed)), healed: AtomicBool::new(false) }
    }

    /// From now on nothing fails.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
    }

    async fn run<T>(&self, call: impl Future<Output = Result<T, SearchError>>) -> Result<T, SearchError> {
        let roll: f64 = if self.healed.load(Ordering::SeqCst) { 1.0 } else { self.random.lock().random() };
        if roll < self.plan.before {
            return Err(SearchError::Unavailable("injected before the call".into()));
        }
        let done = call.await?;
        if roll < self.plan.before + self.plan.after {
            return Err(SearchError::Unavailable("injected after the call".into()));
        }
        Ok(done)
    }
}

#[async_trait]
impl SearchIndex for FailingIndex {
    async fn apply(
        &self,
        changes: Vec<Change>,
        position: Option<(Partition, Position)>,
    ) -> Result<Applied, SearchError> {
        self.run(self.inner.apply(changes, position)).await
    }

    async fn position(&self, partition: Partition) -> Result<Option<Position>, SearchError> {
        self.run(self.inner.position(partition)).await
    }

    async fn search(&self, query: &SearchQuery) -> Result<SearchPage, SearchError> {
        self.run(self.inner.search(query)).await
    }

    async fn similar(&self, video: VideoId, limit: usize) -> Result<Vec<Hit>, SearchError> {
        self.run(self.inner.similar(video, limit)).await
    }

    async fn similar_to_text(&self, text: &str, limit: usize) -> Result<Vec<Hit>, SearchError> {
        self.run(self.inner.similar_to_text(text, limit)).await
    }

    async fn document_count(&self) -> Result<u64, SearchError> {
        self.run(self.inner.document_count()).await
    }

    async fn spaces(&self) -> Result<Vec<DenseSpace>, SearchError> {
        self.run(self.inner.spaces()).await
    }

    async fn check(&self) -> Result<(), SearchError> {
        self.run(self.inner.check()).await
    }
}
