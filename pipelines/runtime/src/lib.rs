//! What every long-lived stage shares: supervised tasks, a producer that numbers its records, and
//! the reading side that takes each of them once.
//!
//! * [`tasks`]: named tasks that are restarted when they fail and drained at shutdown.
//! * [`health`]: what fails at the moment, for readiness.
//! * [`ownership`]: which process works on which partition.
//! * [`producer`]: gapless numbers, one request in flight per partition, resends first.
//! * [`reader`]: a partition's records, each producer's once and in order.
//! * [`consume`]: the loop of an idempotent stage, with retries and dead letters.
//! * [`dead_letters`]: listing and replaying what could not be processed.

mod backoff;
pub mod consume;
pub mod dead_letters;
pub mod health;
pub mod ownership;
pub mod producer;
pub mod reader;
pub mod tasks;

pub use consume::{Consumption, Stage, StageError, run_idempotent};
pub use dead_letters::{
    Letter, ListedDeadLetter, ReplayError, keep_dead_letter, list_dead_letters, replay_dead_letter,
};
pub use event_log::space::{FreeSpace, NoSpace};
pub use health::{HealthBoard, HealthHandle};
pub use ownership::{Membership, Ownership, Tenancy};
pub use producer::{Producer, SendError};
pub use reader::{Admitted, Delivery, Gate, PartitionReader, Undecodable};
pub use tasks::{ActivityGuard, Tasks};

/// An error and its sources in one line, for the log and for dead letters.
#[must_use]
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
