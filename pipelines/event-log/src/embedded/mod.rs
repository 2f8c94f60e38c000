//! The log on one machine's disk, on `fjall`: what `log = "embedded:"` chooses.
//!
//! An acknowledged record has been fsynced. Concurrent appends of all topics share one fsync;
//! readers see what is durable and nothing else. Retention drops whole segments.

mod appender;
mod decide;
mod layout;
mod shared;
mod store;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use event_schemas::{ByteSize, Clock, Millis, Offset, Partition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use self::{
    appender::{Appender, Reply, Request},
    shared::{Shared, weight},
    store::{Store, StoreConfig},
};
use crate::{
    Appended, EventLog, LogError, ReadLimit, StoredRecord, Stream, TopicSpec, Watermarks,
    space::{FreeSpace, SpaceProbe, SystemSpace},
};

/// How an embedded log is opened.
pub struct EmbeddedLogOptions {
    /// Its directory; made if absent. One process at a time may have it open.
    pub path: PathBuf,
    /// Stamps records and decides their age.
    pub clock: Arc<dyn Clock>,
    /// The size at which a partition begins a new segment.
    pub segment_bytes: ByteSize,
    /// The age at which a partition begins a new segment.
    pub segment_age: Millis,
    /// Appends are refused while less than this is free on the file system. It must leave room
    /// for the journal (up to 320 MiB) and for what is being flushed.
    pub free_space_floor: ByteSize,
    /// Tells the free space.
    pub space_probe: Arc<dyn SpaceProbe>,
    /// The most that may wait to be written; appends beyond it wait their turn.
    pub queue_bytes: ByteSize,
    /// The most appends that may wait to be written.
    pub queue_requests: usize,
    /// The generation of the log if it has to be made. Whoever knows of an earlier log in whose
    /// place this one comes gives a higher number than that one had.
    pub new_generation: u64,
}

impl EmbeddedLogOptions {
    /// A log in `path` with segments of 128 MiB or a day, a floor of 1 GiB, and generation 1.
    pub fn new(path: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self {
            path: path.into(),
            clock,
            segment_bytes: ByteSize::mib(128),
            segment_age: Millis::from_days(1),
            free_space_floor: ByteSize::gib(1),
            space_probe: Arc::new(SystemSpace),
            queue_bytes: ByteSize::mib(64),
            queue_requests: 16 << 10,
            new_generation: 1,
        }
    }
}

/// The log on one machine's disk.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Request>,
    closing: AtomicBool,
    queue_bytes: Arc<Semaphore>,
    queue_capacity: u32,
    queue_requests: Arc<Semaphore>,
}

impl EmbeddedLog {
    /// Opens the log, making it if it is absent, and starts its appender. Blocks on the disk for
    /// as long as it takes to read the journal back.
    ///
    /// # Errors
    /// [`LogError::Failed`]: the directory can't be used, another process has it open, or what it
    /// holds is damaged or of a later version.
    pub fn open(options: EmbeddedLogOptions) -> Result<Arc<Self>, LogError> {
        let failed = |e: &dyn std::fmt::Display| LogError::Failed(e.to_string());
        let config = StoreConfig {
            segment_bytes: options.segment_bytes,
            segment_age: options.segment_age,
            new_generation: options.new_generation,
        };
        let store = Store::open(&options.path, config).map_err(|e| failed(&e))?;
        let space = FreeSpace::new(&options.path, options.free_space_floor, options.space_probe);
        let shared = Arc::new(Shared::new());
        let (queue, requests) = mpsc::channel();
        let appender = Appender::new(options.path, config, options.clock, space, shared.clone(), requests, store);
        std::thread::Builder::new()
            .name("event-log".to_owned())
            .spawn(move || appender.run())
            .map_err(|e| failed(&e))?;
        let capacity = u32::try_from(options.queue_bytes.0).unwrap_or(u32::MAX).max(1);
        Ok(Arc::new(Self {
            shared,
            queue,
            closing: AtomicBool::new(false),
            queue_bytes: Arc::new(Semaphore::new(capacity as usize)),
            queue_capacity: capacity,
            queue_requests: Arc::new(Semaphore::new(options.queue_requests.max(1))),
        }))
    }

