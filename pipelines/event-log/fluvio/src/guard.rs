//! Stops intake before a consumer's lag reaches what its topic keeps.
//!
//! Brokers drop records by age and size alone and know of no consumer. So a process that appends
//! to a topic looks every few seconds how far the registered consumers are, and refuses what would
//! drive the slowest one towards the end of what is kept; see [`crate::decide::refuses`].

use std::{collections::HashMap, sync::Arc, time::Duration};

use event_schemas::Clock;
use metrics::{counter, gauge};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    broker::{Brokers, Failure, Place},
    decide::{Lag, refuses, unread_bytes},
    directory::Directory,
    lives::Lives,
    positions::Positions,
};

/// A topic as last looked at.
#[derive(Default)]
struct Looked {
    at: Option<Instant>,
    looking: bool,
    refused: HashMap<u32, String>,
}

/// Looks after the consumers' lag.
pub(crate) struct Guard {
    pub brokers: Arc<Brokers>,
    pub directory: Arc<Directory>,
    pub positions: Arc<Positions>,
    pub lives: Arc<Lives>,
    pub clock: Arc<dyn Clock>,
    pub interval: Duration,
    pub closing: CancellationToken,
    pub tasks: TaskTracker,
    looked: Mutex<HashMap<String, Looked>>,
}

impl Guard {
    /// A guard that has looked at nothing yet.
    #[allow(clippy::too_many_arguments, reason = "one caller, and every part is named")]
    pub fn new(
        brokers: Arc<Brokers>,
        directory: Arc<Directory>,
        positions: Arc<Positions>,
        lives: Arc<Lives>,
        clock: Arc<dyn Clock>,
        interval: Duration,
        closing: CancellationToken,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let looked = Mutex::default();
        Arc::new(Self { brokers, directory, positions, lives, clock, interval, closing, tasks, looked })
    }

    /// Why the partition takes nothing for the moment, as last seen. Never waits: when the last
    /// look is too old another begins behind the caller's back.
    pub fn refusal(self: &Arc<Self>, place: &Place) -> Option<String> {
        let mut looked = self.looked.lock();
        let topic = looked.entry(place.topic.clone()).or_default();
        if !topic.looking && topic.at.is_none_or(|at| at.elapsed() >= self.interval) {
            topic.looking = true;
            let (guard, name) = (self.clone(), place.topic.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = guard.closing.cancelled() => {}
                    () = guard.look(&name) => {}
                }
            });
        }
        let refusal = topic.refused.get(&place.partition).cloned();
        if refusal.is_some() {
            counter!("millrace_log_refused_full_total").increment(1);
        }
        refusal
    }

    async fn look(&self, name: &str) {
        let seen = self.lag(name).await;
        let mut looked = self.looked.lock();
        let topic = looked.entry(name.to_owned()).or_default();
        (topic.at, topic.looking) = (Some(Instant::now()), false);
        match seen {
            Ok(refused) => {
                for (partition, why) in refused.iter().filter(|(p, _)| !topic.refused.contains_key(p)) {
                    tracing::warn!(topic = name, partition, why, "intake stops: a consumer lags too far");
                }
                topic.refused = refused;
            }
            // What was seen before holds until the cluster answers again.
            Err(failure) => tracing::debug!(topic = name, ?failure, "the consumers' lag can't be seen"),
        }
    }

    /// The partitions that take nothing, and why.
    async fn lag(&self, name: &str) -> Result<HashMap<u32, String>, Failure> {
        let generation = self.lives.of(name).await.map_err(Failure::Unavailable)?;
        let rows = self.positions.registered(name, generation).await?;
        if rows.is_empty() {
            return Ok(HashMap::new());
        }
        let cluster = self.directory.fresh(self.interval).await.map_err(|e| Failure::Unavailable(e.to_string()))?;
        let topic = cluster.topics.get(name).ok_or(Failure::NoTopic)?;
        let mut refused = HashMap::new();
        let mut behind: HashMap<&str, u64> = HashMap::new();
        for partition in 0..topic.partitions {
            let place = Place { topic: name.to_owned(), partition };
            let ends = self.brokers.ends(&place).await?;
            let mut slowest = ends.next;
            for row in rows.iter().filter(|row| row.partition == partition) {
                let position = row.next.max(ends.first);
                *behind.entry(&row.consumer).or_default() += ends.next.saturating_sub(position);
                slowest = slowest.min(position);
            }
            if slowest >= ends.next {
                continue;
            }
            let oldest = self.brokers.appended_at(&place, slowest).await?.unwrap_or_else(|| self.clock.now());
            let size = topic.places.get(&partition).and_then(|p| p.size).unwrap_or(0);
            let lag = Lag {
                records: ends.next - slowest,
                bytes: unread_bytes(size, ends.first, slowest, ends.next),
                age: self.clock.now().since(oldest),
            };
            if let Some(why) = refuses(lag, topic.layout) {
                refused.insert(partition, why);
            }
        }
        for (consumer, records) in behind {
            gauge!("millrace_log_consumer_lag_records", "topic" => name.to_owned(), "consumer" => consumer.to_owned())
                .set(records as f64);
        }
        Ok(refused)
    }
}
