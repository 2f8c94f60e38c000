//! Holds a child to the order of messages and to its share of the disk: whoever has taken it over can
//! send what it likes, but not make the worker store what no plan asked for. Pure.

use std::collections::BTreeMap;

use super::RunError;
use crate::{
    ladder::Plan,
    protocol::{FromChild, ProtocolError, Track},
};

/// Holds the child to the order of messages and to its share of the disk.
#[derive(Debug, Default)]
pub(super) struct OrderChecks {
    greeted: bool,
    planned: bool,
    bytes: u64,
    tracks: BTreeMap<Track, TrackChecks>,
}

#[derive(Debug, Default)]
struct TrackChecks {
    has_init: bool,
    segments: u32,
    done: bool,
}

/// No segment is longer than this: a key frame every two seconds ends them all.
const MAX_SEGMENT_US: i64 = 60_000_000;
const MAX_POSTER: usize = 4 << 20;

impl OrderChecks {
    /// Takes note of the plan that the child was given.
    pub(super) fn expect(&mut self, plan: &Plan, sound: bool) {
        self.planned = true;
        let video = (0u8..).zip(&plan.rungs).map(|(place, _)| Track::Video(place));
        self.tracks = video.chain(sound.then_some(Track::Audio)).map(|track| (track, TrackChecks::default())).collect();
    }

    /// Judges a message and the length of its body.
    pub(super) fn admit(&mut self, message: &FromChild, body: usize, max_output: u64) -> Result<(), RunError> {
        let refuse = |what| Err(RunError::Protocol(ProtocolError::Unexpected(what)));
        self.bytes = self.bytes.saturating_add(body as u64);
        if self.bytes > max_output {
            return Err(RunError::TooMuch(max_output));
        }
        let opens = matches!(message, FromChild::Hello { .. } | FromChild::SandboxRefused { .. });
        if opens == self.greeted {
            return refuse("a greeting out of place");
        }
        self.greeted = true;
        match message {
            FromChild::Probed(_) if self.planned => refuse("a second probe"),
            FromChild::Init { track } => match self.tracks.get_mut(track) {
                Some(checks) if !checks.has_init => {
                    checks.has_init = true;
                    Ok(())
                }
                _ => refuse("an init segment out of place"),
            },
            FromChild::Segment { track, number, duration_us } => match self.tracks.get_mut(track) {
                Some(checks) if checks.has_init && !checks.done && checks.segments == *number => {
                    checks.segments += 1;
                    if (1..=MAX_SEGMENT_US).contains(duration_us) { Ok(()) } else { refuse("a segment's length") }
                }
                _ => refuse("a segment out of place"),
            },
            FromChild::TrackDone { track } => match self.tracks.get_mut(track) {
                Some(checks) if checks.segments > 0 && !checks.done => {
                    checks.done = true;
                    Ok(())
                }
                _ => refuse("the end of a track out of place"),
            },
            FromChild::Poster if !self.planned || body > MAX_POSTER => refuse("a poster out of place"),
            _ => Ok(()),
        }
    }

    /// Whether everything planned has come.
    pub(super) fn all_done(&self) -> Result<(), RunError> {
        if self.planned && self.tracks.values().all(|track| track.done) {
            return Ok(());
        }
        Err(ProtocolError::Unexpected("done before every track was").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ladder::{self, Probe},
        sandbox::SandboxState,
    };

    const PLENTY: u64 = 1 << 40;

    fn planned(sound: bool) -> OrderChecks {
        let mut checks = OrderChecks::default();
        let hello = FromChild::Hello { version: 1, sandbox: SandboxState::default() };
        checks.admit(&hello, 0, PLENTY).unwrap();
        let probe = Probe { format: "mp3".into(), duration_ms: None, video: None, audio: None };
        checks.expect(&ladder::plan(&probe), sound);
        checks
    }

    fn init(track: Track) -> FromChild {
        FromChild::Init { track }
    }

    fn segment(track: Track, number: u32, duration_us: i64) -> FromChild {
        FromChild::Segment { track, number, duration_us }
    }

    fn is_refused(checks: &mut OrderChecks, message: &FromChild) -> bool {
        matches!(checks.admit(message, 1, PLENTY), Err(RunError::Protocol(ProtocolError::Unexpected(_))))
    }

    #[test]
    fn what_was_planned_is_admitted_in_order() {
        let mut checks = planned(true);
        for track in [Track::Video(0), Track::Audio] {
            let done = FromChild::TrackDone { track };
            for message in [init(track), segment(track, 0, 6_000_000), segment(track, 1, 1), done] {
                assert!(checks.all_done().is_err());
                checks.admit(&message, 100, PLENTY).unwrap();
            }
        }
        checks.all_done().unwrap();
    }

    #[test]
    fn what_is_out_of_place_is_refused() {
        let video = Track::Video(0);
        assert!(is_refused(&mut OrderChecks::default(), &FromChild::Poster), "before the greeting");
        assert!(is_refused(&mut planned(false), &init(Track::Video(1))), "a rung too many");
        assert!(is_refused(&mut planned(false), &init(Track::Audio)), "sound of a silent source");
        assert!(is_refused(&mut planned(false), &segment(video, 0, 1)), "no init segment");
        assert!(is_refused(&mut planned(false), &FromChild::TrackDone { track: video }), "no segment");
        let mut begun = planned(false);
        begun.admit(&init(video), 1, PLENTY).unwrap();
        assert!(is_refused(&mut begun, &init(video)), "a second init segment");
        for bad in [segment(video, 1, 1), segment(video, 0, 0), segment(video, 0, i64::MAX)] {
            let mut checks = planned(false);
            checks.admit(&init(video), 1, PLENTY).unwrap();
            assert!(is_refused(&mut checks, &bad), "{bad:?}");
        }
        begun.admit(&segment(video, 0, 1), 1, PLENTY).unwrap();
        begun.admit(&FromChild::TrackDone { track: video }, 0, PLENTY).unwrap();
        assert!(is_refused(&mut begun, &segment(video, 1, 1)), "after the end");
    }

    #[test]
    fn bytes_are_counted_over_all_messages() {
        let mut checks = planned(false);
        checks.admit(&init(Track::Video(0)), 60, 100).unwrap();
        let error = checks.admit(&segment(Track::Video(0), 0, 1), 41, 100).unwrap_err();
        assert!(matches!(error, RunError::TooMuch(100)));
    }
}
