//! What ends a life of the writer, whose fault it is and whether to try again.

use catalog::CatalogError;
use event_log::LogError;
use event_schemas::{Fault, Faulty, Offset, Partition};
use intake::IntakeError;
use lake_tables::LakeError;
use runtime::SendError;

/// Why a life of the writer ended.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// Another writer owns the partition now; this one has committed nothing since.
    #[error("partition {0} was taken over by another writer")]
    Fenced(Partition),
    /// A commit has an unknown outcome and the table shows that it was not made.
    #[error("a commit was not made")]
    NotCommitted(#[source] Box<LakeError>),
    /// The table shows something that no writer of this program leaves.
    #[error("partition {partition} stands at {found} in the lake, neither at {before} nor at {after}")]
    Diverged {
        /// The partition.
        partition: Partition,
        /// Where it stands.
        found: Offset,
        /// Where it stood before the commit.
        before: Offset,
        /// Where the commit would have set it.
        after: Offset,
    },
    /// The lake is ahead of the log: the log was made anew or restored from an earlier copy.
    #[error(
        "partition {partition} stands at {lake} in the lake and ends at {log} in the log: the log is not the one that filled this lake"
    )]
    LogBehind {
        /// The partition.
        partition: Partition,
        /// Where the lake stands.
        lake: Offset,
        /// Where the log ends.
        log: Offset,
    },
    /// The lake failed.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// A row could not be given the table's form.
    #[error("rows that do not fit the table")]
    Rows(#[from] arrow::error::ArrowError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The state store failed.
    #[error(transparent)]
    State(#[from] IntakeError),
    /// A dead letter could not be kept.
    #[error("a dead letter could not be kept")]
    DeadLetter(#[from] SendError),
    /// Reading the table back failed.
    #[error("the table could not be read back")]
    Rebuild(#[from] datafusion::error::DataFusionError),
    /// A task of the writer panicked.
    #[error("a task of the writer stopped")]
    Stopped(#[from] tokio::task::JoinError),
}

impl From<deltalake::DeltaTableError> for WriterError {
    fn from(error: deltalake::DeltaTableError) -> Self {
        Self::Lake(error.into())
    }
}

impl From<fjall::Error> for WriterError {
    fn from(error: fjall::Error) -> Self {
        Self::State(error.into())
    }
}

impl Faulty for WriterError {
    fn fault(&self) -> Fault {
        match self {
            Self::Fenced(_) | Self::NotCommitted(_) | Self::Rebuild(_) => Fault::Dependency,
            Self::Diverged { .. } | Self::LogBehind { .. } | Self::Rows(_) | Self::Stopped(_) => Fault::Program,
            Self::Lake(error) => error.fault(),
            Self::Log(error) => error.fault(),
            Self::Catalog(error) => error.fault(),
            Self::State(error) => error.fault(),
            Self::DeadLetter(error) => error.fault(),
        }
    }
}
