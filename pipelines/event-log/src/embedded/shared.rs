//! What the readers of the embedded log see: only what is durable.
//!
//! The appender publishes here after each commit; readers never touch its own state.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use event_schemas::{Offset, Partition};
use fjall::Keyspace;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    layout,
    store::{Dropped, Store, TopicState},
};
use crate::{LogError, ReadLimit, StoredRecord, Stream};

/// The durable ends of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub first: u64,
    pub next: u64,
}

/// A topic as readers see it.
pub(super) struct TopicView {
    ends: Vec<watch::Sender<Ends>>,
    positions: RwLock<HashMap<String, Vec<u64>>>,
}

type Segments = HashMap<(Stream, u32), BTreeMap<u64, Keyspace>>;

pub(super) struct Shared {
    /// Set when the log takes nothing any more and its files are closed.
    pub closed: CancellationToken,
    generation: AtomicU64,
    topics: RwLock<HashMap<Stream, Arc<TopicView>>>,
    /// Readers hold this while they read, so that after its write lock was taken no handle of
    /// theirs is left: the database can be closed and opened again.
    segments: RwLock<Result<Segments, String>>,
}

impl Shared {
    pub fn new() -> Self {
        Self {
            closed: CancellationToken::new(),
            generation: AtomicU64::new(0),
            topics: RwLock::default(),
            segments: RwLock::new(Err("the log is being opened".to_owned())),
        }
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn topic(&self, stream: Stream) -> Result<Arc<TopicView>, LogError> {
        self.topics.read().get(&stream).cloned().ok_or_else(|| LogError::UnknownTopic(stream.to_string()))
    }

    /// Whether the files are open.
    pub fn check(&self) -> Result<(), LogError> {
        match &*self.segments.read() {
            _ if self.closed.is_cancelled() => Err(LogError::Closed),
            Ok(_) => Ok(()),
            Err(reason) => Err(LogError::Failed(reason.clone())),
        }
    }

    /// Reads durable records. Blocks on the disk.
    pub fn read(
        &self,
        stream: Stream,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<StoredRecord>, LogError> {
        let ends = self.topic(stream)?.ends(stream, partition)?;
        let guard = self.segments.read();
        let segments = match &*guard {
            _ if self.closed.is_cancelled() => return Err(LogError::Closed),
            Ok(segments) => segments,
            Err(reason) => return Err(LogError::Failed(reason.clone())),
        };
        let next = ends.borrow().next;
        let Some(list) = segments.get(&(stream, partition.0)) else { return Ok(Vec::new()) };
        let first = list.keys().next().copied().unwrap_or(0);
        if from.0 < first {
            return Err(LogError::OffsetDropped { topic: stream.to_string(), asked: from, first: Offset(first) });
        }
        let generation = self.generation();
        let start = list.range(..=from.0).next_back().map_or(first, |(base, _)| *base);
        let mut expected = from.0;
        let mut bytes = 0;
        let mut out = Vec::new();
        for keyspace in list.range(start..).map(|(_, keyspace)| keyspace) {
            if expected >= next {
                break;
            }
            let range = (Bound::Included(expected.to_be_bytes()), Bound::Excluded(next.to_be_bytes()));
            for record in keyspace.range::<[u8; 8], _>(range) {
                let (key, value) = record.into_inner().map_err(|e| LogError::Failed(e.to_string()))?;
                let value = Bytes::from(value);
                let (offset, appended_at) = layout::parse_record_key(&key)
                    .filter(|(offset, _)| *offset == expected)
                    .ok_or_else(|| LogError::Failed(format!("record {expected} of `{stream}` is missing")))?;
                if !out.is_empty() && (out.len() >= limit.records || bytes + value.len() > limit.bytes) {
                    return Ok(out);
                }
                bytes += value.len();
                expected += 1;
                out.push(StoredRecord { generation, offset: Offset(offset), appended_at, bytes: value });
            }
        }
        Ok(out)
    }

    /// Shows everything a newly opened store holds.
    pub fn publish_all(&self, store: &Store) {
        let mut segments = Segments::new();
        for (stream, topic) in &store.topics {
            for (partition, state) in (0u32..).zip(&topic.partitions) {
                let list = state.segments.iter().map(|s| (s.base, s.keyspace.clone())).collect();
                segments.insert((*stream, partition), list);
            }
        }
        self.generation.store(store.generation, Ordering::Release);
        *self.segments.write() = Ok(segments);
        for (stream, topic) in &store.topics {
            self.publish_topic(*stream, topic);
            for partition in 0..topic.entry.partitions {
                self.publish_ends(store, *stream, partition);
            }
        }
    }

    /// Shows a topic and its consumers' positions.
    pub fn publish_topic(&self, stream: Stream, topic: &TopicState) {
        let mut topics = self.topics.write();
        let view = topics.entry(stream).or_insert_with(|| {
            let ends = topic.partitions.iter().map(|_| watch::Sender::new(Ends::default())).collect();
            Arc::new(TopicView { ends, positions: RwLock::default() })
        });
        let positions = topic.consumers.iter().map(|(name, c)| (name.clone(), c.positions.clone())).collect();
        *view.positions.write() = positions;
    }

    /// Shows a consumer's position.
    pub fn publish_position(&self, stream: Stream, partition: u32, consumer: &str, next: u64) {
        let Some(view) = self.topics.read().get(&stream).cloned() else { return };
        let mut positions = view.positions.write();
        let list = positions.entry(consumer.to_owned()).or_insert_with(|| vec![0; view.ends.len()]);
        if let Some(slot) = list.get_mut(partition as usize) {
            *slot = next.max(*slot);
        }
    }

    /// Shows a segment.
    pub fn publish_segment(&self, store: &Store, stream: Stream, partition: u32, base: u64) {
        let known = match &*self.segments.read() {
            Ok(segments) => segments.get(&(stream, partition)).is_some_and(|s| s.contains_key(&base)),
            Err(_) => true,
        };
        if !known
            && let Some(segment) = store.segment(stream, partition, base)
            && let Ok(segments) = &mut *self.segments.write()
        {
            segments.entry((stream, partition)).or_default().insert(base, segment.keyspace.clone());
        }
    }

    /// Shows where a partition begins and ends, once all its segments are shown, and wakes those
    /// who wait for it.
    pub fn publish_ends(&self, store: &Store, stream: Stream, partition: u32) {
        let Some(state) = store.topics.get(&stream).and_then(|t| t.partitions.get(partition as usize)) else { return };
        let ends = Ends { first: state.first(), next: state.next() };
        let view = self.topics.read().get(&stream).cloned();
        if let Some(sender) = view.as_ref().and_then(|v| v.ends.get(partition as usize)) {
            sender.send_if_modified(|shown| std::mem::replace(shown, ends) != ends);
        }
    }

    /// Hides segments that retention has taken out.
    pub fn hide(&self, dropped: &[Dropped]) {
        if let Ok(segments) = &mut *self.segments.write() {
            for gone in dropped {
                if let Some(list) = segments.get_mut(&(gone.stream, gone.partition)) {
                    list.remove(&gone.segment.base);
                }
            }
        }
    }

    /// Lets go of every handle, until [`Self::publish_all`].
    pub fn withdraw(&self, reason: String) {
        *self.segments.write() = Err(reason);
    }

    /// The highest offset shown that `store` does not hold, if there is one: the disk has lost
    /// what it had acknowledged.
    pub fn lost(&self, store: &Store) -> Option<String> {
        let topics = self.topics.read();
        topics.iter().find_map(|(stream, view)| {
            (0u32..).zip(&view.ends).find_map(|(partition, ends)| {
                let state = store.topics.get(stream).and_then(|t| t.partitions.get(partition as usize));
                let (held, shown) = (state.map_or(0, super::store::PartitionState::next), ends.borrow().next);
                (held < shown)
                    .then(|| format!("the disk lost acknowledged records of `{stream}` {partition}: {held} to {shown}"))
            })
        })
    }
}

impl TopicView {
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    /// The ends of a partition, and their changes.
    pub fn ends(&self, stream: Stream, partition: Partition) -> Result<watch::Receiver<Ends>, LogError> {
        let unknown = || LogError::UnknownPartition { topic: stream.to_string(), partition };
        self.ends.get(partition.0 as usize).map(watch::Sender::subscribe).ok_or_else(unknown)
    }

    pub fn position(&self, consumer: &str, partition: Partition) -> Offset {
        let positions = self.positions.read();
        Offset(positions.get(consumer).and_then(|p| p.get(partition.0 as usize)).copied().unwrap_or(0))
    }
}

/// The bytes that records take in the queue.
pub(super) fn weight(records: &[Bytes]) -> usize {
    records.iter().map(Bytes::len).sum()
}
