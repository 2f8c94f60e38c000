//! The SQL engine and the project's views: golden results, and the same figures as the `views`
//! stage for any history.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod engine;
mod golden;
mod history;
mod property;
