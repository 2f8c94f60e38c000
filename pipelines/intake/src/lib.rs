//! Which playback rows are taken: the one piece of code that decides it, for every consumer of
//! the `playback` topic.
//!
//! The lake writer and the `views` stage each fold the same records with [`PartitionIntake`] and
//! keep its state in a store of their own ([`IntakeStore`]), so that a row is in the lake exactly
//! if it was counted. The fold has no clock and does no I/O but the look-up of a session.
//!
//! Guarantees, for records read in offset order and a state that belongs to the offset read from:
//! * a record is taken once, in its producer's order, however often it was appended;
//! * a row (session, number) is taken once within [`event_schemas::rules::DEDUPLICATION_WINDOW`]
//!   of its session's last row, by server time;
//! * the verdicts depend on the records before alone: replaying gives the same ones.

mod fold;
mod store;

pub use fold::{MemorySessions, PartitionIntake, RowKey, RowSource, SessionSeen, Sessions, Taken, Verdict};
pub use store::{IntakeError, IntakeStore, SavedPartition};
