//! From the catalog to the log, and from the catalog to the dustbin.
//!
//! * [`Relay`] moves the outbox to the log: what a transaction told is delivered at least once, in order.
//! * [`Collector`] removes what is no longer wanted: objects first, rows last.
//!
//! Each runs in one process at a time, under a named lease; both are made by the binary's `bootstrap.rs`.
//! What they decide is in `decide.rs`.

mod collector;
mod decide;
mod relay;
mod tenure;

pub use collector::{CollectError, Collected, Collector, CollectorConfig};
pub use relay::{Relay, RelayConfig, RelayError, Step};
pub use tenure::Tenure;
