//! What ends a run of the stage, whose fault it is and whether to try again.

use event_log::LogError;
use event_schemas::{Fault, Faulty, Offset, Partition};
use intake::IntakeError;
use runtime::SendError;
use serving_store::ServingError;

use crate::HistoryError;

/// An error of the `views` stage.
#[derive(Debug, thiserror::Error)]
pub enum ViewsError {
    /// The stage's state is lost, and neither the log nor the lake holds all that it was made from.
    #[error(
        "the counts of partition {partition} can't be made anew: the lake holds what lies before {lake} and the log what lies after {first}"
    )]
    StateLost {
        /// The partition.
        partition: Partition,
        /// What the lake has taken.
        lake: Offset,
        /// The first record still kept by the log.
        first: Offset,
    },
    /// The past can't be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The state is ahead of the log.
    #[error(
        "partition {partition} was counted up to {state} and ends at {log} in the log: the log is not the one it was counted from"
    )]
    LogBehind {
        /// The partition.
        partition: Partition,
        /// Where the state stands.
        state: Offset,
        /// Where the log ends.
        log: Offset,
    },
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The state store failed.
    #[error(transparent)]
    State(#[from] IntakeError),
    /// The serving store failed.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// A counted view could not be sent on.
    #[error("a counted view could not be sent on")]
    Send(#[from] SendError),
    /// A task of the stage panicked.
    #[error("a task of the views stage stopped")]
    Stopped(#[from] tokio::task::JoinError),
}

impl From<fjall::Error> for ViewsError {
    fn from(error: fjall::Error) -> Self {
        Self::State(error.into())
    }
}

impl Faulty for ViewsError {
    fn fault(&self) -> Fault {
        match self {
            Self::StateLost { .. } | Self::LogBehind { .. } | Self::Stopped(_) => Fault::Program,
            Self::History(error) => error.fault(),
            Self::Log(error) => error.fault(),
            Self::State(error) => error.fault(),
            Self::Serving(error) => error.fault(),
            Self::Send(error) => error.fault(),
        }
    }
}
