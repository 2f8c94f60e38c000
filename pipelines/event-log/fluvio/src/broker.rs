//! What is asked of the broker that leads a partition: appends, reads, ends.
//!
//! Reads are tried again once, at the leader the controller then names. An append is sent again
//! only if it is certain that nothing was stored.

use std::sync::Arc;

use bytes::Bytes;
use event_schemas::Timestamp;
use fluvio::{Compression, Isolation};
use fluvio_protocol::{
    link::ErrorCode,
    record::{Batch, MemoryRecords, RawRecords, Record, RecordSet, ReplicaKey},
};
use fluvio_spu_schema::{
    fetch::{FetchPartition, FetchRequest, FetchableTopic},
    produce::{DefaultPartitionRequest, DefaultProduceRequest, DefaultTopicRequest},
    server::{fetch_offset::FetchOffsetsRequest, stream_fetch::DefaultStreamFetchRequest},
};

use crate::{
    connection::{CallError, Pool, Target, Watch},
    decide::{Refusal, judge_append},
    directory::{Directory, TopicEntry},
};

/// How much one request reads. Several follow each other where a reader wants more.
const FETCH_BYTES: i32 = 2 << 20;
const FETCH_BYTES_MOST: i32 = 64 << 20;
/// Enough to hold the header of a batch, and too little to matter.
const HEADER_BYTES: i32 = 96;

/// Why a request failed that changes nothing.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The controller knows no such topic.
    NoTopic,
    /// The topic has fewer partitions.
    NoPartition,
    /// The offset is kept no longer; the first that is.
    Dropped(u64),
    /// The cluster does not answer or can't.
    Unavailable(String),
}

/// Why an append failed.
#[derive(Debug, Clone)]
pub(crate) enum AppendFailure {
    /// Nothing was stored.
    NotStored(Failure),
    /// Nothing was stored or everything.
    Unknown(String),
}

/// The ends of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The first offset kept.
    pub first: u64,
    /// One past the last that every replica has.
    pub next: u64,
}

impl Ends {
    /// Whether a reader who has read up to `offset` has read what exists.
    pub fn reaches(&self, offset: u64) -> Result<(), Failure> {
        if offset <= self.next {
            return Ok(());
        }
        // For a moment after a broker was lost, or for good if its disk lost what it had.
        Err(Failure::Unavailable(format!(
            "the log ends at {}, before {offset}: its broker lost records or recovers",
            self.next
        )))
    }
}

/// A record as read.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub offset: u64,
    pub at: Timestamp,
    pub bytes: Bytes,
}

/// One partition of one topic, by Fluvio's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub topic: String,
    pub partition: u32,
}

struct Located {
    topic: Arc<TopicEntry>,
    leader: Target,
    version: u64,
}

impl Located {
    /// Where a partition has one replica only, what that one has is all there is. Its record of
    /// what is committed may lag behind after it was killed, until the next append: what was
    /// acknowledged would be out of sight.
    fn isolation(&self) -> Isolation {
        if self.topic.replication > 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
    }
}

/// The brokers of a cluster.
pub(crate) struct Brokers {
    pool: Arc<Pool>,
    directory: Arc<Directory>,
    timeout: std::time::Duration,
}

impl Brokers {
    /// The brokers that `directory` names.
    pub fn new(pool: Arc<Pool>, directory: Arc<Directory>, timeout: std::time::Duration) -> Self {
        Self { pool, directory, timeout }
    }

    /// What the controller says of a topic. One that is not known yet is asked for.
    pub async fn topic(&self, name: &str) -> Result<(Arc<TopicEntry>, u64), Failure> {
        let unavailable = |e: CallError| Failure::Unavailable(e.to_string());
        let cluster = self.directory.cluster().await.map_err(unavailable)?;
        if let Some(topic) = cluster.topics.get(name) {
            return Ok((topic.clone(), cluster.version));
        }
        let cluster = self.directory.newer_than(cluster.version).await.map_err(unavailable)?;
        let topic = cluster.topics.get(name).ok_or(Failure::NoTopic)?;
        Ok((topic.clone(), cluster.version))
    }

    async fn locate(&self, place: &Place) -> Result<Located, Failure> {
        let (mut topic, mut version) = self.topic(&place.topic).await?;
        for again in [true, false] {
            if place.partition >= topic.partitions {
                return Err(Failure::NoPartition);
            }
            if let Some(leader) = topic.places.get(&place.partition).and_then(|p| p.leader.clone()) {
                return Ok(Located { topic, leader, version });
            }
            if again {
                (topic, version) = self.look_again(place, version).await?;
            }
        }
        Err(Failure::Unavailable(format!("partition {} of topic `{}` has no leader", place.partition, place.topic)))
    }

