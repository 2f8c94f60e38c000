//! Output time: the frame rate, which picture is shown in which slot, where key frames and
//! segments begin. Pure; the child drives it, so that all renditions agree on every boundary.

use serde::{Deserialize, Serialize};

/// A frame rate as a fraction: `num / den` frames a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRate {
    /// Frames.
    pub num: u32,
    /// In so many seconds.
    pub den: u32,
}

/// Seconds from one key frame to the next.
pub const KEY_FRAME_SECONDS: u64 = 2;
/// Seconds from one segment to the next: every third key frame.
pub const SEGMENT_SECONDS: u64 = 6;

/// The highest rate of the output.
const MAX_RATE: f64 = 60.0;
/// The lowest: below, seeking and the end of the video would become coarse.
const MIN_RATE: f64 = 10.0;

const USUAL: [FrameRate; 8] = [
    FrameRate { num: 24_000, den: 1001 },
    FrameRate { num: 24, den: 1 },
    FrameRate { num: 25, den: 1 },
    FrameRate { num: 30_000, den: 1001 },
    FrameRate { num: 30, den: 1 },
    FrameRate { num: 50, den: 1 },
    FrameRate { num: 60_000, den: 1001 },
    FrameRate { num: 60, den: 1 },
];

impl FrameRate {
    /// Frames a second.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.num) / f64::from(self.den.max(1))
    }

    /// The output rate for a source that has `source` frames a second on average (0 or a
    /// non-number: unknown): one of the usual rates if it lies within 1 %, a whole number
    /// otherwise, halved or divided further until it is at most 60, and at least 10.
    #[must_use]
    pub fn snap(source: f64) -> Self {
        if !source.is_finite() || source <= 0.0 {
            return Self { num: 30, den: 1 };
        }
        // A rate far above anything filmed is a lie of the container.
        let source = source.min(100_000.0);
        let divisor = (source / (MAX_RATE * 1.01)).ceil().max(1.0);
        let rate = source / divisor;
        let nearest = USUAL
            .into_iter()
            .filter(|usual| (usual.as_f64() - rate).abs() / rate < 0.01)
            .min_by(|a, b| (a.as_f64() - rate).abs().total_cmp(&(b.as_f64() - rate).abs()));
        nearest.unwrap_or_else(|| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 10 and 60")]
            let whole = rate.round().clamp(MIN_RATE, MAX_RATE) as u32;
            Self { num: whole, den: 1 }
        })
    }

    /// The time scale of this rate's tracks and the length of a frame in it.
    #[must_use]
    pub const fn ticks(self) -> (u32, u32) {
        let (num, den) = (self.num as u64, self.den as u64);
        if (90_000 * den).is_multiple_of(num) {
            // At most 90 000 ticks a frame, as the rate is at least one.
            (90_000, (90_000 * den / num) as u32)
        } else {
            (self.num, self.den)
        }
    }

    /// The first frame at or after `seconds`.
    #[must_use]
    pub const fn frame_at(self, seconds: u64) -> u64 {
        (seconds * self.num as u64).div_ceil(self.den as u64)
    }

    /// The start of frame `n` in microseconds, rounded down.
    #[must_use]
    pub const fn micros(self, n: u64) -> i64 {
        (n as i128 * 1_000_000 * self.den as i128 / self.num as i128) as i64
    }

    /// True if frame `n` begins a group of pictures.
    #[must_use]
    pub const fn is_key(self, n: u64) -> bool {
        self.is_boundary(n, KEY_FRAME_SECONDS)
    }

    /// True if frame `n` begins a segment.
    #[must_use]
    pub const fn is_segment_start(self, n: u64) -> bool {
        self.is_boundary(n, SEGMENT_SECONDS)
    }

    /// True if `n` is the first frame at or after a multiple of `every` seconds.
    const fn is_boundary(self, n: u64, every: u64) -> bool {
        let periods = n * self.den as u64 / (every * self.num as u64);
        // `n` lies in this period; it is a boundary if it opens the period, or if the period
        // opened between the frame before and this one.
        n == self.frame_at(periods * every)
    }
}

/// Spreads pictures that come at any time over the slots of a constant rate: a picture stays until
/// the next one is due, and of several due in one slot the last is shown.
#[derive(Debug, Clone)]
pub struct Cadence {
    rate: FrameRate,
    next: u64,
}

impl Cadence {
    /// Begins at slot 0.
    #[must_use]
    pub const fn new(rate: FrameRate) -> Self {
        Self { rate, next: 0 }
    }

