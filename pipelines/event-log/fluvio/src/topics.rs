//! Makes topics, and sees that those which exist are what they should be.

use std::sync::Arc;

use event_log::{LogError, Stream};
use event_schemas::Offset;
use tokio::time::Instant;

use crate::{
    connection::CallError,
    decide::Layout,
    directory::{Cluster, TopicEntry},
    log::Shared,
};

/// How often a topic that is being made is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// What a topic should be.
pub(crate) struct Wanted {
    pub name: String,
    pub partitions: u32,
    pub layout: Layout,
    /// The stream it holds; none for a topic of the log's own, which has no generation.
    pub stream: Option<Stream>,
}

impl Shared {
    /// Makes the topic if it is absent, waits until each partition has a leader, and compares.
    pub async fn provide(&self, wanted: &Wanted) -> Result<(), LogError> {
        let deadline = Instant::now() + self.options.provision_timeout;
        let mut cluster = self.look(0).await?;
        cluster = self.look(cluster.version).await?;
        while !cluster.topics.contains_key(&wanted.name) && cluster.brokers < self.address.replication as usize {
            if Instant::now() >= deadline {
                return Err(LogError::Configuration(format!(
                    "each record is to have {} copies and the cluster has {} brokers up: start more, or set \
                     `replication={}` in the address of the log",
                    self.address.replication,
                    cluster.brokers,
                    cluster.brokers.max(1)
                )));
            }
            tokio::time::sleep(LOOK).await;
            cluster = self.look(cluster.version).await?;
        }
        if !cluster.topics.contains_key(&wanted.name) {
            if wanted.stream.is_some() {
                let generation = self.lives.raise(&wanted.name).await.map_err(LogError::Failed)?;
                tracing::info!(topic = wanted.name, partitions = wanted.partitions, generation, "making a topic");
            }
            let made = self.directory.create(&wanted.name, wanted.partitions, self.address.replication, wanted.layout);
            made.await.map_err(|why| LogError::Failed(format!("topic `{}` can't be made: {why}", wanted.name)))?;
        }
        let topic = loop {
            cluster = self.look(cluster.version).await?;
            let topic = cluster.topics.get(&wanted.name);
            let online = |topic: &&Arc<TopicEntry>| {
                (0..topic.partitions).all(|n| topic.places.get(&n).is_some_and(|place| place.online))
            };
            if let Some(topic) = topic.filter(online) {
                break topic.clone();
            }
            if Instant::now() >= deadline {
                let why = format!("topic `{}` has partitions whose broker is down", wanted.name);
                return Err(LogError::Failed(why));
            }
            tokio::time::sleep(LOOK).await;
        };
        self.compare(wanted, &topic)
    }

    fn compare(&self, wanted: &Wanted, topic: &TopicEntry) -> Result<(), LogError> {
        let name = &wanted.name;
        if topic.partitions != wanted.partitions {
            return Err(LogError::PartitionCount {
                topic: wanted.stream.map_or_else(|| name.clone(), |stream| stream.to_string()),
                existing: topic.partitions,
                wanted: wanted.partitions,
            });
        }
        if topic.replication < self.address.replication {
            return Err(LogError::Configuration(format!(
                "topic `{name}` keeps {0} copies of a record, fewer than the {1} asked for: set `replication={0}` in the \
                 address of the log, or another `prefix` to begin with new topics",
                topic.replication, self.address.replication
            )));
        }
        if topic.layout != wanted.layout {
            tracing::warn!(
                topic = name, kept = ?topic.layout, wanted = ?wanted.layout,
                "Fluvio can't change the retention of a topic; it stays as it was made"
            );
        }
        Ok(())
    }

    /// The cluster after `version`, tried again while the controller can't be reached.
    async fn look(&self, version: u64) -> Result<Arc<Cluster>, LogError> {
        let seen = if version == 0 { self.directory.cluster().await } else { self.directory.newer_than(version).await };
        seen.map_err(|e: CallError| LogError::Failed(e.to_string()))
    }
}

/// What a failure means for who asked.
pub(crate) fn log_error(
    stream: Stream,
    partition: event_schemas::Partition,
    asked: u64,
    failure: crate::broker::Failure,
) -> LogError {
    use crate::broker::Failure;
    match failure {
        Failure::NoTopic => LogError::UnknownTopic(stream.to_string()),
        Failure::NoPartition => LogError::UnknownPartition { topic: stream.to_string(), partition },
        Failure::Dropped(first) => {
            LogError::OffsetDropped { topic: stream.to_string(), asked: Offset(asked), first: Offset(first) }
        }
        Failure::Unavailable(why) => LogError::Failed(why),
    }
}
