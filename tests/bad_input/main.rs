//! What the program does with what it should not be given: each gets its right status and a
//! `problem+json` that says what is wrong, and leaves nothing half-made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod addresses;
mod configuration;
mod disk;
mod files;
mod records;
mod shutdown;
mod telemetry;
mod uploads;
