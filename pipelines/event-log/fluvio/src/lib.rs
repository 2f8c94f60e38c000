//! The log on a Fluvio cluster, for many machines; see [`FluvioLog`].
//!
//! What one calls with [`event_log::EventLog`] becomes requests of Fluvio's protocol here. The
//! client's own producer and consumer are not used: the producer splits what belongs together,
//! gives up a failed batch and sends the next, and tries to connect without end.
//!
//! `wire` frames messages, `connection` makes requests, `directory` knows where partitions are, `broker` asks their
//! leaders; `tail` wakes readers, `reader` reads, `positions` remembers the consumers, `guard`
//! stops intake for them, and `topics` makes topics.

mod broker;
mod connection;
mod decide;
mod directory;
mod generations;
mod guard;
mod lives;
mod log;
mod options;
mod positions;
mod reader;
mod tail;
mod topics;
mod wire;

pub use fluvio::Compression;
pub use generations::{GenerationError, Generations};
pub use log::FluvioLog;
pub use options::FluvioLogOptions;

#[doc(hidden)]
pub mod measure {
    //! For the measurement of compression in `tests/compression.rs`.

    use bytes::Bytes;
    use event_schemas::Timestamp;
    use fluvio::Compression;

    /// The bytes that a batch of `records` takes on the wire.
    ///
    /// # Errors
    /// The records can't be compressed.
    pub fn batch_bytes(records: Vec<Bytes>, compression: Compression) -> Result<usize, String> {
        let batch = crate::broker::batch_of(records, Timestamp::from_millis(0), compression)?;
        batch.memory_records().map_err(|e| e.to_string())?;
        Ok(batch.records().0.len())
    }
}
