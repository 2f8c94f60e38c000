//! The opened database of the embedded log, as its single writer sees it.
//!
//! Changes are staged into a batch and become real all together in [`Store::commit`]. After any
//! error of the database the whole `Store` is thrown away and read again from disk, so a staged
//! change that failed leaves nothing behind in memory.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::Path,
};

use bytes::Bytes;
use event_schemas::{ByteSize, Millis, Timestamp};
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    config::{BlockSizePolicy, FilterPolicy},
};

use super::{
    decide::{self, Retention, SegmentView},
    layout::{self, MetaKey, SegmentEntry, TopicEntry},
};
use crate::{LogError, Stream, TopicSpec};

/// How much journal is kept before idle keyspaces are flushed to let go of it.
const JOURNAL_BYTES: u64 = 256 << 20;
const CACHE_BYTES: u64 = 64 << 20;
const MEMTABLE_BYTES: u64 = 32 << 20;
/// Sealed memtables of a keyspace at which the writer waits for the flush. Fjall itself waits at
/// four, for ever if its workers have died.
const SEALED_MEMTABLES: usize = 3;

/// How segments are cut, and the generation of a log made anew.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoreConfig {
    pub segment_bytes: ByteSize,
    pub segment_age: Millis,
    pub new_generation: u64,
}

