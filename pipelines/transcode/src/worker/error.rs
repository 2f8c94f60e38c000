//! How a transcode can fail, whose fault it is, whether another attempt can help, and what the owner of
//! the video is told.

use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus};

use event_schemas::{Fault, Faulty};
use nix::sys::signal::Signal;

use super::reader::ReadError;
use crate::protocol::{FailureKind, ProtocolError};

/// A transcode ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The child can't be started.
    #[error("the transcoding child can't be started")]
    Spawn(#[source] io::Error),
    /// The mandatory parts of the sandbox can't be had.
    #[error("the transcoding child can't be shut in: {0}")]
    Sandbox(String),
    /// The child found the source, or a component, wanting.
    #[error("the transcode failed: {reason}")]
    Failed {
        /// Whose fault.
        kind: FailureKind,
        /// In words for the owner.
        reason: String,
    },
    /// The child ended by itself before it was done.
    #[error("the transcoding child ended early: {status}{}", if stderr.is_empty() { String::new() } else { format!(": {stderr}") })]
    Died {
        /// How.
        status: ExitStatus,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The child made no progress and was killed.
    #[error("the transcoding child made no progress for {0:?}")]
    Hung(std::time::Duration),
    /// The transcode took too long and was killed.
    #[error("the transcode took longer than {0:?}")]
    TooSlow(std::time::Duration),
    /// The child produced more than is allowed and was killed.
    #[error("the transcode produced more than {0} bytes")]
    TooMuch(u64),
    /// The child broke the protocol and was killed.
    #[error("the transcoding child broke the protocol")]
    Protocol(#[from] ProtocolError),
    /// The source can't be read.
    #[error("the source can't be read")]
    Source(#[from] ReadError),
    /// The output can't be stored.
    #[error("the output can't be stored")]
    Sink(#[source] SinkError),
    /// Stopped from outside.
    #[error("the transcode was cancelled")]
    Cancelled,
}

/// An [`OutputSink`](super::OutputSink) refused or failed.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

impl RunError {
    /// True if another attempt may end otherwise with the source unchanged.
    #[must_use]
    pub fn is_worth_another_attempt(&self) -> bool {
        match self {
            Self::Failed { kind, .. } => *kind != FailureKind::Source,
            Self::Died { status, .. } => status.signal() != Some(Signal::SIGXCPU as i32),
            Self::TooSlow(_) | Self::TooMuch(_) => false,
            Self::Spawn(_)
            | Self::Sandbox(_)
            | Self::Hung(_)
            | Self::Protocol(_)
            | Self::Source(_)
            | Self::Sink(_)
            | Self::Cancelled => true,
        }
    }

    /// True if the attempt says nothing about the source: it should not count against it.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Spawn(_)
                | Self::Sandbox(_)
                | Self::Source(_)
                | Self::Sink(_)
                | Self::Cancelled
                | Self::Failed { kind: FailureKind::Read, .. }
        )
    }

    /// What the owner of the video is told.
    #[must_use]
    pub fn reason(&self) -> String {
        let reason = match self {
            Self::Failed { reason, .. } => return reason.chars().take(500).collect(),
            Self::Died { status, .. } if status.signal() == Some(Signal::SIGXCPU as i32) => {
                "the video needs more processing time than we allow"
            }
            Self::Died { status, .. } if status.signal() == Some(Signal::SIGKILL as i32) => {
                "processing the video needed more memory than there is"
            }
            Self::Died { .. } => "the video makes our decoder crash",
            Self::Hung(_) => "processing the video got stuck",
            Self::TooSlow(_) => "the video takes longer to process than we allow",
            Self::TooMuch(_) => "the video's renditions are larger than we allow",
            Self::Protocol(_) => "the video makes our decoder misbehave",
            Self::Spawn(_) | Self::Sandbox(_) => "the server can't transcode at present",
            Self::Source(_) => "the uploaded file could not be read",
            Self::Sink(_) => "the renditions could not be stored",
            Self::Cancelled => "processing was interrupted",
        };
        reason.to_owned()
    }
}

impl Faulty for RunError {
    fn fault(&self) -> Fault {
        match self {
            Self::Failed { kind: FailureKind::Source, .. } | Self::TooSlow(_) | Self::TooMuch(_) => Fault::Caller,
            Self::Failed { kind: FailureKind::Internal, .. }
            | Self::Died { .. }
            | Self::Hung(_)
            | Self::Protocol(_)
            | Self::Sandbox(_) => Fault::Program,
            Self::Failed { kind: FailureKind::Read, .. }
            | Self::Spawn(_)
            | Self::Source(_)
            | Self::Sink(_)
            | Self::Cancelled => Fault::Dependency,
        }
    }

    fn is_retryable(&self) -> bool {
        self.is_worth_another_attempt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn died(raw: i32) -> RunError {
        RunError::Died { status: ExitStatus::from_raw(raw), stderr: String::new() }
    }

    #[test]
    fn each_end_has_its_verdict() {
        let source = RunError::Failed { kind: FailureKind::Source, reason: "the file is damaged".into() };
        let table = [
            (source, false, "the file is damaged"),
            (died(Signal::SIGSEGV as i32), true, "the video makes our decoder crash"),
            (died(Signal::SIGKILL as i32), true, "processing the video needed more memory than there is"),
            (died(Signal::SIGXCPU as i32), false, "the video needs more processing time than we allow"),
            (died(1 << 8), true, "the video makes our decoder crash"),
            (RunError::Hung(std::time::Duration::from_secs(1)), true, "processing the video got stuck"),
            (RunError::TooMuch(1), false, "the video's renditions are larger than we allow"),
        ];
        for (error, again, reason) in table {
            assert_eq!((error.is_worth_another_attempt(), error.reason().as_str()), (again, reason), "{error}");
            assert_eq!(error.is_retryable(), again);
        }
    }
}
