//! The counting rules, version 1, as pure functions. The `views` stage counts with them as
//! events arrive; `lakehouse/views/sql/views.sql` states the same rules over the lake, and a
//! test holds the two together.
//!
//! Events are folded in the order (log generation, partition, offset, row in the record). One
//! viewer's events are all in one partition, so this order is total for a viewer.
//!
//! * **Start**: the first granted `start` event of a session.
//! * **View**: the first event at which a session's granted watch time reaches
//!   [`view_threshold`], unless the same viewer's last counted view of the same video lies less
//!   than [`VIEW_GAP`] away from it, before or after, by `event_ts`.
//! * **Engaged view**: the first event at which a session's granted watch time exceeds
//!   [`ENGAGED_AFTER`], for every source but `preview`.
//!
//! Watch time is the sum of `media_to_ms - media_from_ms` over the events that carry an
//! interval; rewatched parts count again. An event with `dropped_by` set counts for nothing.

use std::collections::BTreeMap;

use rangemap::RangeInclusiveSet;
use serde::{Deserialize, Serialize};

use crate::{
    envelope::ProducerStamp,
    ids::ProducerId,
    units::{Millis, Timestamp},
};

/// The version of the rules in this module; a published figure carries it.
pub const RULE_VERSION: u16 = 1;

/// Watch time that makes a view of a video of a minute or more.
pub const VIEW_AFTER: Millis = Millis::from_secs(30);

/// The same viewer's next view of the same video counts only this much later.
pub const VIEW_GAP: Millis = Millis::from_secs(30 * 60);

/// Watch time beyond which a view is engaged.
pub const ENGAGED_AFTER: Millis = Millis::from_secs(10);

/// The longest interval one event may report.
pub const MAX_INTERVAL: Millis = Millis::from_secs(10);

/// Events whose client time lies further back than this are refused, and what a session has
/// sent is remembered for as long, so that a retry is always recognised.
pub const DEDUPLICATION_WINDOW: Millis = Millis::from_days(7);

/// The source that marks an autoplaying preview.
pub const PREVIEW_SOURCE: &str = "preview";

/// The watch time that makes a view of a video this long: 30 s, or half of a video shorter than
/// a minute (rounded up to a whole millisecond).
#[must_use]
pub const fn view_threshold(duration: Millis) -> Millis {
    if duration.0 < 60_000 { Millis((duration.0 + 1) / 2) } else { VIEW_AFTER }
}

/// Whether a view at `at` counts, given the same viewer's last counted view of the video.
#[must_use]
pub const fn view_counts(last_counted: Option<Timestamp>, at: Timestamp) -> bool {
    match last_counted {
        None => true,
        Some(last) => at.as_micros().abs_diff(last.as_micros()) >= VIEW_GAP.0.unsigned_abs() * 1000,
    }
}

/// The event time of what a client says happened at `client_ts`, in a batch it sent at
/// `sent_ts` by its own clock and that was received at `server_ts`: corrected by the skew
/// between the two clocks, then clamped to [server − 7 days, server].
#[must_use]
pub fn event_time(client_ts: Timestamp, sent_ts: Timestamp, server_ts: Timestamp) -> Timestamp {
    let skew = server_ts.as_micros().saturating_sub(sent_ts.as_micros());
    let corrected = Timestamp::from_micros(client_ts.as_micros().saturating_add(skew));
    corrected.clamp(server_ts - DEDUPLICATION_WINDOW, server_ts)
}

/// The event numbers a session has sent, as intervals.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeenSeqs(RangeInclusiveSet<u32>);

impl SeenSeqs {
    /// Records `seq`; false if it was there already.
    pub fn insert(&mut self, seq: u32) -> bool {
        if self.0.contains(&seq) {
            return false;
        }
        self.0.insert(seq..=seq);
        true
    }

    /// The separate intervals, both ends included, in rising order.
    pub fn ranges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().map(|range| (*range.start(), *range.end()))
    }

    /// Records every number of `from..=to`; for reading back what [`Self::ranges`] gave. An empty
    /// range adds nothing.
    pub fn insert_range(&mut self, from: u32, to: u32) {
        if from <= to {
            self.0.insert(from..=to);
        }
    }

    /// The number of separate intervals, which bounds the memory used.
    #[must_use]
    pub fn intervals(&self) -> usize {
        self.0.iter().count()
    }
}

/// What a consumer does with a record, judged by its producer's numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The next record of its producer: take it.
    Take,
    /// Seen before, or from an earlier life of the producer: skip it.
    Duplicate,
    /// Records of this producer are missing before it: skip it; the producer sends it again
    /// after those.
    Gap,
}

/// The last record taken from each producer of one partition. Consumers take only the next one
/// of each: what a producer resends after an unknown outcome is taken once, and what overtook a
/// lost record waits until it is sent again in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProducerGate(BTreeMap<ProducerId, (u64, u64)>);

impl ProducerGate {
    /// Remembers that `stamp` was taken, without judging it: for rebuilding a lost gate from what
    /// was stored. The furthest stamp of each producer counts.
    pub fn resume(&mut self, stamp: ProducerStamp) {
        let known = self.0.entry(stamp.id).or_default();
        *known = (*known).max((stamp.epoch, stamp.seq));
    }

