//! [`FluvioLog`], the seam's implementation: each call put together from the parts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use event_log::{Appended, EventLog, LogError, ReadLimit, StoredRecord, Stream, TopicSpec, Watermarks};
use event_schemas::{ByteSize, Offset, Partition};
use fluvio_future::net::DomainConnector;
use fluvio_socket::ClientConfig;
use futures::TryStreamExt;
use metrics::{counter, histogram};
use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    FluvioLogOptions,
    broker::{AppendFailure, Brokers, Failure, Place},
    connection::Pool,
    decide::{Layout, compression, topic_name},
    directory::{Directory, TopicEntry},
    guard::Guard,
    lives::Lives,
    options::Address,
    positions::{Position, Positions, TOPIC_AGE, TOPIC_BYTES},
    reader::Reader,
    tail::Tails,
    topics::{Wanted, log_error},
};

/// How many partitions `check` asks for at the same time.
const CHECKED_AT_ONCE: usize = 4;
/// What a record takes in a batch besides its bytes, at most.
const RECORD_OVERHEAD: u64 = 32;

/// The log on a Fluvio cluster.
///
/// # What an acknowledgement means
/// Every replica of the partition has the records (`ReadCommitted`); `replication` in the address
/// says how many there are, 2 unless it says otherwise. Fluvio does not fsync: a record survives
/// the loss of all but one of its brokers, not the loss of power to all of them at once. With one
/// replica it survives the death of the broker's process alone; that is allowed, and a warning
/// says so at the start. An append waits for every replica, so while one of a partition's brokers
/// is down appends to it end as unknown.
///
/// # How the guarantees of [`EventLog`] are kept
/// * An append is one batch of Fluvio's, written whole or not at all, in one request that is never
///   repeated once it may have arrived. There is no lingering: callers gather records before.
/// * Readers get what all replicas have and nothing else, by offsets, never one left out.
/// * Retention is by age and size, and the broker's; intake stops with [`LogError::Full`] before
///   the slowest registered consumer has lost anything: per partition at three quarters of its
///   size, or when the oldest record not yet read has half the age kept.
/// * A topic's retention is set when it is made; Fluvio has no way to change it.
/// * Offsets start again when a topic is made anew. The generation is kept by
///   [`Generations`](crate::Generations) and raised when this log makes a topic.
/// * Appends of 4 KiB and more are compressed with Zstandard; readers take any compression.
pub struct FluvioLog {
    shared: Arc<Shared>,
    /// True once closed. Held while an append begins, so that `close` misses none.
    closed: Mutex<bool>,
}

/// What appends in the background share with the log.
pub(crate) struct Shared {
    pub options: FluvioLogOptions,
    pub address: Address,
    pub pool: Arc<Pool>,
    pub directory: Arc<Directory>,
    pub brokers: Arc<Brokers>,
    pub lives: Arc<Lives>,
    pub tails: Arc<Tails>,
    pub reader: Reader,
    pub positions: Arc<Positions>,
    pub guard: Arc<Guard>,
    pub closing: CancellationToken,
    pub tasks: TaskTracker,
    /// The streams this process asked for; `check` looks at them.
    ensured: Mutex<HashMap<Stream, u32>>,
}

