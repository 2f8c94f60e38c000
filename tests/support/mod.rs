//! What the tests of the whole system share: they start the real program, speak HTTP to it as
//! browsers and players do, and wait for what they can observe from outside.
//!
//! Nothing here knows the program's insides, save where its data directory keeps what.

#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]

pub mod api;
pub mod clips;
pub mod command;
pub mod hls;
pub mod media;
pub mod nginx;
pub mod people;
pub mod processes;
pub mod server;
pub mod sse;
pub mod tus;
pub mod viewers;
pub mod wait;

use std::io::Write as _;

pub use api::{Api, Reply, Site};
pub use clips::Clip;
pub use nginx::Edge;
pub use people::Creator;
pub use server::Server;
pub use tus::Upload;
pub use viewers::{Playback, Viewer};
pub use wait::{LONG, SHORT, wait_until};

/// Says that something can't be run here, past the capture of what passing tests print.
pub fn not_run(reason: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "not run: {reason}");
}
