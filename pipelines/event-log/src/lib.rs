//! The log seam: durable, partitioned, ordered topics of opaque records.
//!
//! [`EventLog`] states what every back end guarantees; `embedded` keeps it on one machine's disk,
//! and the crate `event-log-fluvio` on a cluster of brokers.
//! Producers stamp records through `runtime::Producer`; stages read through `runtime::consume`.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod embedded;
pub mod error;
#[cfg(feature = "conformance")]
pub mod failing;
pub mod space;

use async_trait::async_trait;
use bytes::Bytes;
use event_schemas::{Offset, Partition, Timestamp, Topic};

pub use embedded::{EmbeddedLog, EmbeddedLogOptions};
pub use error::LogError;

/// Which stream of a topic: its records, or those that could not be processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// The topic itself.
    Main(Topic),
    /// `<topic>.dlq`: dead letters of the topic, one partition.
    DeadLetters(Topic),
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Main(topic) => topic.fmt(f),
            Self::DeadLetters(topic) => write!(f, "{topic}.dlq"),
        }
    }
}

/// How a topic is laid out and for how long it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// The stream.
    pub stream: Stream,
    /// The number of partitions; fixed once the topic exists.
    pub partitions: u32,
    /// Records older than this may be dropped; see the guarantees of [`EventLog`].
    pub retain_for: event_schemas::Millis,
    /// The size from which the oldest records may be dropped, likewise. While consumers that lag
    /// would lose records to this limit, appends are refused with [`LogError::Full`].
    pub retain_bytes: event_schemas::ByteSize,
}

/// Where an append came to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The life of the log; see [`Watermarks::generation`].
    pub generation: u64,
    /// The offset of the first record appended; the others follow without gaps.
    pub first: Offset,
}

/// A record as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The life of the log it was read from.
    pub generation: u64,
    /// Its position.
    pub offset: Offset,
    /// When the log took it, by the log's clock.
    pub appended_at: Timestamp,
    /// The bytes appended, unchanged: an encoded [`event_schemas::Envelope`].
    pub bytes: Bytes,
}

/// The ends of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Rises when a log is made anew and its offsets start again; provenance is ordered by
    /// (generation, partition, offset).
    pub generation: u64,
    /// The first record still kept.
    pub first: Offset,
    /// One past the last durable record.
    pub next: Offset,
}

/// How much one read returns at most. At least one record is returned if there is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Records.
    pub records: usize,
    /// Bytes.
    pub bytes: usize,
}

impl Default for ReadLimit {
    fn default() -> Self {
        Self { records: 1024, bytes: 8 << 20 }
    }
}

/// A durable log of topics.
///
/// # Guarantees
/// * **Durable**: `append` resolves only when the records are as durable as the back end makes them
///   (embedded: after fsync, they survive the loss of power; Fluvio: on every replica, they survive
///   the loss of all brokers but one). Readers never see a record that is not durable yet.
/// * **Ordered**: offsets of a partition rise by one without gaps, in the order of the appends;
///   the records of one `append` are adjacent and appear together or not at all.
/// * **Unknown outcomes**: on [`LogError::is_unknown_outcome`] the records may or may not have been
///   stored. The producer resends the same records before anything newer; consumers skip what
///   they have taken already by its `ProducerStamp`.
/// * **Retention**: a record is dropped only past the topic's limits of age or size. The embedded
///   log drops it only when, besides, every registered consumer has committed a position past it.
///   Brokers drop by age and size alone: there intake stops with [`LogError::Full`] well before
///   the slowest registered consumer's lag reaches a limit, which keeps size from dropping what is
///   not read, and leaves half of the age kept as the time to bring the consumer back.
/// * **Cancellation**: dropping an `append` future does not take the records back.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Makes the topic if it is absent. An existing topic keeps its partitions; its retention
    /// is replaced, or, where the back end can't, kept and logged.
    ///
    /// # Errors
    /// [`LogError::PartitionCount`] if it exists with another number of partitions;
    /// [`LogError::Configuration`] if the back end can't make it as its settings say.
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError>;

    /// The number of partitions.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`].
    async fn partitions(&self, stream: Stream) -> Result<u32, LogError>;

    /// Appends `records` (encoded envelopes) in order and resolves when they are durable.
    ///
    /// # Errors
    /// [`LogError::Full`] while consumers lag too far for the topic's limits, or under the disk's
    /// free-space floor; [`LogError::Configuration`] if the records are more than one append may
    /// hold; [`LogError::Closed`] during shutdown.
    async fn append(&self, stream: Stream, partition: Partition, records: Vec<Bytes>) -> Result<Appended, LogError>;

    /// Reads records from `from` on, in order. Empty if there is none yet.
    ///
    /// # Errors
    /// [`LogError::OffsetDropped`] if `from` lies before the first record kept.
    async fn read(
        &self,
        stream: Stream,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<StoredRecord>, LogError>;

    /// Resolves when the partition holds a durable record at `from` or later. Cancel-safe.
    ///
    /// # Errors
    /// [`LogError::Closed`] during shutdown.
    async fn wait(&self, stream: Stream, partition: Partition, from: Offset) -> Result<(), LogError>;

    /// The ends of a partition.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`].
    async fn watermarks(&self, stream: Stream, partition: Partition) -> Result<Watermarks, LogError>;

    /// Makes retention, or intake, wait for `consumer` on this stream from now on. Registering
    /// twice is harmless.
    ///
    /// # Errors
    /// A failing disk or server.
    async fn register_consumer(&self, consumer: &str, stream: Stream) -> Result<(), LogError>;

    /// Records, durably, that `consumer` will never ask for anything before `next` again. A
    /// position never moves back: a lower one is ignored.
    ///
    /// # Errors
    /// A failing disk or server. Trying again is harmless.
    async fn commit_position(
        &self,
        consumer: &str,
        stream: Stream,
        partition: Partition,
        next: Offset,
    ) -> Result<(), LogError>;

    /// The position last committed; 0 if none was. It is a hint for retention and lag: a
    /// consumer that keeps state takes its offset from that state.
    ///
    /// # Errors
    /// A failing disk or server.
    async fn committed_position(
        &self,
        consumer: &str,
        stream: Stream,
        partition: Partition,
    ) -> Result<Offset, LogError>;

    /// Whether the log answers, for readiness.
    ///
    /// # Errors
    /// What stands in the way.
    async fn check(&self) -> Result<(), LogError>;

    /// Stops taking appends, makes durable what was taken, and lets waiting readers go.
    async fn close(&self);
}