impl FluvioLog {
    /// Opens the log at `url`: `fluvio://host:9003`, with the parameters `replication` (copies of a
    /// record, 2), `prefix` (what topic names begin with, for several instances on one cluster),
    /// `spu_address` (`public`, or `local` inside the cluster's network), `tls` (`disabled`,
    /// `anonymous`, `verified`) and with the last `tls_domain`, `tls_ca`, `tls_cert`, `tls_key`.
    ///
    /// # Errors
    /// [`LogError::Configuration`] if the address is wrong; [`LogError::Failed`] if nobody answers
    /// there.
    pub async fn open(url: &str, options: FluvioLogOptions) -> Result<Arc<Self>, LogError> {
        let address = Address::parse(url)?;
        let connector = DomainConnector::try_from(address.tls.clone())
            .map_err(|e| LogError::Configuration(format!("the log's certificates can't be used: {e}")))?;
        let config = ClientConfig::new(address.controller.clone(), connector, address.local_brokers);
        let pool = Arc::new(Pool::new(config, options.request_timeout));
        let directory =
            Directory::new(pool.clone(), address.controller.clone(), address.local_brokers, options.request_timeout);
        let directory = Arc::new(directory);
        directory.cluster().await.map_err(|e| {
            LogError::Failed(format!(
                "no Fluvio cluster answers at {}: {e}; is it up, and is `log` right?",
                address.controller
            ))
        })?;
        if address.replication < 2 {
            tracing::warn!(
                "the log keeps one copy of each record (`replication=1`): what the broker had not written to disk is \
                 lost with its machine"
            );
        }
        let brokers = Arc::new(Brokers::new(pool.clone(), directory.clone(), options.request_timeout));
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let lives = Arc::new(Lives::new(options.generations.clone()));
        let tails = Tails::new(brokers.clone(), closing.clone(), tasks.clone());
        let topic = format!("{}positions", address.prefix);
        let positions = Arc::new(Positions::new(brokers.clone(), topic, options.clock.clone()));
        let guard = Guard::new(
            brokers.clone(),
            directory.clone(),
            positions.clone(),
            lives.clone(),
            options.clock.clone(),
            options.lag_interval,
            closing.clone(),
            tasks.clone(),
        );
        let reader = Reader::new(brokers.clone(), tails.clone());
        let ensured = Mutex::default();
        let shared = Shared {
            options,
            address,
            pool,
            directory,
            brokers,
            lives,
            tails,
            reader,
            positions,
            guard,
            closing,
            tasks,
            ensured,
        };
        Ok(Arc::new(Self { shared: Arc::new(shared), closed: Mutex::new(false) }))
    }

    fn open_or_closed(&self) -> Result<(), LogError> {
        if *self.closed.lock() { Err(LogError::Closed) } else { Ok(()) }
    }
}

impl Shared {
    fn place(&self, stream: Stream, partition: Partition) -> Place {
        Place { topic: topic_name(&self.address.prefix, stream), partition: partition.0 }
    }

    async fn topic(&self, stream: Stream) -> Result<Arc<TopicEntry>, LogError> {
        let name = topic_name(&self.address.prefix, stream);
        let topic = self.brokers.topic(&name).await;
        topic.map(|(topic, _)| topic).map_err(|failure| log_error(stream, Partition(0), 0, failure))
    }

    /// The place of a partition that exists.
    async fn existing(&self, stream: Stream, partition: Partition) -> Result<(Place, Arc<TopicEntry>), LogError> {
        let topic = self.topic(stream).await?;
        if partition.0 >= topic.partitions {
            return Err(log_error(stream, partition, 0, Failure::NoPartition));
        }
        Ok((self.place(stream, partition), topic))
    }

    async fn generation(&self, place: &Place) -> Result<u64, LogError> {
        self.lives.of(&place.topic).await.map_err(LogError::Failed)
    }

