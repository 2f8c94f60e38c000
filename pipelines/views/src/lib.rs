//! The `views` stage: counts as events arrive, a fraction of a second behind the player.
//!
//! It folds each partition of the `playback` topic with the rules of [`event_schemas::rules`]
//! ([`decide`]) and keeps, in a store of its own, the state of sessions, the last counted view of
//! each viewer and video, and absolute totals of each video, all committed in one durable batch
//! with the offset they belong to ([`state`]). After the commit the totals go to the serving store
//! and counted views to the `views` topic ([`run`]). Lost state is made anew from the lake
//! ([`History`]).
//!
//! Guarantees: each taken row counts exactly once whatever is killed; a total in the serving store
//! is that of the offset it carries; `lakehouse/views/sql` gives the same figures from the lake.

pub mod decide;
mod error;
mod history;
mod restore;
mod run;
mod state;

pub use error::ViewsError;
pub use history::{History, HistoryError, NoHistory, Past};
pub use run::{CONSUMER, ViewsDeps, run_partition};
pub use state::ViewsState;
