//! Playback telemetry: from a player's batch to durable records in the log.
//!
//! [`contract`] is the body as clients send it; [`decide`] checks and stamps it (no I/O);
//! [`edge`] turns events into Arrow once and gathers each partition's events into one log
//! record; [`spool`] keeps records on disk while the log is away; [`routes`] answers 202 when the
//! log or the spool has acknowledged.

pub mod contract;
pub mod decide;
pub mod edge;
pub mod routes;
pub mod spool;

pub use edge::{Edge, EdgeOptions};
pub use spool::Spool;
