//! The stage that keeps the search index in step with the `videos` topic.
//!
//! Every partition of the topic has a loop ([`run_partition`]) that turns records into changes of
//! the index ([`decide`]) and stores its position with them, so that a restart takes each record
//! up exactly where the index stands. The binary starts the loops; the playback API reads the
//! index.

pub mod decide;
mod run;

pub use run::{CONSUMER, IndexStageError, history_is_missing, run_partition};
