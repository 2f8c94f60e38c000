//! The store on a real Redis: the conformance suite, what happens when the server goes away, and
//! what a server that will not do is told.
//!
//! Each test starts a server of its own on a free port. Where there is no `redis-server` it says
//! so and passes, unless `MILLRACE_REQUIRE_ALL` is 1. `MILLRACE_TEST_REDIS` names a running one to
//! run the suite on as well.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

mod conforms;
mod degrades;
mod opens;
mod server;
mod shares;
