//! What can go wrong with the log, whose fault it is and whether to try again.

use event_schemas::{Fault, Faulty, Offset, Partition};

/// An error of the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The topic was never made.
    #[error("the log has no topic `{0}`")]
    UnknownTopic(String),
    /// The topic has fewer partitions.
    #[error("topic `{topic}` has no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: Partition,
    },
    /// The topic exists with another number of partitions.
    #[error(
        "topic `{topic}` has {existing} partitions and can't be given {wanted}: keep the number, or use another data directory or topic prefix"
    )]
    PartitionCount {
        /// The topic.
        topic: String,
        /// What it has.
        existing: u32,
        /// What was asked for.
        wanted: u32,
    },
    /// Retention has dropped the record.
    #[error("offset {asked} of topic `{topic}` is no longer kept; the first kept is {first}")]
    OffsetDropped {
        /// The topic.
        topic: String,
        /// What was asked for.
        asked: Offset,
        /// The first that can be read.
        first: Offset,
    },
    /// The address or a setting of the log can't work as it is.
    #[error("the log's settings don't fit: {0}")]
    Configuration(String),
    /// No room: over the topic's limit with slow consumers, or under the disk's floor.
    #[error("the log takes no more for the moment: {0}")]
    Full(String),
    /// The log is shutting down.
    #[error("the log is closed")]
    Closed,
    /// The disk or the server failed before anything was stored.
    #[error("the log failed: {0}")]
    Failed(String),
    /// The disk or the server failed and the records may or may not have been stored.
    #[error("the log failed and may have stored the records: {0}")]
    Unknown(String),
}

impl LogError {
    /// True if the records may have been stored all the same.
    #[must_use]
    pub const fn is_unknown_outcome(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

impl Faulty for LogError {
    fn fault(&self) -> Fault {
        match self {
            Self::UnknownTopic(_) | Self::UnknownPartition { .. } | Self::OffsetDropped { .. } => Fault::Program,
            Self::PartitionCount { .. } | Self::Configuration(_) => Fault::Caller,
            Self::Full(_) | Self::Closed | Self::Failed(_) | Self::Unknown(_) => Fault::Dependency,
        }
    }
}