    /// The slots that the picture shown so far fills before one due at `at_us` takes over.
    pub fn until(&mut self, at_us: i64) -> std::ops::Range<u64> {
        let due = u64::try_from(at_us).unwrap_or(0);
        let (num, den) = (u128::from(self.rate.num), u128::from(self.rate.den) * 1_000_000);
        let slot = u64::try_from((u128::from(due) * num + den / 2) / den).unwrap_or(u64::MAX);
        let slots = self.next..slot.max(self.next);
        self.next = slots.end;
        slots
    }

    /// The slots that the last picture fills up to `end_us`: at least one if nothing would be
    /// shown otherwise.
    pub fn finish(&mut self, end_us: i64) -> std::ops::Range<u64> {
        let slots = self.until(end_us);
        if slots.is_empty() && self.next == 0 {
            self.next = 1;
            return 0..1;
        }
        slots
    }

    /// The slots filled so far.
    #[must_use]
    pub const fn filled(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(num: u32, den: u32) -> FrameRate {
        FrameRate { num, den }
    }

    #[test]
    fn rates_snap_to_what_screens_show() {
        let table = [
            (29.97, rate(30_000, 1001)),
            (30.0, rate(30, 1)),
            (29.8, rate(30_000, 1001)),
            (23.976, rate(24_000, 1001)),
            (25.01, rate(25, 1)),
            (59.94, rate(60_000, 1001)),
            (120.0, rate(60, 1)),
            (119.88, rate(60_000, 1001)),
            (144.0, rate(48, 1)),
            (240.0, rate(60, 1)),
            (1e9, rate(60, 1)),
            (17.3, rate(17, 1)),
            (1.0, rate(10, 1)),
            (0.0, rate(30, 1)),
            (f64::NAN, rate(30, 1)),
        ];
        for (source, expected) in table {
            let snapped = FrameRate::snap(source);
            assert_eq!(snapped, expected, "{source}");
            assert!((10.0..=60.0).contains(&snapped.as_f64()));
        }
    }

    #[test]
    fn tick_lengths_are_exact() {
        for (r, ticks) in [
            (rate(30, 1), (90_000, 3000)),
            (rate(30_000, 1001), (90_000, 3003)),
            (rate(24_000, 1001), (24_000, 1001)),
            (rate(17, 1), (17, 1)),
        ] {
            assert_eq!(r.ticks(), ticks, "{r:?}");
            let (scale, frame) = r.ticks();
            assert_eq!(u64::from(scale) * u64::from(r.den), u64::from(frame) * u64::from(r.num));
        }
    }

    #[test]
    fn key_frames_come_every_two_seconds_and_segments_every_six() {
        for r in [rate(30, 1), rate(30_000, 1001), rate(24_000, 1001), rate(60_000, 1001), rate(17, 1), rate(10, 1)] {
            let frames = r.frame_at(60);
            let keys: Vec<u64> = (0..frames).filter(|n| r.is_key(*n)).collect();
            let segments: Vec<u64> = (0..frames).filter(|n| r.is_segment_start(*n)).collect();
            assert_eq!(keys.len(), 30, "{r:?}");
            assert_eq!(segments, keys.iter().step_by(3).copied().collect::<Vec<_>>(), "{r:?}");
            for (k, n) in keys.iter().enumerate() {
                let late = r.micros(*n) - i64::try_from(k).unwrap() * 2_000_000;
                assert!((0..=100_000).contains(&late), "{r:?} frame {n} is {late} µs late");
            }
        }
    }

    #[test]
    fn a_picture_stays_until_the_next_is_due() {
        let mut cadence = Cadence::new(rate(10, 1));
        assert_eq!(cadence.until(0), 0..0);
        assert_eq!(cadence.until(100_000), 0..1);
        assert_eq!(cadence.until(110_000), 1..1, "two in one slot: the first gives way");
        assert_eq!(cadence.until(500_000), 1..5);
        assert_eq!(cadence.until(300_000), 5..5, "time that steps back adds nothing");
        assert_eq!(cadence.finish(700_000), 5..7);
        assert_eq!(Cadence::new(rate(10, 1)).finish(0), 0..1, "a still is shown at least once");
        assert_eq!(Cadence::new(rate(10, 1)).until(-5_000_000), 0..0);
    }

    proptest::proptest! {
        #[test]
        fn every_slot_is_filled_once(mut times in proptest::collection::vec(0i64..20_000_000, 1..200)) {
            times.sort_unstable();
            let mut cadence = Cadence::new(rate(30_000, 1001));
            let mut filled = Vec::new();
            for at in &times {
                filled.extend(cadence.until(*at));
            }
            filled.extend(cadence.finish(21_000_000));
            proptest::prop_assert_eq!(filled, (0..cadence.filled()).collect::<Vec<_>>());
        }
    }
}
