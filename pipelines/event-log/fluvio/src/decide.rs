//! The decisions of the Fluvio log, without I/O: names, a topic's layout, what a broker's error
//! means, and when a consumer lags too far.

use event_log::Stream;
use event_schemas::{ByteSize, Millis};
use fluvio::Compression;
use fluvio_protocol::link::ErrorCode;

/// The largest batch a broker takes, with room for its header.
const BATCH_BYTES: u64 = 31 << 20;
const COMPRESSED_FROM: u64 = 4 << 10;
const SEGMENT_LEAST: u64 = 16 << 20;
const SEGMENT_MOST: u64 = 1 << 30;
/// What Fluvio accepts at least.
const FLUVIO_SEGMENT_LEAST: u64 = 1024;
const FLUVIO_RETENTION_LEAST: u32 = 10;

/// The name of a stream's topic. Fluvio's names have lower-case letters, digits and hyphens only.
pub(crate) fn topic_name(prefix: &str, stream: Stream) -> String {
    match stream {
        Stream::Main(topic) => format!("{prefix}{topic}"),
        Stream::DeadLetters(topic) => format!("{prefix}{topic}-dlq"),
    }
}

/// How an append of so many bytes is compressed.
///
/// Zstandard leaves 44 to 55 % of a record of `playback`, though Arrow has compressed it with LZ4
/// before, and 16 % of 500 JSON records; LZ4 leaves 64 to 92 % and 30 %. From some kilobytes on
/// they are about as fast as each other. Below, setting up takes longer than the bytes are worth.
/// See `tests/compression.rs`.
pub(crate) const fn compression(bytes: u64) -> Compression {
    if bytes < COMPRESSED_FROM { Compression::None } else { Compression::Zstd }
}

/// How a topic is kept by its brokers, partition by partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Seconds after which a full segment goes.
    pub retention_seconds: u32,
    /// The size from which the oldest segments go.
    pub partition_bytes: u64,
    /// The size of a segment: retention drops whole segments, never the one that is written.
    pub segment_bytes: u32,
}

impl Layout {
    /// The layout of a topic that is limited as a whole.
    pub fn of(retain_for: Millis, retain_bytes: ByteSize, partitions: u32) -> Self {
        let partition = (retain_bytes.0 / u64::from(partitions.max(1))).max(2 * FLUVIO_SEGMENT_LEAST);
        // An eighth keeps retention fine enough; small segments would refuse large appends.
        let segment = (partition / 8).clamp(SEGMENT_LEAST, SEGMENT_MOST).min(partition / 2);
        let seconds = u32::try_from(retain_for.0.max(0) / 1000).unwrap_or(u32::MAX).max(FLUVIO_RETENTION_LEAST);
        Self {
            retention_seconds: seconds,
            partition_bytes: partition,
            segment_bytes: u32::try_from(segment.max(FLUVIO_SEGMENT_LEAST)).unwrap_or(u32::MAX),
        }
    }

    /// The bytes of records one append may hold. It must fit into one segment, with what a batch
    /// adds and what compression may add to noise.
    pub const fn largest_append(&self) -> u64 {
        let segment = self.segment_bytes as u64;
        let segment = segment - segment / 64;
        if segment < BATCH_BYTES { segment } else { BATCH_BYTES }
    }
}

/// What a broker's answer to an append means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing was stored.
    NotStored(String),
    /// Nothing was stored or everything.
    Unknown(String),
    /// The broker does not lead the partition, or no longer: where it is must be asked again.
    Moved(String),
}

/// Judges the error a broker answered an append with. What may have happened after the write
/// began is unknown.
pub(crate) fn judge_append(code: &ErrorCode) -> Refusal {
    match code {
        ErrorCode::MessageTooLarge
        | ErrorCode::CompressionError
        | ErrorCode::TopicNotFound
        | ErrorCode::PermissionDenied => Refusal::NotStored(code.to_string()),
        ErrorCode::PartitionShortCircuited => Refusal::NotStored(
            "the broker has stopped the partition after a failed write; restart the broker when its disk is well"
                .to_owned(),
        ),
        ErrorCode::NotLeaderForPartition | ErrorCode::PartitionNotLeader => Refusal::Moved(code.to_string()),
        ErrorCode::RequestTimedOut { .. } => Refusal::Unknown(
            "not all replicas took the records in time: is each broker of the partition up?".to_owned(),
        ),
        _ => Refusal::Unknown(code.to_string()),
    }
}

/// How far the slowest consumer of a partition lags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lag {
    /// Records it has not passed.
    pub records: u64,
    /// What they take, as well as it can be told.
    pub bytes: u64,
    /// The age of the oldest of them.
    pub age: Millis,
}

