//! The two walkthroughs of ARCHITECTURE.md, step by step, on the real program: what a creator
//! and a viewer do, and what becomes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod telemetry_to_view;
mod upload_to_playback;
