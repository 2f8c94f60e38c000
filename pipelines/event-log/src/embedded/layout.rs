//! How the embedded log names and encodes what it stores.
//!
//! Keyspace `meta` holds topics, consumers, positions and the list of segments; each segment is
//! a keyspace of its own, `log.<stream>.<partition>.<base>`, with keys `offset u64 BE ++
//! appended_at i64 BE (µs)` and the record's bytes as values. Format version 1.

use event_schemas::{ByteSize, Millis, Timestamp, Topic};
use serde::{Deserialize, Serialize};

use crate::Stream;

/// The version of this layout.
pub(super) const FORMAT: u64 = 1;

const DEAD_LETTERS: &str = ".dlq";

fn stream_named(name: &str) -> Option<Stream> {
    match name.strip_suffix(DEAD_LETTERS) {
        Some(topic) => topic.parse::<Topic>().ok().map(Stream::DeadLetters),
        None => name.parse::<Topic>().ok().map(Stream::Main),
    }
}

/// The keyspace of a segment.
pub(super) fn segment_keyspace(stream: Stream, partition: u32, base: u64) -> String {
    format!("log.{stream}.{partition}.{base}")
}

/// The key of a record in its segment.
pub(super) fn record_key(offset: u64, at: Timestamp) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&offset.to_be_bytes());
    key[8..].copy_from_slice(&at.as_micros().to_be_bytes());
    key
}

/// Reads what [`record_key`] made.
pub(super) fn parse_record_key(key: &[u8]) -> Option<(u64, Timestamp)> {
    let (offset, rest) = key.split_first_chunk()?;
    let (at, rest) = rest.split_first_chunk()?;
    rest.is_empty().then(|| (u64::from_be_bytes(*offset), Timestamp::from_micros(i64::from_be_bytes(*at))))
}

/// What the keyspace `meta` has entries for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MetaKey {
    /// The layout's version, a `u64`.
    Format,
    /// The log's generation, a `u64`.
    Generation,
    /// A [`TopicEntry`].
    Topic(Stream),
    /// A registered consumer; no value.
    Consumer(Stream, String),
    /// A consumer's position, a `u64`.
    Position(Stream, u32, String),
    /// A [`SegmentEntry`], by partition and base offset.
    Segment(Stream, u32, u64),
}

impl MetaKey {
    pub(super) fn encode(&self) -> Vec<u8> {
        let tagged = |tag: u8, stream: &Stream| {
            let mut key = vec![tag];
            key.extend_from_slice(stream.to_string().as_bytes());
            key.push(0);
            key
        };
        match self {
            Self::Format => b"f".to_vec(),
            Self::Generation => b"g".to_vec(),
            Self::Topic(stream) => tagged(b't', stream),
            Self::Consumer(stream, consumer) => [&tagged(b'c', stream), consumer.as_bytes()].concat(),
            Self::Position(stream, partition, consumer) => {
                [&tagged(b'p', stream), &partition.to_be_bytes()[..], consumer.as_bytes()].concat()
            }
            Self::Segment(stream, partition, base) => {
                [&tagged(b's', stream), &partition.to_be_bytes()[..], &base.to_be_bytes()[..]].concat()
            }
        }
    }

    /// Reads what [`Self::encode`] made; nothing if a later version of the program made it.
    pub(super) fn decode(key: &[u8]) -> Option<Self> {
        let (tag, rest) = key.split_first()?;
        match (tag, rest) {
            (b'f', []) => return Some(Self::Format),
            (b'g', []) => return Some(Self::Generation),
            _ => {}
        }
        let end = rest.iter().position(|byte| *byte == 0)?;
        let stream = stream_named(std::str::from_utf8(&rest[..end]).ok()?)?;
        let rest = &rest[end + 1..];
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        match tag {
            b't' if rest.is_empty() => Some(Self::Topic(stream)),
            b'c' => Some(Self::Consumer(stream, text(rest)?)),
            b'p' => {
                let (partition, consumer) = rest.split_first_chunk()?;
                Some(Self::Position(stream, u32::from_be_bytes(*partition), text(consumer)?))
            }
            b's' => {
                let (partition, base) = rest.split_first_chunk()?;
                Some(Self::Segment(stream, u32::from_be_bytes(*partition), u64::from_be_bytes(base.try_into().ok()?)))
            }
            _ => None,
        }
    }
}

/// A topic's layout and limits, stored as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TopicEntry {
    pub partitions: u32,
    pub retain_for: Millis,
    pub retain_bytes: ByteSize,
}

/// The state of a segment, written in the same batch as the records it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentEntry {
    pub created_at: Timestamp,
    pub last_at: Timestamp,
    pub next: u64,
    pub bytes: u64,
}

impl SegmentEntry {
    pub(super) fn encode(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out[..8].copy_from_slice(&self.created_at.as_micros().to_le_bytes());
        out[8..16].copy_from_slice(&self.last_at.as_micros().to_le_bytes());
        out[16..24].copy_from_slice(&self.next.to_le_bytes());
        out[24..].copy_from_slice(&self.bytes.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let words: &[u8; 32] = bytes.try_into().ok()?;
        let word = |n: usize| {
            let mut out = [0; 8];
            out.copy_from_slice(&words[n * 8..n * 8 + 8]);
            out
        };
        Some(Self {
            created_at: Timestamp::from_micros(i64::from_le_bytes(word(0))),
            last_at: Timestamp::from_micros(i64::from_le_bytes(word(1))),
            next: u64::from_le_bytes(word(2)),
            bytes: u64::from_le_bytes(word(3)),
        })
    }
}

/// A `u64` value of keyspace `meta`.
pub(super) fn parse_number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_stay_in_order() {
        let streams = [Stream::Main(Topic::Playback), Stream::DeadLetters(Topic::Playback)];
        for stream in streams {
            for key in [
                MetaKey::Format,
                MetaKey::Generation,
                MetaKey::Topic(stream),
                MetaKey::Consumer(stream, "lake".into()),
                MetaKey::Position(stream, 3, "lake writer".into()),
                MetaKey::Segment(stream, 7, 1 << 40),
            ] {
                assert_eq!(MetaKey::decode(&key.encode()), Some(key));
            }
        }
        assert_eq!(MetaKey::decode(b"tnew-topic\0"), None);
        assert!(MetaKey::Segment(streams[0], 0, 255).encode() < MetaKey::Segment(streams[0], 0, 256).encode());
        let at = Timestamp::from_micros(-5);
        assert_eq!(parse_record_key(&record_key(9, at)), Some((9, at)));
        let entry = SegmentEntry { created_at: at, last_at: Timestamp::from_micros(6), next: 7, bytes: 8 };
        assert_eq!(SegmentEntry::decode(&entry.encode()), Some(entry));
    }
}
