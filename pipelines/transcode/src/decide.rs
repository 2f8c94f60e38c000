//! What becomes of a job whose attempt has ended, and other decisions of the stage. Pure.

use catalog::SourceInfo;
use event_schemas::Millis;

use crate::{ladder::Probe, worker::RunError};

/// Attempts after which a source that our decoder can't cope with counts as failed.
pub const MAX_ATTEMPTS: u32 = 3;
const FIRST_DELAY: Millis = Millis::from_secs(5);
const LONGEST_DELAY: Millis = Millis::from_secs(300);

/// What to do with a job that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Give it back, to be tried after so long.
    Retry {
        /// The delay.
        after: Millis,
    },
    /// End it with a reason that the owner of the video can read.
    Fail {
        /// The reason.
        reason: String,
    },
}

/// Decides after attempt number `attempt`, from 1. What the source is to blame for fails at once; what
/// the decoder could not cope with is tried [`MAX_ATTEMPTS`] times; while a dependency fails, the job
/// waits for it however long that takes.
#[must_use]
pub fn after_failure(attempt: u32, error: &RunError) -> Next {
    if matches!(error, RunError::Cancelled) {
        return Next::Retry { after: Millis(0) };
    }
    let give_up = !error.is_worth_another_attempt() || (!error.is_ours() && attempt >= MAX_ATTEMPTS);
    if give_up {
        return Next::Fail { reason: error.reason() };
    }
    let doubled = FIRST_DELAY.0 << attempt.saturating_sub(1).min(10);
    Next::Retry { after: Millis(doubled.min(LONGEST_DELAY.0)) }
}

/// Progress in percent, 0 to 99: 100 is for what has finished.
#[must_use]
pub fn percent(at_ms: i64, duration_ms: Option<i64>) -> Option<u8> {
    let duration = duration_ms.filter(|duration| *duration > 0)?;
    u8::try_from((at_ms.max(0).saturating_mul(100) / duration).min(99)).ok()
}

/// What the catalog keeps of a probe.
#[must_use]
pub fn source_info(probe: &Probe) -> SourceInfo {
    let video = probe.video.as_ref();
    let clean = |text: &str| text.chars().filter(|c| !c.is_control()).take(64).collect::<String>();
    SourceInfo {
        format: clean(&probe.format),
        duration: Millis(probe.duration_ms.unwrap_or(0).max(0)),
        video_codec: video.map(|video| clean(&video.codec)),
        audio_codec: probe.audio.as_ref().map(|audio| clean(&audio.codec)),
        width: video.map(|video| video.width),
        height: video.map(|video| video.height),
        frame_rate: video.map(|video| video.frame_rate).filter(|rate| rate.is_finite() && *rate > 0.0),
    }
}

/// The content-hashed name of a media object: 32 hexadecimal digits of its BLAKE3 hash.
#[must_use]
pub fn object_name(bytes: &[u8], extension: &str) -> String {
    let hex = blake3::hash(bytes).to_hex();
    format!("{}.{extension}", &hex.as_str()[..32])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{protocol::FailureKind, worker::ReadError};

    fn failed(kind: FailureKind) -> RunError {
        RunError::Failed { kind, reason: "because".into() }
    }

    #[test]
    fn bad_media_fails_at_once_and_crashes_after_three_attempts() {
        let fail = |reason: &str| Next::Fail { reason: reason.into() };
        let retry = |seconds| Next::Retry { after: Millis::from_secs(seconds) };
        let table = [
            (1, failed(FailureKind::Source), fail("because")),
            (1, failed(FailureKind::Internal), retry(5)),
            (2, RunError::Hung(Duration::from_secs(1)), retry(10)),
            (3, RunError::Hung(Duration::from_secs(1)), fail("processing the video got stuck")),
            (7, failed(FailureKind::Internal), fail("because")),
            (1, RunError::TooMuch(1), fail("the video's renditions are larger than we allow")),
            (1, RunError::Source(ReadError::Gap(0)), retry(5)),
            (50, RunError::Source(ReadError::Gap(0)), retry(300)),
            (50, RunError::Sandbox(String::new()), retry(300)),
            (9, RunError::Cancelled, retry(0)),
        ];
        for (attempt, error, expected) in table {
            assert_eq!(after_failure(attempt, &error), expected, "{attempt}: {error}");
        }
    }

    #[test]
    fn progress_stays_below_a_hundred() {
        for (at, duration, expected) in [
            (0, Some(10), Some(0)),
            (5, Some(10), Some(50)),
            (11, Some(10), Some(99)),
            (-1, Some(10), Some(0)),
            (5, None, None),
            (5, Some(0), None),
        ] {
            assert_eq!(percent(at, duration), expected);
        }
    }

    #[test]
    fn names_are_pinned() {
        assert_eq!(object_name(b"", "m4s"), "af1349b9f5f9a1a6a0404dea36dcc949.m4s");
    }
}
