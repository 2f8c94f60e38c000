//! `kill -9` of the real program in the middle of what it does: after a restart every
//! acknowledged byte and event is there exactly once, and the video is *ready*.
//!
//! Kills are tied to what can be observed (bytes sent, a child process, events acknowledged), not
//! to the clock, and are few, so that the tests end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod telemetry;
mod transcode;
mod upload;
