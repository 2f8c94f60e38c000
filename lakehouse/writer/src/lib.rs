//! Writes the `playback` topic into the lake, every event exactly once.
//!
//! [`LakeWriter::run`] is one life of the writer: it takes the leases of its partitions, fences
//! whoever wrote them before, and goes on where the table stands. Whatever goes wrong that a second
//! look at the table does not settle ends the life; the next one begins from what is durable. So
//! a failure and a crash take the same way.
//!
//! Per partition `p`, the table's transactions `playback/<p>` (next offset) and `playback/<p>/owner`
//! (epoch) are set by every commit of rows, which is built on the snapshot that they were read
//! from. The state that recognises duplicates lies in a store of its own at an offset S, never
//! ahead of the table's O: it is written after the commit, and the records from S to O are folded
//! again at the start without being written.

mod decide;
mod error;
mod handle;
mod partition;
mod rebuild;
pub mod rows;
mod run;
mod table;

pub use error::WriterError;
pub use handle::{FlushError, LakeHandle, LakeStatus};
pub use run::{CONSUMER, LakeWriter, WriterConfig, WriterDeps};
