//! The topics' generations, remembered for a moment.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Generations;

/// How long a generation is taken to stand. Who makes a topic anew while processes use it has
/// them write under the old number for as long.
const STANDS: Duration = Duration::from_secs(10);

/// Reads generations through a cache.
pub(crate) struct Lives {
    generations: Arc<dyn Generations>,
    known: Mutex<HashMap<String, (u64, Instant)>>,
}

impl Lives {
    /// Knows nothing yet.
    pub fn new(generations: Arc<dyn Generations>) -> Self {
        Self { generations, known: Mutex::default() }
    }

    /// A topic's generation. While its keeper does not answer the last known one stands.
    pub async fn of(&self, topic: &str) -> Result<u64, String> {
        let known = self.known.lock().get(topic).copied();
        if let Some((generation, at)) = known
            && at.elapsed() < STANDS
        {
            return Ok(generation);
        }
        match (self.generations.current(topic).await, known) {
            (Ok(generation), _) => {
                self.known.lock().insert(topic.to_owned(), (generation, Instant::now()));
                Ok(generation)
            }
            (Err(error), Some((generation, _))) => {
                tracing::warn!(%error, topic, generation, "a topic's generation can't be read; the last one stands");
                self.known.lock().insert(topic.to_owned(), (generation, Instant::now()));
                Ok(generation)
            }
            (Err(error), None) => Err(format!("the topic's generation can't be read: {error}")),
        }
    }

    /// Raises it.
    pub async fn raise(&self, topic: &str) -> Result<u64, String> {
        let generation = self.generations.raise(topic).await;
        let generation = generation.map_err(|e| format!("the topic's generation can't be raised: {e}"))?;
        self.known.lock().insert(topic.to_owned(), (generation, Instant::now()));
        Ok(generation)
    }

    /// Reads a topic's generation anew next time.
    pub fn forget(&self, topic: &str) {
        self.known.lock().remove(topic);
    }
}
