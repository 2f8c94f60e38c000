//! Reads a partition and gives each producer's records once and in order.
//!
//! The state is the pair of [`PartitionReader::offset`] and [`PartitionReader::gate`]. A stage
//! that keeps it in its own store, together with the effects of what it has read, takes every
//! record exactly once; [`crate::consume`] is for stages that keep only a position.

use std::sync::Arc;

use bytes::Bytes;
use event_log::{EventLog, LogError, ReadLimit, StoredRecord, Stream};
use event_schemas::{
    Envelope, Offset, Partition, Timestamp,
    envelope::EnvelopeError,
    rules::{Admission, ProducerGate},
};
use metrics::counter;

/// What has been taken from each producer, and what to do about one not met before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// The consumer has read the partition from its beginning: a producer's first record is
    /// number 0.
    FromStart(ProducerGate),
    /// The consumer began in the middle: a producer's first record is the first one met. A
    /// consumer that once began so stays so.
    Midway(ProducerGate),
}

impl Gate {
    /// The producers met.
    #[must_use]
    pub const fn producers(&self) -> &ProducerGate {
        match self {
            Self::FromStart(gate) | Self::Midway(gate) => gate,
        }
    }

    fn admit(&mut self, stamp: event_schemas::ProducerStamp) -> Admission {
        match self {
            Self::FromStart(gate) => gate.admit(stamp),
            Self::Midway(gate) => gate.admit_midway(stamp),
        }
    }
}

/// A record to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The life of the log it was read from.
    pub generation: u64,
    /// Its position.
    pub offset: Offset,
    /// When the log took it.
    pub appended_at: Timestamp,
    /// The record.
    pub envelope: Envelope,
    /// The record as stored; shares its memory with `envelope`.
    pub stored: Bytes,
}

/// A record that is not an envelope this program can read. It has no producer to judge it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// The life of the log it was read from.
    pub generation: u64,
    /// Its position.
    pub offset: Offset,
    /// The record as stored.
    pub stored: Bytes,
    /// What is wrong with it.
    pub error: EnvelopeError,
}

/// What one read gave. All of it may have been skipped, in which case both lists are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// What to take, in order.
    pub records: Vec<Admitted>,
    /// What to put aside, in order.
    pub undecodable: Vec<Undecodable>,
    /// Records skipped because they were taken before.
    pub duplicates: u64,
    /// Records skipped because others of their producer are missing before them.
    pub gaps: u64,
    /// The offset after the last record read.
    pub next: Offset,
}

/// Reads one partition from an offset on.
pub struct PartitionReader {
    log: Arc<dyn EventLog>,
    stream: Stream,
    partition: Partition,
    next: Offset,
    gate: Gate,
}

impl PartitionReader {
    /// Goes on at `from` with the gate that was stored with it.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>, stream: Stream, partition: Partition, from: Offset, gate: Gate) -> Self {
        Self { log, stream, partition, next: from, gate }
    }

    /// The offset after everything given out.
    #[must_use]
    pub const fn offset(&self) -> Offset {
        self.next
    }

    /// The gate after everything given out.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Waits for records and reads them. Cancel-safe: dropping the future loses nothing.
    ///
    /// The state moves on at once: a caller that fails to take a delivery tries again with the
    /// same delivery, or makes a new reader from the state it stored last.
    ///
    /// # Errors
    /// Those of [`EventLog::wait`] and [`EventLog::read`].
    pub async fn next(&mut self, limit: ReadLimit) -> Result<Delivery, LogError> {
        loop {
            self.log.wait(self.stream, self.partition, self.next).await?;
            let stored = self.log.read(self.stream, self.partition, self.next, limit).await?;
            if !stored.is_empty() {
                return Ok(self.admit(stored));
            }
        }
    }

    fn admit(&mut self, stored: Vec<StoredRecord>) -> Delivery {
        let mut out = Delivery { records: Vec::with_capacity(stored.len()), ..Delivery::default() };
        for record in stored {
            let StoredRecord { generation, offset, appended_at, bytes: stored } = record;
            self.next = offset.next();
            match Envelope::decode(&stored) {
                Err(error) => out.undecodable.push(Undecodable { generation, offset, stored, error }),
                Ok(envelope) => match self.gate.admit(envelope.producer) {
                    Admission::Take => {
                        out.records.push(Admitted { generation, offset, appended_at, envelope, stored });
                    }
                    Admission::Duplicate => out.duplicates += 1,
                    Admission::Gap => out.gaps += 1,
                },
            }
        }
        out.next = self.next;
        if out.duplicates > 0 {
            counter!("millrace_reader_duplicates_total", "topic" => self.stream.to_string()).increment(out.duplicates);
        }
        if out.gaps > 0 {
            counter!("millrace_reader_gaps_total", "topic" => self.stream.to_string()).increment(out.gaps);
        }
        out
    }
}
