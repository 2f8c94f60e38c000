//! What runs in the child process that decodes. The worker starts the program's own binary with a hidden
//! subcommand that calls [`child_main`] before anything else; the socket to the worker is standard
//! input. The child shuts itself in, and only then asks for the first byte of its source.
//!
//! `source` opens it, `pipeline` decodes once and hands the pictures to a thread a rung (`rung`) and the
//! sound to another (`sound`); each sends its segments over `link` as soon as they are made.

mod link;
mod pictures;
mod pipeline;
mod poster;
mod raw;
mod rung;
mod sound;
mod source;
mod track;

use std::{
    process::ExitCode,
    sync::{Arc, Mutex},
};

use crate::{
    cmaf::CmafError,
    limits::Limits,
    protocol::{FailureKind, FromChild, ProtocolError, Task, ToChild, VERSION},
    sandbox,
};

/// The child can't even tell its worker what is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// A step before the first message failed.
    #[error("the transcoding child can't start: {0}")]
    Start(String),
    /// The worker has gone, or speaks another language.
    #[error("the transcoding child lost its worker")]
    Link(#[from] ProtocolError),
}

/// Runs one task for the worker at the other end of standard input.
///
/// Must be the first thing its process does: it closes every other descriptor and must find a single
/// thread. Returns when the task is done, failed (both told to the worker) or the worker has gone.
///
/// # Errors
/// [`ChildError`], for standard error.
pub fn child_main() -> Result<ExitCode, ChildError> {
    sandbox::leave_parent_behind().map_err(ChildError::Start)?;
    let (sender, mut receiver) = link::open().map_err(|error| ChildError::Start(error.to_string()))?;
    let (ToChild::Start { version: VERSION, task, limits, allow_unsafe }, _) = receiver.receive()? else {
        return Err(ProtocolError::Unexpected("no start of this version").into());
    };
    let state = sandbox::enter(&limits);
    if !state.is_sufficient() && !allow_unsafe {
        sender.send(&FromChild::SandboxRefused { reason: state.missing.join("; ") }, &[])?;
        return Ok(ExitCode::FAILURE);
    }
    sender.send(&FromChild::Hello { version: VERSION, sandbox: state }, &[])?;
    match task {
        Task::SelfTest => sender.send(&FromChild::SelfTested(sandbox::self_test()), &[])?,
        Task::Transcode { source_len } => {
            ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Fatal);
            let receiver = Arc::new(Mutex::new(receiver));
            let outcome = match pipeline::transcode(&sender, &receiver, source_len, &limits) {
                Ok(duration_ms) => FromChild::Done { duration_ms },
                Err(failure) => FromChild::Failed { kind: failure.kind, reason: failure.reason },
            };
            sender.send(&outcome, &[])?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a transcode ends early.
#[derive(Debug)]
struct Failure {
    kind: FailureKind,
    reason: String,
}

impl Failure {
    fn source(reason: impl Into<String>) -> Self {
        Self { kind: FailureKind::Source, reason: reason.into() }
    }

    fn internal(reason: impl Into<String>) -> Self {
        Self { kind: FailureKind::Internal, reason: reason.into() }
    }

    fn read() -> Self {
        Self { kind: FailureKind::Read, reason: "the uploaded file could not be read".to_owned() }
    }

    fn too_long(limits: &Limits) -> Self {
        let minutes = limits.max_duration.0 / 60_000;
        Self::source(format!("the video is longer than we accept ({minutes} minutes)"))
    }

    /// A stage stopped because another one did; that one knows why.
    fn stopped() -> Self {
        Self::internal("another part of the transcoder stopped")
    }
}

impl From<ffmpeg_next::Error> for Failure {
    fn from(error: ffmpeg_next::Error) -> Self {
        match error {
            ffmpeg_next::Error::InvalidData | ffmpeg_next::Error::PatchWelcome => {
                Self::source("the file is damaged or of a kind that we can't read")
            }
            ffmpeg_next::Error::Other { errno: ffmpeg_next::util::error::ENOMEM } => {
                Self::source("the video needs more memory than we allow")
            }
            other => Self::internal(format!("a media component failed: {other}")),
        }
    }
}

impl From<CmafError> for Failure {
    fn from(error: CmafError) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<ProtocolError> for Failure {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::TooLong { .. } => Self::internal("a segment is longer than allowed"),
            other => Self { kind: FailureKind::Read, reason: other.to_string() },
        }
    }
}
