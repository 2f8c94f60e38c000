//! SQL over the lake, for people (`millrace sql`), batch jobs and tests: DataFusion over the Delta
//! tables, with the project's views over them.
//!
//! Guarantees: read-only, whatever the statement; every query sees one version of each table, the
//! newest when it began, and needs no lock, so it works beside a running server and on a data
//! directory without one; memory is bounded and what exceeds it spills or fails, alone.

mod engine;
mod error;
mod print;
mod result;
mod snapshot;
mod views;

pub use engine::{SqlEngine, SqlOptions};
pub use error::SqlError;
pub use print::Format;
pub use result::{QueryResult, bigints, doubles, instants, texts};
pub use snapshot::Snapshot;
pub use views::{VIEWS, ViewDef};