    async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Request) -> Result<T, LogError> {
        if self.closing.load(Ordering::Acquire) {
            return Err(LogError::Closed);
        }
        let (reply, answer) = oneshot::channel();
        self.queue.send(make(reply)).map_err(|_| LogError::Closed)?;
        answer.await.unwrap_or_else(|_| Err(LogError::Unknown("the log gave no answer".to_owned())))
    }

    async fn room(&self, bytes: usize) -> Result<[OwnedSemaphorePermit; 2], LogError> {
        let request = self.queue_requests.clone().acquire_owned().await.map_err(|_| LogError::Closed)?;
        // A request larger than the whole queue goes when the queue is empty.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.queue_capacity);
        let bytes = self.queue_bytes.clone().acquire_many_owned(bytes).await.map_err(|_| LogError::Closed)?;
        Ok([request, bytes])
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let spec = spec.clone();
        self.ask(|reply| Request::Topic { spec, reply }).await
    }

    async fn partitions(&self, stream: Stream) -> Result<u32, LogError> {
        Ok(self.shared.topic(stream)?.partitions())
    }

    async fn append(&self, stream: Stream, partition: Partition, records: Vec<Bytes>) -> Result<Appended, LogError> {
        let permits = self.room(weight(&records)).await?;
        self.ask(|reply| Request::Append { stream, partition: partition.0, records, permits, reply }).await
    }

    async fn read(
        &self,
        stream: Stream,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<StoredRecord>, LogError> {
        if self.shared.topic(stream)?.ends(stream, partition)?.borrow().next <= from.0 {
            return self.shared.check().map(|()| Vec::new());
        }
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || shared.read(stream, partition, from, limit))
            .await
            .unwrap_or_else(|e| Err(LogError::Failed(e.to_string())))
    }

    async fn wait(&self, stream: Stream, partition: Partition, from: Offset) -> Result<(), LogError> {
        let mut ends = self.shared.topic(stream)?.ends(stream, partition)?;
        tokio::select! {
            biased;
            () = self.shared.closed.cancelled() => Err(LogError::Closed),
            seen = ends.wait_for(|ends| ends.next > from.0) => seen.map(|_| ()).map_err(|_| LogError::Closed),
        }
    }

    async fn watermarks(&self, stream: Stream, partition: Partition) -> Result<Watermarks, LogError> {
        let ends = *self.shared.topic(stream)?.ends(stream, partition)?.borrow();
        Ok(Watermarks { generation: self.shared.generation(), first: Offset(ends.first), next: Offset(ends.next) })
    }

    async fn register_consumer(&self, consumer: &str, stream: Stream) -> Result<(), LogError> {
        let consumer = consumer.to_owned();
        self.ask(|reply| Request::Consumer { stream, consumer, reply }).await
    }

    async fn commit_position(
        &self,
        consumer: &str,
        stream: Stream,
        partition: Partition,
        next: Offset,
    ) -> Result<(), LogError> {
        let (consumer, partition, next) = (consumer.to_owned(), partition.0, next.0);
        self.ask(|reply| Request::Position { stream, partition, consumer, next, reply }).await
    }

    async fn committed_position(
        &self,
        consumer: &str,
        stream: Stream,
        partition: Partition,
    ) -> Result<Offset, LogError> {
        let topic = self.shared.topic(stream)?;
        topic.ends(stream, partition)?;
        Ok(topic.position(consumer, partition))
    }

    async fn check(&self) -> Result<(), LogError> {
        self.shared.check()
    }

    async fn close(&self) {
        if !self.closing.swap(true, Ordering::AcqRel) {
            // It fails only if the appender has ended, which is what is wanted.
            let _ = self.queue.send(Request::Close);
        }
        self.shared.closed.cancelled().await;
    }
}
