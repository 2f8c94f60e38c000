//! The transcode stage: from a complete upload to renditions that a browser plays.
//!
//! [`run::TranscodeStage`] leases a job and starts a child process through [`worker`]; the child
//! ([`child`]) shuts itself in ([`sandbox`]), decodes once, and sends back segments ([`cmaf`]) for the
//! rungs that [`ladder`] chose. The crate `packaging` writes the playlists from what the catalog then knows.
//! `millrace` calls [`child::child_main`] for its hidden subcommand and [`worker::sandbox_level`] for
//! `doctor`.

pub mod child;
pub mod cmaf;
pub mod decide;
pub mod ladder;
mod libraries;
pub mod limits;
pub mod protocol;
pub mod run;
pub mod sandbox;
mod sink;
pub mod timeline;
pub mod worker;

pub use child::child_main;
pub use libraries::{MediaLibraries, media_libraries};
pub use limits::Limits;
pub use run::{JobOutcome, StageError, TranscodeStage};
pub use worker::{ChildProgram, ChildRunner, RunnerConfig, SandboxReport, sandbox_level};