    /// Asks the controller again after `version` proved wrong.
    async fn look_again(&self, place: &Place, version: u64) -> Result<(Arc<TopicEntry>, u64), Failure> {
        let cluster = self.directory.newer_than(version).await.map_err(|e| Failure::Unavailable(e.to_string()))?;
        let topic = cluster.topics.get(&place.topic).ok_or(Failure::NoTopic)?;
        Ok((topic.clone(), cluster.version))
    }

    /// The same before another try: without the controller what is known has to do.
    async fn may_have_moved(&self, place: &Place, version: u64) -> Result<(), Failure> {
        match self.look_again(place, version).await {
            Ok(_) | Err(Failure::Unavailable(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Appends `records` as one batch, which a broker writes whole or not at all, and waits until
    /// every replica has it. Gives the offset of the first.
    pub async fn append(
        &self,
        place: &Place,
        records: Vec<Bytes>,
        now: Timestamp,
        compression: Compression,
    ) -> Result<u64, AppendFailure> {
        let not_stored = AppendFailure::NotStored;
        let count = records.len();
        let batch = batch_of(records, now, compression);
        let batch = batch.map_err(|e| not_stored(Failure::Unavailable(format!("the batch can't be made: {e}"))))?;
        let set = RecordSet::<RawRecords>::default().add(batch);
        let mut last = None;
        for _ in 0..2 {
            let located = self.locate(place).await.map_err(not_stored)?;
            let request = DefaultProduceRequest {
                isolation: Isolation::ReadCommitted,
                // The broker gives up first, so that its answer says why.
                timeout: self.timeout * 4 / 5,
                topics: vec![DefaultTopicRequest {
                    name: place.topic.clone(),
                    partitions: vec![DefaultPartitionRequest {
                        partition_index: place.partition,
                        records: set.clone(),
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let answer = match self.pool.call(&located.leader, request).await {
                Ok(answer) => answer,
                Err(CallError::NotSent(why)) => {
                    last = Some(why);
                    self.may_have_moved(place, located.version).await.map_err(not_stored)?;
                    continue;
                }
                Err(CallError::NoAnswer(why)) => return Err(AppendFailure::Unknown(why)),
            };
            let answer = answer.find_partition_response(&place.topic, place.partition);
            let Some(answer) = answer else {
                return Err(AppendFailure::Unknown("the broker's answer leaves the partition out".to_owned()));
            };
            if answer.error_code == ErrorCode::None {
                return match u64::try_from(answer.base_offset) {
                    Ok(first) => Ok(first),
                    Err(_) => Err(AppendFailure::Unknown(format!("{count} records at no offset"))),
                };
            }
            return Err(match judge_append(&answer.error_code) {
                Refusal::NotStored(why) => not_stored(Failure::Unavailable(why)),
                Refusal::Unknown(why) => AppendFailure::Unknown(why),
                Refusal::Moved(why) => {
                    // It may have been the leader when it wrote. The topic may be gone, too.
                    match self.look_again(place, located.version).await {
                        Err(Failure::NoTopic) => not_stored(Failure::NoTopic),
                        _ => AppendFailure::Unknown(why),
                    }
                }
            });
        }
        Err(not_stored(Failure::Unavailable(last.unwrap_or_default())))
    }

    /// The ends of a partition.
    pub async fn ends(&self, place: &Place) -> Result<Ends, Failure> {
        let mut last = String::new();
        for _ in 0..2 {
            let located = self.locate(place).await?;
            match self.ends_at(&located, place).await {
                Err(Failure::Unavailable(why)) => last = why,
                done => return done,
            }
            self.may_have_moved(place, located.version).await?;
        }
        Err(Failure::Unavailable(last))
    }

    async fn ends_at(&self, located: &Located, place: &Place) -> Result<Ends, Failure> {
        let unavailable = |e: CallError| Failure::Unavailable(e.to_string());
        let request = FetchOffsetsRequest::new(place.topic.clone(), place.partition);
        let answer = self.pool.call(&located.leader, request).await.map_err(unavailable)?;
        let replica = ReplicaKey::new(place.topic.clone(), place.partition);
        let answer = answer.find_partition(&replica);
        let answer = answer.ok_or_else(|| Failure::Unavailable("the answer leaves the partition out".to_owned()))?;
        if answer.error_code != ErrorCode::None {
            return Err(Failure::Unavailable(answer.error_code.to_string()));
        }
        let mut ends = Ends { first: unsigned(answer.start_offset), next: unsigned(answer.last_stable_offset) };
        if located.isolation() == Isolation::ReadUncommitted {
            // See `isolation`: what lies past the committed end is found by reading it.
            while let Some(record) = self.fetch_at(located, place, ends.next).await?.last() {
                ends.next = record.offset + 1;
            }
        }
        Ok(ends)
    }

    /// Reads what lies at `from` and later, at least one record if `from` lies before the end. The
    /// caller must know that it does: a broker answers wrongly past the committed end.
    pub async fn fetch(&self, place: &Place, from: u64) -> Result<Vec<Fetched>, Failure> {
        let mut last = String::new();
        for _ in 0..2 {
            let located = self.locate(place).await?;
            match self.fetch_at(&located, place, from).await {
                Err(Failure::Unavailable(why)) => last = why,
                done => return done,
            }
            self.may_have_moved(place, located.version).await?;
        }
        Err(Failure::Unavailable(last))
    }

    /// When the record at `from` was appended, or one of the same append before it.
    pub async fn appended_at(&self, place: &Place, from: u64) -> Result<Option<Timestamp>, Failure> {
        let located = self.locate(place).await?;
        let set = self.batches(&located, place, from, HEADER_BYTES).await?.0;
        Ok(set.batches.first().map(|batch| Timestamp::from_millis(batch.header.first_timestamp)))
    }

    /// Records at `from` and later, none if there are none.
    async fn fetch_at(&self, located: &Located, place: &Place, from: u64) -> Result<Vec<Fetched>, Failure> {
        let mut bytes = FETCH_BYTES;
        loop {
            let (set, end) = self.batches(located, place, from, bytes).await?;
            let mut out = Vec::new();
            let mut cut_off = false;
            for batch in set.batches {
                if !batch.validate_decoding() {
                    cut_off = true;
                    break;
                }
                let (base, at) = (unsigned(batch.base_offset), batch.header.first_timestamp);
                let records = batch.memory_records().map_err(|e| {
                    Failure::Unavailable(format!("the batch at offset {base} of `{}` can't be read: {e}", place.topic))
                })?;
                for (n, record) in (0u64..).zip(records) {
                    let offset = base + n;
                    if offset >= from && offset < end {
                        let at = Timestamp::from_millis(at + record.timestamp_delta());
                        out.push(Fetched { offset, at, bytes: Bytes::clone(&record.value) });
                    }
                }
            }
            if !out.is_empty() || !cut_off {
                return Ok(out);
            }
            if bytes >= FETCH_BYTES_MOST {
                return Err(Failure::Unavailable(format!(
                    "the batch at offset {from} of `{}` is too large",
                    place.topic
                )));
            }
            bytes *= 2;
        }
    }

    /// The batches from the one that holds `from` on, and where what may be shown ends.
    async fn batches(
        &self,
        located: &Located,
        place: &Place,
        from: u64,
        bytes: i32,
    ) -> Result<(RecordSet<RawRecords>, u64), Failure> {
        let request = FetchRequest::<RecordSet<RawRecords>> {
            max_bytes: bytes,
            isolation_level: located.isolation(),
            topics: vec![FetchableTopic {
                name: place.topic.clone(),
                fetch_partitions: vec![FetchPartition {
                    partition_index: place.partition,
                    fetch_offset: signed(from),
                    max_bytes: bytes,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let answer = self.pool.call(&located.leader, request).await;
        let answer = answer.map_err(|e| Failure::Unavailable(e.to_string()))?;
        let answer = answer.find_partition(&place.topic, place.partition);
        let answer = answer.ok_or_else(|| Failure::Unavailable("the answer leaves the partition out".to_owned()))?;
        match answer.error_code {
            ErrorCode::None => {}
            ErrorCode::OffsetEvicted { next_available, .. } => return Err(Failure::Dropped(unsigned(next_available))),
            code => return Err(Failure::Unavailable(code.to_string())),
        }
        let end = match located.isolation() {
            Isolation::ReadCommitted => unsigned(answer.high_watermark),
            Isolation::ReadUncommitted => u64::MAX,
        };
        Ok((answer.records, end))
    }

    /// Opens a stream that tells when something is committed at `from` or later. It carries no
    /// records: they are cut off after one byte.
    pub async fn watch(&self, place: &Place, from: u64) -> Result<Watch, Failure> {
        let located = self.locate(place).await?;
        let request = DefaultStreamFetchRequest::builder()
            .topic(place.topic.clone())
            .partition(place.partition)
            .fetch_offset(signed(from))
            .max_bytes(1)
            .isolation(Isolation::ReadCommitted)
            .build()
            .map_err(|e| Failure::Unavailable(e.to_string()))?;
        match self.pool.watch(&located.leader, request).await {
            Ok(watch) => Ok(watch),
            Err(error) => {
                self.may_have_moved(place, located.version).await?;
                Err(Failure::Unavailable(error.to_string()))
            }
        }
    }
}

/// One batch of records that were all appended at `now`.
pub(crate) fn batch_of(
    records: Vec<Bytes>,
    now: Timestamp,
    compression: Compression,
) -> Result<Batch<RawRecords>, String> {
    let records: MemoryRecords = records.into_iter().map(Record::new).collect();
    let mut batch = Batch::from(records);
    batch.header.first_timestamp = now.as_millis();
    batch.header.max_time_stamp = now.as_millis();
    batch.header.set_compression(compression);
    Batch::<RawRecords>::try_from(batch).map_err(|e| e.to_string())
}

fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