    async fn append(&self, stream: Stream, partition: Partition, records: Vec<Bytes>) -> Result<Appended, LogError> {
        let (place, topic) = self.existing(stream, partition).await?;
        let generation = self.generation(&place).await?;
        let failed = |failure| log_error(stream, partition, 0, failure);
        if records.is_empty() {
            let ends = self.brokers.ends(&place).await.map_err(failed)?;
            return Ok(Appended { generation, first: Offset(ends.next) });
        }
        let count = records.len() as u64;
        let bytes: u64 = records.iter().map(|record| record.len() as u64).sum();
        if bytes + count * RECORD_OVERHEAD > topic.layout.largest_append() {
            return Err(LogError::Configuration(format!(
                "{} at once are more than topic `{stream}` takes, {}: make it with a higher limit of size",
                ByteSize(bytes),
                ByteSize(topic.layout.largest_append())
            )));
        }
        if let Some(why) = self.guard.refusal(&place) {
            return Err(LogError::Full(format!("consumers of topic `{stream}` lag: {why}")));
        }
        let started = tokio::time::Instant::now();
        let first = self.brokers.append(&place, records, self.options.clock.now(), compression(bytes)).await;
        let first = first.map_err(|failure| match failure {
            AppendFailure::NotStored(failure) => {
                self.lives.forget(&place.topic);
                failed(failure)
            }
            AppendFailure::Unknown(why) => {
                self.lives.forget(&place.topic);
                counter!("millrace_log_unknown_outcomes_total").increment(1);
                LogError::Unknown(why)
            }
        })?;
        histogram!("millrace_log_commit_seconds").record(started.elapsed().as_secs_f64());
        counter!("millrace_log_appended_bytes_total", "topic" => stream.to_string()).increment(bytes);
        counter!("millrace_log_appended_records_total", "topic" => stream.to_string()).increment(count);
        Ok(Appended { generation, first: Offset(first) })
    }

    async fn write_positions(&self, stream: Stream, rows: Vec<Position>, register: bool) -> Result<(), LogError> {
        let written = if register { self.positions.register(rows).await } else { self.positions.write(rows).await };
        written.map_err(|failure| match failure {
            AppendFailure::NotStored(Failure::NoTopic) => LogError::UnknownTopic(self.positions.topic().to_owned()),
            AppendFailure::NotStored(failure) => log_error(stream, Partition(0), 0, failure),
            AppendFailure::Unknown(why) => LogError::Unknown(why),
        })
    }
}

