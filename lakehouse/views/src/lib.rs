//! The batch jobs over the lake: views by hour and retention curves, computed by DataFusion from
//! the files in `sql/` and kept in the serving store.
//!
//! [`run`] computes anew what the rows added since the last time concern; [`decide`] turns rows
//! into figures. Every figure carries the rule version and the offsets of the very snapshot that
//! it was computed from, so anyone can compute it again and compare. The playback API and the
//! studio read them. [`LakeHistory`] gives the `views` stage its state back from the lake.

pub mod decide;
mod history;
mod run;

pub use history::LakeHistory;
pub use run::{LakeViews, LakeViewsConfig, LakeViewsError, Rebuilt};