/// Why a partition takes no more for the moment, if it does not.
///
/// The broker drops by age and size whatever is not read. Size stands still when nothing is
/// appended, so three quarters may fill. Age goes on: intake stops at half of it, and the other
/// half is the time there is to bring the consumer back.
pub(crate) fn refuses(lag: Lag, layout: Layout) -> Option<String> {
    let limit = layout.partition_bytes / 4 * 3;
    if lag.records > 0 && lag.bytes > limit {
        return Some(format!("{} are not read yet, of {} kept", ByteSize(lag.bytes), ByteSize(layout.partition_bytes)));
    }
    let kept = i64::from(layout.retention_seconds) * 1000;
    (lag.records > 0 && lag.age.0 > kept / 2).then(|| {
        format!("the oldest record not read yet is {} s old, of {} s kept", lag.age.0 / 1000, layout.retention_seconds)
    })
}

/// Estimates what the records from `position` on take, from the size of a partition that holds
/// `first..next`.
pub(crate) fn unread_bytes(size: u64, first: u64, position: u64, next: u64) -> u64 {
    let (held, unread) = (next.saturating_sub(first), next.saturating_sub(position.max(first)));
    if held == 0 {
        return 0;
    }
    u64::try_from(u128::from(size) * u128::from(unread) / u128::from(held)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use event_schemas::Topic;

    use super::*;

    #[test]
    fn names_hold_only_what_fluvio_allows() {
        assert_eq!(topic_name("", Stream::Main(Topic::Playback)), "playback");
        assert_eq!(topic_name("a-", Stream::DeadLetters(Topic::Playback)), "a-playback-dlq");
    }

    #[test]
    fn a_partition_holds_several_segments_and_a_segment_an_append() {
        let table = [
            (ByteSize::gib(64), 16, 4 << 30, 512 << 20),
            (ByteSize::gib(1), 1, 1 << 30, 128 << 20),
            (ByteSize::mib(64), 1, 64 << 20, 16 << 20),
            (ByteSize::mib(16), 1, 16 << 20, 8 << 20),
            (ByteSize(16 << 10), 2, 8 << 10, 4 << 10),
            (ByteSize(0), 1, 2048, 1024),
            (ByteSize::gib(1 << 20), 1, 1 << 50, 1 << 30),
        ];
        for (bytes, partitions, partition, segment) in table {
            let layout = Layout::of(Millis::from_days(7), bytes, partitions);
            assert_eq!((layout.partition_bytes, layout.segment_bytes), (partition, segment), "{bytes}");
            assert!(layout.largest_append() <= u64::from(segment));
        }
        assert_eq!(Layout::of(Millis::from_days(7), ByteSize::gib(1), 1).retention_seconds, 7 * 86_400);
        assert_eq!(Layout::of(Millis(1), ByteSize::gib(1), 1).retention_seconds, 10);
    }

    #[test]
    fn intake_stops_before_the_broker_drops_what_is_not_read() {
        let layout = Layout { retention_seconds: 100, partition_bytes: 1000, segment_bytes: 100 };
        let lag = |records, bytes, seconds| Lag { records, bytes, age: Millis::from_secs(seconds) };
        assert_eq!(refuses(lag(0, 0, 0), layout), None);
        assert_eq!(refuses(lag(9, 750, 50), layout), None);
        assert!(refuses(lag(9, 751, 0), layout).unwrap().contains("of 1000"));
        assert!(refuses(lag(9, 1, 51), layout).unwrap().contains("51 s old"));
        assert_eq!(refuses(lag(0, 900, 99), layout), None, "everything is read");
    }

    #[test]
    fn unread_bytes_are_in_proportion() {
        assert_eq!(unread_bytes(1000, 10, 10, 20), 1000);
        assert_eq!(unread_bytes(1000, 10, 15, 20), 500);
        assert_eq!(unread_bytes(1000, 10, 3, 20), 1000);
        assert_eq!(unread_bytes(1000, 10, 20, 20), 0);
        assert_eq!(unread_bytes(1000, 20, 20, 20), 0);
        assert_eq!(unread_bytes(u64::MAX, 0, 0, u64::MAX), u64::MAX);
    }

    #[test]
    fn only_what_was_refused_before_the_write_counts_as_not_stored() {
        assert!(matches!(judge_append(&ErrorCode::MessageTooLarge), Refusal::NotStored(_)));
        assert!(matches!(judge_append(&ErrorCode::PartitionShortCircuited), Refusal::NotStored(_)));
        assert!(matches!(judge_append(&ErrorCode::NotLeaderForPartition), Refusal::Moved(_)));
        for code in [ErrorCode::StorageError, ErrorCode::UnknownServerError, ErrorCode::Other(String::new())] {
            assert!(matches!(judge_append(&code), Refusal::Unknown(_)), "{code}");
        }
    }
}