#[async_trait]
impl EventLog for FluvioLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.open_or_closed()?;
        let shared = &self.shared;
        let own = Wanted {
            name: shared.positions.topic().to_owned(),
            partitions: 1,
            layout: Layout::of(TOPIC_AGE, TOPIC_BYTES, 1),
            stream: None,
        };
        let known = shared.directory.cluster().await.is_ok_and(|cluster| cluster.topics.contains_key(&own.name));
        if !known {
            shared.provide(&own).await?;
        }
        let wanted = Wanted {
            name: topic_name(&shared.address.prefix, spec.stream),
            partitions: spec.partitions,
            layout: Layout::of(spec.retain_for, spec.retain_bytes, spec.partitions),
            stream: Some(spec.stream),
        };
        shared.provide(&wanted).await?;
        shared.ensured.lock().insert(spec.stream, spec.partitions);
        Ok(())
    }

    async fn partitions(&self, stream: Stream) -> Result<u32, LogError> {
        self.open_or_closed()?;
        Ok(self.shared.topic(stream).await?.partitions)
    }

    async fn append(&self, stream: Stream, partition: Partition, records: Vec<Bytes>) -> Result<Appended, LogError> {
        let task = {
            let closed = self.closed.lock();
            if *closed {
                return Err(LogError::Closed);
            }
            // A task of its own: a caller that goes away takes nothing back.
            let shared = self.shared.clone();
            self.shared.tasks.spawn(async move { shared.append(stream, partition, records).await })
        };
        task.await.unwrap_or_else(|_| Err(LogError::Unknown("the append was broken off".to_owned())))
    }

    async fn read(
        &self,
        stream: Stream,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<StoredRecord>, LogError> {
        self.open_or_closed()?;
        let (place, _) = self.shared.existing(stream, partition).await?;
        let generation = self.shared.generation(&place).await?;
        let read = self.shared.reader.read(&place, generation, from.0, limit).await;
        read.map_err(|failure| log_error(stream, partition, from.0, failure))
    }

    async fn wait(&self, stream: Stream, partition: Partition, from: Offset) -> Result<(), LogError> {
        self.open_or_closed()?;
        let waiting = async {
            let (place, _) = self.shared.existing(stream, partition).await?;
            let reached = async {
                let tails = &self.shared.tails;
                if tails.last_seen(&place).is_some_and(|seen| seen < from.0) {
                    let ends = self.shared.brokers.ends(&place).await?;
                    tails.correct(&place, ends.next);
                    ends.reaches(from.0)?;
                }
                tails.past(&place, from.0).await
            };
            reached.await.map_err(|failure| log_error(stream, partition, from.0, failure))
        };
        tokio::select! {
            // First: what closing breaks must not look like a failure.
            biased;
            () = self.shared.closing.cancelled() => Err(LogError::Closed),
            waited = waiting => waited,
        }
    }

    async fn watermarks(&self, stream: Stream, partition: Partition) -> Result<Watermarks, LogError> {
        self.open_or_closed()?;
        let (place, _) = self.shared.existing(stream, partition).await?;
        let generation = self.shared.generation(&place).await?;
        let ends = self.shared.brokers.ends(&place).await;
        let ends = ends.map_err(|failure| log_error(stream, partition, 0, failure))?;
        Ok(Watermarks { generation, first: Offset(ends.first), next: Offset(ends.next) })
    }

    async fn register_consumer(&self, consumer: &str, stream: Stream) -> Result<(), LogError> {
        self.open_or_closed()?;
        let topic = self.shared.topic(stream).await?;
        let name = self.shared.place(stream, Partition(0)).topic;
        let generation = self.shared.lives.of(&name).await.map_err(LogError::Failed)?;
        let row = |partition| Position {
            consumer: consumer.to_owned(),
            topic: name.clone(),
            partition,
            generation,
            next: 0,
            registered: true,
        };
        self.shared.write_positions(stream, (0..topic.partitions).map(row).collect(), true).await
    }

    async fn commit_position(
        &self,
        consumer: &str,
        stream: Stream,
        partition: Partition,
        next: Offset,
    ) -> Result<(), LogError> {
        self.open_or_closed()?;
        let (place, _) = self.shared.existing(stream, partition).await?;
        let generation = self.shared.generation(&place).await?;
        let row = Position {
            consumer: consumer.to_owned(),
            topic: place.topic,
            partition: place.partition,
            generation,
            next: next.0,
            registered: false,
        };
        self.shared.write_positions(stream, vec![row], false).await
    }

    async fn committed_position(
        &self,
        consumer: &str,
        stream: Stream,
        partition: Partition,
    ) -> Result<Offset, LogError> {
        self.open_or_closed()?;
        let (place, _) = self.shared.existing(stream, partition).await?;
        let generation = self.shared.generation(&place).await?;
        let row = self.shared.positions.of(consumer, &place, generation).await;
        let row = row.map_err(|failure| log_error(stream, partition, 0, failure))?;
        Ok(Offset(row.map_or(0, |row| row.next)))
    }

    /// Asks the broker of every partition this process ensured.
    async fn check(&self) -> Result<(), LogError> {
        self.open_or_closed()?;
        let ensured: Vec<(Stream, u32)> = self.shared.ensured.lock().iter().map(|(s, n)| (*s, *n)).collect();
        if ensured.is_empty() {
            let seen = self.shared.directory.fresh(Duration::ZERO).await;
            return seen.map(drop).map_err(|e| LogError::Failed(e.to_string()));
        }
        let all = ensured.into_iter().flat_map(|(stream, count)| (0..count).map(move |n| Ok((stream, Partition(n)))));
        futures::stream::iter(all)
            .try_for_each_concurrent(CHECKED_AT_ONCE, |(stream, partition)| async move {
                let ends = self.shared.brokers.ends(&self.shared.place(stream, partition)).await;
                ends.map(drop).map_err(|failure| log_error(stream, partition, 0, failure))
            })
            .await
    }

    async fn close(&self) {
        *self.closed.lock() = true;
        self.shared.closing.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.pool.close();
    }
}
