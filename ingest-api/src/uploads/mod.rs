//! Resumable uploads: tus 1.0 core, creation, creation's expiration header and termination.
//!
//! An upload is a list of immutable chunk objects recorded in the catalog. A PATCH streams its
//! body into chunks of bounded size; each is acknowledged by its row. Memory is one chunk per
//! request, whatever the size of the file.

pub mod headers;
pub mod metadata;
pub mod receive;
pub mod routes;
pub mod writers;

use std::time::Duration;

use event_schemas::{ByteSize, Millis};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use writers::Writers;

/// Settings of uploads.
#[derive(Debug, Clone)]
pub struct UploadOptions {
    /// The largest file taken.
    pub max_size: ByteSize,
    /// The size of a chunk object, and of a request's buffer.
    pub chunk_size: ByteSize,
    /// Collected this long after the last byte.
    pub expire_after: Millis,
    /// A sender silent for this long is taken as gone; what it sent is kept.
    pub idle_timeout: Duration,
    /// Requests that may be receiving at once; more are told to come back.
    pub at_once: usize,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self {
            max_size: ByteSize::gib(64),
            chunk_size: ByteSize::mib(8),
            expire_after: Millis::from_days(7),
            idle_timeout: Duration::from_secs(60),
            at_once: 64,
        }
    }
}

/// Uploads under way in this process.
#[derive(Debug)]
pub struct Uploads {
    /// Settings.
    pub options: UploadOptions,
    /// One writer at a time for each upload.
    pub writers: Writers,
    /// Bounds the memory of all receiving requests together.
    pub at_once: Semaphore,
    /// Cancelled when the process is to end: what has been received is stored, and its sender told
    /// to resume.
    pub closing: CancellationToken,
}

impl Uploads {
    /// No uploads under way; `closing` ends those to come.
    #[must_use]
    pub fn new(options: UploadOptions, closing: CancellationToken) -> Self {
        let at_once = Semaphore::new(options.at_once.max(1));
        Self { options, writers: Writers::default(), at_once, closing }
    }
}
