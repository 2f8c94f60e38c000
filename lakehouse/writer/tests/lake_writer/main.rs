//! Every acknowledged event is in the lake exactly once, whatever is killed, fails, or comes twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod exactly_once;
mod faults;
mod ownership;
mod support;
mod working;
