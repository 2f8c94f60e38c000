//! The envelope around every record in the log: which schema, and who produced it in which
//! order.
//!
//! Layout, version 1, little endian: `version u8 = 1`, `schema u16`, `producer [u8; 16]`,
//! `epoch u64`, `seq u64`, `produced_at i64` (µs), `key length u32`, key, payload to the end.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{ids::ProducerId, units::Timestamp};

const VERSION: u8 = 1;
const HEADER: usize = 1 + 2 + 16 + 8 + 8 + 8 + 4;

/// Who produced a record, and its place among that producer's records for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Rises by one each time the producer starts; fences what an earlier life still sends.
    pub epoch: u64,
    /// Numbers the records of this epoch in this partition, from 0 without gaps.
    pub seq: u64,
}

/// A record as the log stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The schema of `payload`; see [`crate::records::SchemaId`].
    pub schema: u16,
    /// Who produced it.
    pub producer: ProducerStamp,
    /// When it was produced, by the producer's clock.
    pub produced_at: Timestamp,
    /// What the partition was chosen by; empty for a batch of many keys.
    pub key: Bytes,
    /// The record itself, in the form that `schema` names.
    pub payload: Bytes,
}

/// The bytes are not an envelope of a version this program knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Fewer bytes than the header, or than the key it announces.
    #[error("the record ends early: {0} bytes")]
    Truncated(usize),
    /// Written by a later version of the program.
    #[error("envelope version {0} is unknown: this program reads version 1")]
    Version(u8),
}

impl Envelope {
    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER + self.key.len() + self.payload.len());
        out.put_u8(VERSION);
        out.put_u16_le(self.schema);
        out.put_slice(self.producer.id.as_uuid().as_bytes());
        out.put_u64_le(self.producer.epoch);
        out.put_u64_le(self.producer.seq);
        out.put_i64_le(self.produced_at.as_micros());
        out.put_u32_le(u32::try_from(self.key.len()).unwrap_or(u32::MAX));
        out.put_slice(&self.key);
        out.put_slice(&self.payload);
        out.freeze()
    }

    /// Reads what [`Self::encode`] wrote; key and payload share `bytes`' memory.
    ///
    /// # Errors
    /// The bytes end early or are of an unknown version.
    pub fn decode(bytes: &Bytes) -> Result<Self, EnvelopeError> {
        let version = *bytes.first().ok_or(EnvelopeError::Truncated(0))?;
        if version != VERSION {
            return Err(EnvelopeError::Version(version));
        }
        let truncated = || EnvelopeError::Truncated(bytes.len());
        let header: &[u8; HEADER] = bytes.first_chunk().ok_or_else(truncated)?;
        let key_len = u32::from_le_bytes(part(header, 43)) as usize;
        let key_end = HEADER.checked_add(key_len).filter(|end| *end <= bytes.len()).ok_or_else(truncated)?;
        Ok(Self {
            schema: u16::from_le_bytes(part(header, 1)),
            producer: ProducerStamp {
                id: ProducerId::from_uuid(uuid::Uuid::from_bytes(part(header, 3))),
                epoch: u64::from_le_bytes(part(header, 19)),
                seq: u64::from_le_bytes(part(header, 27)),
            },
            produced_at: Timestamp::from_micros(i64::from_le_bytes(part(header, 35))),
            key: bytes.slice(HEADER..key_end),
            payload: bytes.slice(key_end..),
        })
    }
}

fn part<const N: usize>(header: &[u8; HEADER], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Envelope {
        Envelope {
            schema: 7,
            producer: ProducerStamp { id: ProducerId::from_uuid(uuid::Uuid::from_u128(1)), epoch: 2, seq: 3 },
            produced_at: Timestamp::from_micros(4),
            key: Bytes::from_static(b"key"),
            payload: Bytes::from_static(b"payload"),
        }
    }

    #[test]
    fn reads_what_it_wrote_and_keeps_its_golden_bytes() {
        let bytes = sample().encode();
        assert_eq!(Envelope::decode(&bytes), Ok(sample()));
        let golden = concat!(
            "01",
            "0700",
            "00000000000000000000000000000001",
            "0200000000000000",
            "0300000000000000",
            "0400000000000000",
            "03000000",
            "6b6579",
            "7061796c6f6164"
        );
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, golden);
    }

    #[test]
    fn every_cut_is_an_error() {
        let bytes = sample().encode();
        for end in 0..HEADER + 3 {
            assert!(Envelope::decode(&bytes.slice(..end)).is_err(), "{end}");
        }
        assert_eq!(Envelope::decode(&Bytes::from_static(&[9])), Err(EnvelopeError::Version(9)));
    }
}
