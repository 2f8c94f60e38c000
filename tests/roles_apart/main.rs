//! The roles in processes of their own, on the engines for many machines: what works in one
//! process works in six, whichever of them is killed; two of a kind share the work; a paused one
//! that wakes after it was replaced changes nothing; and an engine that is away takes with it only
//! what needs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod away;
mod fleet;
mod kills;
mod shared;
