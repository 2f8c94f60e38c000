//! What one source may cost. The worker sets the limits; the child and the kernel enforce them.

use event_schemas::{ByteSize, Millis};
use serde::{Deserialize, Serialize};

/// Bounds on one transcode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The longest source accepted.
    pub max_duration: Millis,
    /// The most pixels a picture of the source may have.
    pub max_pixels: u64,
    /// The most streams (video, audio, subtitles, data) a source may have.
    pub max_streams: u32,
    /// How much of the source is read to find out what it is.
    pub probe_size: ByteSize,
    /// The child's address space.
    pub max_memory: ByteSize,
    /// The child's processor time in seconds, over all threads.
    pub max_cpu_seconds: u64,
    /// The most bytes the child may produce.
    pub max_output: ByteSize,
    /// Threads for decoding and for the encoding of each rendition.
    pub threads: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_duration: Millis::from_secs(12 * 3600),
            max_pixels: 8192 * 4352,
            max_streams: 64,
            probe_size: ByteSize::mib(16),
            max_memory: ByteSize::gib(6),
            max_cpu_seconds: 48 * 3600,
            max_output: ByteSize::gib(64),
            threads: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)).min(8),
        }
    }
}
