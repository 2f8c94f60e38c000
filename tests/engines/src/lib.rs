//! Throw-away servers of the engines, for tests: each in a temporary folder, on ports of its own on
//! this machine, gone with the process that started it. Each can be killed and started again on the
//! same port and data.
//!
//! `start` says in a word why there can be none; the caller prints that as a `not run:` line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod fluvio_cluster;
mod postgres;
mod process;
mod redis;
mod s3;

pub use fluvio_cluster::Fluvio;
pub use postgres::Postgres;
pub use redis::Redis;
pub use s3::S3;