    /// The last record taken from each producer.
    pub fn last_taken(&self) -> impl Iterator<Item = ProducerStamp> + '_ {
        self.0.iter().map(|(id, (epoch, seq))| ProducerStamp { id: *id, epoch: *epoch, seq: *seq })
    }

    /// Judges a record and, if it is to be taken, remembers it.
    pub fn admit(&mut self, stamp: ProducerStamp) -> Admission {
        let verdict = match self.0.get(&stamp.id) {
            Some((epoch, _)) if stamp.epoch < *epoch => Admission::Duplicate,
            Some((epoch, seq)) if stamp.epoch == *epoch => {
                if stamp.seq <= *seq {
                    Admission::Duplicate
                } else if stamp.seq == *seq + 1 {
                    Admission::Take
                } else {
                    Admission::Gap
                }
            }
            _ if stamp.seq == 0 => Admission::Take,
            _ => Admission::Gap,
        };
        if verdict == Admission::Take {
            self.0.insert(stamp.id, (stamp.epoch, stamp.seq));
        }
        verdict
    }

    /// As [`Self::admit`], but takes the first record of a producer it has not met, whatever its
    /// number: for a consumer that starts in the middle of a partition and keeps no gate. What
    /// such a consumer took before it started again may be taken once more.
    pub fn admit_midway(&mut self, stamp: ProducerStamp) -> Admission {
        if let std::collections::btree_map::Entry::Vacant(unmet) = self.0.entry(stamp.id) {
            unmet.insert((stamp.epoch, stamp.seq));
            return Admission::Take;
        }
        self.admit(stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_videos_need_half_their_length() {
        for (duration, threshold) in [(10_000, 5_000), (59_999, 30_000), (60_000, 30_000), (1, 1), (3_600_000, 30_000)]
        {
            assert_eq!(view_threshold(Millis(duration)), Millis(threshold), "{duration}");
        }
    }

    #[test]
    fn a_second_view_counts_after_half_an_hour() {
        let at = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        assert!(view_counts(None, at(0)));
        assert!(!view_counts(Some(at(0)), at(29)));
        assert!(view_counts(Some(at(0)), at(30)));
        assert!(!view_counts(Some(at(60)), at(31)), "a late event close before a counted view");
        assert!(view_counts(Some(at(60)), at(30)));
    }

    #[test]
    fn event_time_corrects_skew_and_stays_in_the_window() {
        let hour = |h: i64| Timestamp::from_millis(h * 3_600_000);
        // A client clock two hours ahead: it says 12:00 for what happened at 10:00.
        assert_eq!(event_time(hour(1012), hour(1013), hour(1011)), hour(1010));
        assert_eq!(event_time(hour(2000), hour(1000), hour(1000)), hour(1000), "never after the server");
        assert_eq!(event_time(hour(0), hour(1000), hour(1000)), hour(1000 - 168), "at most seven days back");
        assert_eq!(
            event_time(Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX), hour(1000)),
            hour(1000 - 168)
        );
    }

    #[test]
    fn a_gate_takes_each_producers_records_once_and_in_order() {
        let id = ProducerId::from_uuid(uuid::Uuid::from_u128(1));
        let stamp = |epoch, seq| ProducerStamp { id, epoch, seq };
        let mut gate = ProducerGate::default();
        let steps = [
            (stamp(1, 1), Admission::Gap),
            (stamp(1, 0), Admission::Take),
            (stamp(1, 0), Admission::Duplicate),
            (stamp(1, 2), Admission::Gap),
            (stamp(1, 1), Admission::Take),
            (stamp(1, 2), Admission::Take),
            (stamp(2, 0), Admission::Take),
            (stamp(1, 3), Admission::Duplicate),
            (stamp(3, 1), Admission::Gap),
        ];
        for (n, (stamp, verdict)) in steps.into_iter().enumerate() {
            assert_eq!(gate.admit(stamp), verdict, "step {n}");
        }
    }

    #[test]
    fn a_gate_that_starts_midway_takes_what_comes_first_and_then_keeps_the_order() {
        let stamp = |id, epoch, seq| ProducerStamp { id: ProducerId::from_uuid(uuid::Uuid::from_u128(id)), epoch, seq };
        let mut gate = ProducerGate::default();
        let steps = [
            (stamp(1, 1, 7), Admission::Take),
            (stamp(1, 1, 7), Admission::Duplicate),
            (stamp(1, 1, 9), Admission::Gap),
            (stamp(1, 1, 8), Admission::Take),
            (stamp(2, 5, 3), Admission::Take),
            (stamp(1, 2, 1), Admission::Gap),
            (stamp(1, 2, 0), Admission::Take),
        ];
        for (n, (stamp, verdict)) in steps.into_iter().enumerate() {
            assert_eq!(gate.admit_midway(stamp), verdict, "step {n}");
        }
    }

    proptest::proptest! {
        #[test]
        fn seen_numbers_are_recognised_in_any_order(mut seqs in proptest::collection::vec(0u32..200, 0..300)) {
            let mut seen = SeenSeqs::default();
            let mut reference = std::collections::BTreeSet::new();
            for seq in &seqs {
                proptest::prop_assert_eq!(seen.insert(*seq), reference.insert(*seq));
            }
            seqs.sort_unstable();
            seqs.dedup();
            proptest::prop_assert!(seen.intervals() <= seqs.len());
        }
    }
}
