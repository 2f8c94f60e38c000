//! The decisions of the embedded log: when a segment is full and which segments may go.

use event_schemas::{ByteSize, Millis, Timestamp};

/// What retention knows about a segment: consecutive records of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentView {
    /// The partition's number.
    pub partition: u32,
    /// The first offset.
    pub base: u64,
    /// One past the last offset.
    pub next: u64,
    /// Bytes of its records.
    pub bytes: u64,
    /// When its last record was appended.
    pub last_at: Timestamp,
}

/// The limits of a topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    pub retain_for: Millis,
    pub retain_bytes: ByteSize,
}

/// Whether a segment takes no more records. A segment is at most an eighth of what its topic may
/// hold, so that a small topic can be dropped in parts.
pub(super) fn is_full(
    bytes: u64,
    created_at: Timestamp,
    now: Timestamp,
    segment_bytes: ByteSize,
    segment_age: Millis,
    retain_bytes: ByteSize,
) -> bool {
    bytes >= segment_bytes.0.min((retain_bytes.0 / 8).max(1)) || now.since(created_at) >= segment_age
}

/// Which segments of a topic to drop, oldest first. `segments` holds each partition's in the
/// order of their offsets; `passed` the offset before which every registered consumer of that
/// partition is done.
///
/// A partition's segments are dropped from its beginning without leaving a hole; a segment goes
/// only if every record in it has been passed and the topic is over one of its limits.
pub(super) fn droppable(
    segments: &[Vec<SegmentView>],
    passed: &[u64],
    limits: Retention,
    now: Timestamp,
) -> Vec<SegmentView> {
    let mut total: u64 = segments.iter().flatten().map(|s| s.bytes).sum();
    let mut heads = vec![0usize; segments.len()];
    let mut drop = Vec::new();
    loop {
        let oldest = segments
            .iter()
            .zip(&heads)
            .zip(passed)
            .filter_map(|((list, head), passed)| list.get(*head).filter(|s| s.base < s.next && s.next <= *passed))
            .filter(|s| total > limits.retain_bytes.0 || now.since(s.last_at) > limits.retain_for)
            .min_by_key(|s| (s.last_at, s.partition));
        let Some(segment) = oldest else { return drop };
        total -= segment.bytes;
        if let Some(head) = heads.get_mut(segment.partition as usize) {
            *head += 1;
        }
        drop.push(*segment);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn segment(partition: u32, base: u64, next: u64, bytes: u64, last: i64) -> SegmentView {
        SegmentView { partition, base, next, bytes, last_at: at(last) }
    }

    #[test]
    fn a_segment_is_full_by_size_age_or_share_of_its_topic() {
        let full = |bytes, age, retain| {
            is_full(bytes, at(0), at(age), ByteSize(1000), Millis::from_secs(60), ByteSize(retain))
        };
        assert!(!full(999, 59, 1 << 20));
        assert!(full(1000, 0, 1 << 20), "size");
        assert!(full(1, 60, 1 << 20), "age");
        assert!(full(100, 0, 800), "an eighth of the topic");
    }

    #[test]
    fn the_oldest_goes_first_and_only_while_over_the_limit() {
        let segments = vec![
            vec![segment(0, 0, 10, 100, 5), segment(0, 10, 20, 100, 20)],
            vec![segment(1, 0, 5, 100, 10), segment(1, 5, 6, 100, 11)],
        ];
        let limits = |bytes, secs| Retention { retain_for: Millis::from_secs(secs), retain_bytes: ByteSize(bytes) };
        let all = [u64::MAX, u64::MAX];
        let bases = |list: Vec<SegmentView>| list.iter().map(|s| (s.partition, s.base)).collect::<Vec<_>>();
        assert_eq!(bases(droppable(&segments, &all, limits(400, 1000), at(21))), []);
        assert_eq!(bases(droppable(&segments, &all, limits(250, 1000), at(21))), [(0, 0), (1, 0)]);
        assert_eq!(bases(droppable(&segments, &all, limits(400, 12), at(20))), [(0, 0)], "age");
        assert_eq!(bases(droppable(&segments, &[9, 5], limits(0, 0), at(90))), [(1, 0)], "a consumer stands at 9");
    }

    proptest! {
        #[test]
        fn nothing_needed_is_dropped_and_nothing_droppable_is_kept(
            sizes in proptest::collection::vec(proptest::collection::vec((1u64..5, 1u64..50, 0i64..100), 0..5), 1..4),
            passed in proptest::collection::vec(0u64..20, 4),
            retain_bytes in 0u64..400,
            retain_secs in 0i64..100,
        ) {
            let segments: Vec<Vec<SegmentView>> = sizes.iter().enumerate().map(|(p, list)| {
                let mut base = 0;
                let mut last = 0;
                list.iter().map(|(len, bytes, gap)| {
                    let made = segment(u32::try_from(p).unwrap(), base, base + len, *bytes, last + gap);
                    base += len;
                    last += gap;
                    made
                }).collect()
            }).collect();
            let limits = Retention { retain_for: Millis::from_secs(retain_secs), retain_bytes: ByteSize(retain_bytes) };
            let now = at(120);
            let dropped = droppable(&segments, &passed, limits, now);
            let kept: u64 = segments.iter().flatten().filter(|s| !dropped.contains(s)).map(|s| s.bytes).sum();
            for (p, list) in segments.iter().enumerate() {
                let gone = list.iter().take_while(|s| dropped.contains(s)).count();
                prop_assert_eq!(gone, list.iter().filter(|s| dropped.contains(s)).count(), "no hole");
                prop_assert!(list[..gone].iter().all(|s| s.next <= passed[p]));
                if let Some(first) = list.get(gone) {
                    let old = now.since(first.last_at) > limits.retain_for;
                    prop_assert!(first.next > passed[p] || (!old && kept <= retain_bytes));
                }
            }
        }
    }
}
