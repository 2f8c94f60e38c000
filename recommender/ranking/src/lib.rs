//! What is worth watching next: related videos and the trending ranking, computed from the lake
//! by DataFusion and kept in the serving store.
//!
//! [`decide`] turns rows into lists and scores (no I/O); [`run`] computes them anew whenever the
//! lake has changed. The playback API reads them, and asks the access policy for each.

pub mod decide;
pub mod run;

pub use run::{RankingConfig, RankingError, Rankings};