/// Why the store can't be used any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the log's database failed: {0}")]
    Database(#[from] fjall::Error),
    #[error("the log's directory can't be used: {0}")]
    Directory(#[from] std::io::Error),
    #[error("{0}")]
    Damaged(String),
}

/// Why a change was not staged.
pub(super) enum NotStaged {
    /// The request can't be met; others of the same batch can.
    Refused(LogError),
    /// The database failed: nothing of the batch was stored.
    Broken(Broken),
}

impl<E: Into<Broken>> From<E> for NotStaged {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

pub(super) struct Segment {
    pub base: u64,
    pub keyspace: Keyspace,
    pub entry: SegmentEntry,
}

#[derive(Default)]
pub(super) struct PartitionState {
    /// The last one takes the appends; none before the first append.
    pub segments: VecDeque<Segment>,
}

impl PartitionState {
    /// One past the last record.
    pub fn next(&self) -> u64 {
        self.segments.back().map_or(0, |s| s.entry.next)
    }

    /// The first record kept.
    pub fn first(&self) -> u64 {
        self.segments.front().map_or(0, |s| s.base)
    }
}

#[derive(Default)]
pub(super) struct Consumer {
    /// Whether retention waits for it.
    pub registered: bool,
    /// Its position by partition.
    pub positions: Vec<u64>,
}

pub(super) struct TopicState {
    pub entry: TopicEntry,
    pub partitions: Vec<PartitionState>,
    pub consumers: BTreeMap<String, Consumer>,
    pub bytes: u64,
}

impl TopicState {
    fn new(entry: TopicEntry) -> Self {
        let partitions = (0..entry.partitions).map(|_| PartitionState::default()).collect();
        Self { entry, partitions, consumers: BTreeMap::new(), bytes: 0 }
    }

    fn consumer(&mut self, name: &str) -> &mut Consumer {
        let partitions = self.partitions.len();
        let consumer = self.consumers.entry(name.to_owned()).or_default();
        consumer.positions.resize(partitions, 0);
        consumer
    }

    fn droppable(&self, now: Timestamp) -> Vec<SegmentView> {
        let limits = Retention { retain_for: self.entry.retain_for, retain_bytes: self.entry.retain_bytes };
        let over = self.bytes > limits.retain_bytes.0
            || self
                .partitions
                .iter()
                .any(|p| p.segments.front().is_some_and(|s| now.since(s.entry.last_at) > limits.retain_for));
        if !over {
            return Vec::new();
        }
        let views: Vec<Vec<SegmentView>> = (0u32..)
            .zip(&self.partitions)
            .map(|(partition, state)| {
                let view = |s: &Segment| SegmentView {
                    partition,
                    base: s.base,
                    next: s.entry.next,
                    bytes: s.entry.bytes,
                    last_at: s.entry.last_at,
                };
                state.segments.iter().map(view).collect()
            })
            .collect();
        let passed: Vec<u64> = (0..self.partitions.len())
            .map(|p| {
                let registered = self.consumers.values().filter(|c| c.registered);
                registered.map(|c| c.positions.get(p).copied().unwrap_or(0)).min().unwrap_or(u64::MAX)
            })
            .collect();
        decide::droppable(&views, &passed, limits, now)
    }
}

/// A segment that retention has taken out of the list but whose keyspace still exists.
pub(super) struct Dropped {
    pub stream: Stream,
    pub partition: u32,
    pub segment: Segment,
}

pub(super) struct Store {
    pub generation: u64,
    pub topics: BTreeMap<Stream, TopicState>,
    /// Segments with staged or just committed records, by stream, partition and base.
    pub touched: BTreeSet<(Stream, u32, u64)>,
    config: StoreConfig,
    meta: Keyspace,
    db: Database,
}

impl Store {
    /// Opens or makes the database in `path` and reads what it holds.
    pub fn open(path: &Path, config: StoreConfig) -> Result<Self, Broken> {
        if !path.try_exists()? {
            std::fs::create_dir_all(path)?;
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                std::fs::File::open(parent)?.sync_all()?;
            }
        }
        let db = Database::builder(path)
            .worker_threads(2)
            .manual_journal_persist(true)
            .max_journaling_size(JOURNAL_BYTES)
            .journal_compression(fjall::CompressionType::None)
            .cache_size(CACHE_BYTES)
            .open()?;
        let meta = db.keyspace("meta", || KeyspaceCreateOptions::default().manual_journal_persist(true))?;
        let mut store = Self { generation: 0, topics: BTreeMap::new(), touched: BTreeSet::new(), config, meta, db };
        store.load()?;
        Ok(store)
    }

    fn load(&mut self) -> Result<(), Broken> {
        let damaged = |what: &str| Broken::Damaged(format!("the log's list of segments is damaged: {what}"));
        let mut format = None;
        let mut entries = Vec::new();
        for guard in self.meta.iter() {
            let (key, value) = guard.into_inner()?;
            let key = MetaKey::decode(&key).ok_or_else(|| {
                Broken::Damaged(format!("the log holds `{}`, which this program does not know", key.escape_ascii()))
            })?;
            let number = || layout::parse_number(&value).ok_or_else(|| damaged("a number"));
            match key {
                MetaKey::Format => format = Some(number()?),
                MetaKey::Generation => self.generation = number()?,
                MetaKey::Topic(stream) => {
                    let entry = serde_json::from_slice(&value).map_err(|e| damaged(&e.to_string()))?;
                    self.topics.insert(stream, TopicState::new(entry));
                }
                other => entries.push((other, value)),
            }
        }
        match format {
            None => self.initialise()?,
            Some(layout::FORMAT) => {}
            Some(other) => {
                let known = layout::FORMAT;
                return Err(Broken::Damaged(format!("the log has format {other}; this program reads {known}")));
            }
        }
        let mut referenced = BTreeSet::from(["meta".to_owned()]);
        for (key, value) in entries {
            match key {
                MetaKey::Consumer(stream, name) => {
                    self.topic(stream).map_err(|e| damaged(&e.to_string()))?.consumer(&name).registered = true;
                }
                MetaKey::Position(stream, partition, name) => {
                    let topic = self.topic(stream).map_err(|e| damaged(&e.to_string()))?;
                    let at = layout::parse_number(&value).ok_or_else(|| damaged("a position"))?;
                    let slot = topic.consumer(&name).positions.get_mut(partition as usize);
                    *slot.ok_or_else(|| damaged("a position's partition"))? = at;
                }
                MetaKey::Segment(stream, partition, base) => {
                    let entry = SegmentEntry::decode(&value).ok_or_else(|| damaged("a segment"))?;
                    referenced.insert(layout::segment_keyspace(stream, partition, base));
                    self.load_segment(stream, partition, base, entry)?;
                }
                MetaKey::Format | MetaKey::Generation | MetaKey::Topic(_) => {}
            }
        }
        // A crash between the making or dropping of a keyspace and its entry leaves one over.
        for name in self.db.list_keyspace_names() {
            if !referenced.contains(&*name) {
                let keyspace = self.db.keyspace(&name, KeyspaceCreateOptions::default)?;
                self.db.delete_keyspace(keyspace)?;
            }
        }
        Ok(())
    }

    fn initialise(&mut self) -> Result<(), Broken> {
        self.generation = self.config.new_generation;
        let mut batch = self.batch();
        batch.insert(&self.meta, MetaKey::Format.encode(), layout::FORMAT.to_le_bytes());
        batch.insert(&self.meta, MetaKey::Generation.encode(), self.generation.to_le_bytes());
        Ok(batch.commit()?)
    }

    fn load_segment(&mut self, stream: Stream, partition: u32, base: u64, entry: SegmentEntry) -> Result<(), Broken> {
        let name = layout::segment_keyspace(stream, partition, base);
        let damaged = |what: String| Broken::Damaged(format!("segment {name} of the log is damaged: {what}"));
        if !self.db.keyspace_exists(&name) {
            return Err(damaged("its keyspace is gone".to_owned()));
        }
        let keyspace = self.db.keyspace(&name, KeyspaceCreateOptions::default)?;
        let last = match keyspace.last_key_value() {
            None => base,
            Some(guard) => {
                let key = guard.key()?;
                layout::parse_record_key(&key).ok_or_else(|| damaged("a key".to_owned()))?.0 + 1
            }
        };
        if last != entry.next {
            return Err(damaged(format!("it ends at {last} where {} was acknowledged", entry.next)));
        }
        let topic = self.topic(stream).map_err(|e| damaged(e.to_string()))?;
        topic.bytes += entry.bytes;
        let state = topic.partitions.get_mut(partition as usize).ok_or_else(|| damaged("its partition".to_owned()))?;
        if state.segments.back().is_some_and(|before| before.entry.next != base) {
            return Err(damaged("the one before it is gone".to_owned()));
        }
        state.segments.push_back(Segment { base, keyspace, entry });
        Ok(())
    }

    fn topic(&mut self, stream: Stream) -> Result<&mut TopicState, LogError> {
        self.topics.get_mut(&stream).ok_or_else(|| LogError::UnknownTopic(stream.to_string()))
    }

    /// A segment, looked for from the newest on.
    pub fn segment(&self, stream: Stream, partition: u32, base: u64) -> Option<&Segment> {
        let state = self.topics.get(&stream)?.partitions.get(partition as usize)?;
        state.segments.iter().rev().find(|s| s.base == base)
    }

    /// An empty batch, durable once committed.
    pub fn batch(&self) -> OwnedWriteBatch {
        self.db.batch().durability(Some(PersistMode::SyncData))
    }

    /// Stages the making of a topic, or the change of its retention.
    pub fn stage_topic(&mut self, batch: &mut OwnedWriteBatch, spec: &TopicSpec) -> Result<(), NotStaged> {
        let entry =
            TopicEntry { partitions: spec.partitions, retain_for: spec.retain_for, retain_bytes: spec.retain_bytes };
        let json = serde_json::to_vec(&entry).map_err(|e| NotStaged::Refused(LogError::Failed(e.to_string())))?;
        let topic = self.topics.entry(spec.stream).or_insert_with(|| TopicState::new(entry.clone()));
        if topic.entry.partitions != spec.partitions {
            return Err(NotStaged::Refused(LogError::PartitionCount {
                topic: spec.stream.to_string(),
                existing: topic.entry.partitions,
                wanted: spec.partitions,
            }));
        }
        topic.entry = entry;
        batch.insert(&self.meta, MetaKey::Topic(spec.stream).encode(), json);
        Ok(())
    }

    /// Stages a consumer's registration.
    pub fn stage_consumer(
        &mut self,
        batch: &mut OwnedWriteBatch,
        stream: Stream,
        consumer: &str,
    ) -> Result<(), NotStaged> {
        self.topic(stream).map_err(NotStaged::Refused)?.consumer(consumer).registered = true;
        batch.insert(&self.meta, MetaKey::Consumer(stream, consumer.to_owned()).encode(), Bytes::new());
        Ok(())
    }

    /// Stages a position. False if it would move back.
    pub fn stage_position(
        &mut self,
        batch: &mut OwnedWriteBatch,
        stream: Stream,
        partition: u32,
        consumer: &str,
        next: u64,
    ) -> Result<bool, NotStaged> {
        let topic = self.topic(stream).map_err(NotStaged::Refused)?;
        let slot = topic.consumer(consumer).positions.get_mut(partition as usize);
        let slot = slot.ok_or_else(|| NotStaged::Refused(unknown_partition(stream, partition)))?;
        if *slot >= next {
            return Ok(false);
        }
        *slot = next;
        let key = MetaKey::Position(stream, partition, consumer.to_owned());
        batch.insert(&self.meta, key.encode(), next.to_le_bytes());
        Ok(true)
    }

    /// Stages records and gives the offset of the first.
    pub fn stage_append(
        &mut self,
        batch: &mut OwnedWriteBatch,
        stream: Stream,
        partition: u32,
        records: Vec<Bytes>,
        now: Timestamp,
    ) -> Result<u64, NotStaged> {
        let config = self.config;
        let topic = self.topics.get_mut(&stream);
        let topic = topic.ok_or_else(|| NotStaged::Refused(LogError::UnknownTopic(stream.to_string())))?;
        let retain_bytes = topic.entry.retain_bytes;
        let state = topic.partitions.get_mut(partition as usize);
        let state = state.ok_or_else(|| NotStaged::Refused(unknown_partition(stream, partition)))?;
        if topic.bytes > retain_bytes.0 {
            let reason = format!("topic `{stream}` is over its limit of {retain_bytes} and its consumers lag");
            return Err(NotStaged::Refused(LogError::Full(reason)));
        }
        let next = state.next();
        if records.is_empty() {
            return Ok(next);
        }
        let roll = state.segments.back().is_none_or(|s| {
            let (entry, bytes, age) = (s.entry, config.segment_bytes, config.segment_age);
            entry.next > s.base && decide::is_full(entry.bytes, entry.created_at, now, bytes, age, retain_bytes)
        });
        if roll {
            state.segments.push_back(new_segment(&self.db, stream, partition, next, now)?);
        }
        let Some(active) = state.segments.back_mut() else { return Ok(next) };
        for record in records {
            let bytes = record.len() as u64 + 16;
            batch.insert(&active.keyspace, layout::record_key(active.entry.next, now), record);
            active.entry.next += 1;
            active.entry.bytes += bytes;
            topic.bytes += bytes;
        }
        active.entry.last_at = now;
        self.touched.insert((stream, partition, active.base));
        Ok(next)
    }

    /// Makes everything staged durable, all together.
    ///
    /// On an error it may or may not be, unless the error is [`fjall::Error::Poisoned`].
    pub fn commit(&mut self, mut batch: OwnedWriteBatch) -> Result<(), Broken> {
        for (stream, partition, base) in &self.touched {
            let Some(segment) = self.segment(*stream, *partition, *base) else { continue };
            let key = MetaKey::Segment(*stream, *partition, *base);
            batch.insert(&self.meta, key.encode(), segment.entry.encode());
            while segment.keyspace.sealed_memtable_count() >= SEALED_MEMTABLES {
                self.db.persist(PersistMode::Buffer)?;
                std::thread::park_timeout(std::time::Duration::from_millis(2));
            }
        }
        Ok(batch.commit()?)
    }

    /// Takes out, durably, the segments that retention lets go. The caller drops their keyspaces
    /// with [`Self::delete`] when no reader can reach them any more.
    pub fn retain(&mut self, now: Timestamp) -> Result<Vec<Dropped>, Broken> {
        let mut dropped = Vec::new();
        let mut batch = self.batch();
        for (stream, topic) in &mut self.topics {
            for view in topic.droppable(now) {
                let Some(state) = topic.partitions.get_mut(view.partition as usize) else { continue };
                if state.segments.len() == 1 {
                    // The next offset lives on in an empty segment.
                    let segment = new_segment(&self.db, *stream, view.partition, view.next, now)?;
                    let key = MetaKey::Segment(*stream, view.partition, segment.base);
                    batch.insert(&self.meta, key.encode(), segment.entry.encode());
                    self.touched.insert((*stream, view.partition, segment.base));
                    state.segments.push_back(segment);
                }
                let Some(segment) = state.segments.pop_front() else { continue };
                topic.bytes -= segment.entry.bytes;
                batch.remove(&self.meta, MetaKey::Segment(*stream, view.partition, segment.base).encode());
                dropped.push(Dropped { stream: *stream, partition: view.partition, segment });
            }
        }
        if !dropped.is_empty() {
            batch.commit()?;
        }
        Ok(dropped)
    }

    /// Deletes the files of a segment.
    pub fn delete(&self, dropped: Dropped) -> Result<(), Broken> {
        Ok(self.db.delete_keyspace(dropped.segment.keyspace)?)
    }
}

fn unknown_partition(stream: Stream, partition: u32) -> LogError {
    LogError::UnknownPartition { topic: stream.to_string(), partition: event_schemas::Partition(partition) }
}

fn new_segment(
    db: &Database,
    stream: Stream,
    partition: u32,
    base: u64,
    now: Timestamp,
) -> Result<Segment, fjall::Error> {
    // Keys only grow and are read by range: filters would never be asked.
    let keyspace = db.keyspace(&layout::segment_keyspace(stream, partition, base), || {
        KeyspaceCreateOptions::default()
            .manual_journal_persist(true)
            .max_memtable_size(MEMTABLE_BYTES)
            .filter_policy(FilterPolicy::disabled())
            .data_block_size_policy(BlockSizePolicy::all(32 << 10))
    })?;
    Ok(Segment { base, keyspace, entry: SegmentEntry { created_at: now, last_at: now, next: base, bytes: 0 } })
}

/// Writes every journal file of a closed database anew.
///
/// After a failed fsync the kernel may show bytes that it will never write: what fjall then reads
/// back would be lost by the next power cut, and everything after it. A fresh copy is written and
/// fsynced before the database is opened again.
pub(super) fn rewrite_journals(path: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let journal = entry?.path();
        if journal.extension().is_none_or(|extension| extension != "jnl") {
            continue;
        }
        let copy = journal.with_extension("copy");
        if let Err(error) = copy_durably(&journal, &copy) {
            // Half a copy would only take room; that it can't be removed changes nothing.
            let _ = std::fs::remove_file(&copy);
            return Err(error);
        }
        std::fs::rename(&copy, &journal)?;
    }
    std::fs::File::open(path)?.sync_all()
}

/// Not `fs::copy`, which may share the blocks instead of writing them.
fn copy_durably(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut from = std::fs::File::open(from)?;
    let mut to = std::fs::File::create(to)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = std::io::Read::read(&mut from, &mut buffer)?;
        if read == 0 {
            return to.sync_all();
        }
        std::io::Write::write_all(&mut to, &buffer[..read])?;
    }
}
