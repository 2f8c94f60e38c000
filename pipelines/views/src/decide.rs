//! The rules of [`event_schemas::rules`] as a fold of rows. Pure: no clock, no I/O.
//!
//! `lakehouse/views/sql` states the same rules over the lake; a property test in `lake-sql` holds
//! the two together. Keep them in step.

use event_schemas::{
    Millis, SessionId, Timestamp, VideoId, ViewerId,
    rules::{DEDUPLICATION_WINDOW, ENGAGED_AFTER, PREVIEW_SOURCE, VIEW_AFTER, view_counts, view_threshold},
};
use serving_store::counters::VideoCounters;

/// What identifies a session to the rules: one viewer's playback of one video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// Who watches.
    pub viewer: ViewerId,
    /// What.
    pub video: VideoId,
    /// In which playback.
    pub session: SessionId,
}

/// What the rules see of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row<'a> {
    /// Its session.
    pub key: SessionKey,
    /// True for kind `start`.
    pub is_start: bool,
    /// The interval of the playhead it reports, in milliseconds of media.
    pub interval: Option<(i64, i64)>,
    /// Whether it came with a grant.
    pub granted: bool,
    /// Whether a rule has dropped it.
    pub dropped: bool,
    /// Where the watch came from.
    pub source: Option<&'a str>,
    /// The video's length as its grant says.
    pub duration: Option<Millis>,
    /// When the edge received it.
    pub server_ts: Timestamp,
    /// When it happened.
    pub event_ts: Timestamp,
}

/// What is remembered of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionState {
    /// The latest server time of its rows.
    pub last_seen: Timestamp,
    /// Its watch time so far.
    pub watched: Millis,
    /// Its start is counted.
    pub started: bool,
    /// It has qualified as a view, counted or not.
    pub qualified: bool,
    /// Its engaged view is counted.
    pub engaged: bool,
}

/// What one row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// The session after it.
    pub session: SessionState,
    /// What it adds to the video's counters, views aside.
    pub adds: VideoCounters,
    /// True if the session qualifies as a view with this row; [`count_view`] decides if it counts.
    pub qualifies: bool,
}

/// Folds one row into its session; `before` is the session so far, if it is known.
#[must_use]
pub fn step(before: Option<SessionState>, row: &Row<'_>) -> Step {
    let mut session = before.filter(|state| !is_over(*state, row.server_ts)).unwrap_or_default();
    session.last_seen = session.last_seen.max(row.server_ts);
    let mut out = Step { session, ..Step::default() };
    if row.dropped {
        return out;
    }
    if row.is_start && row.granted && !out.session.started {
        out.session.started = true;
        out.adds.starts = 1;
    }
    let watched = match row.interval {
        Some((from, to)) if row.granted && to > from => Millis(to - from),
        _ => return out,
    };
    out.session.watched = Millis(out.session.watched.0.saturating_add(watched.0));
    out.adds.watch_ms = watched;
    if !out.session.engaged && out.session.watched > ENGAGED_AFTER && row.source != Some(PREVIEW_SOURCE) {
        out.session.engaged = true;
        out.adds.engaged = 1;
    }
    if !out.session.qualified && out.session.watched >= row.duration.map_or(VIEW_AFTER, view_threshold) {
        out.session.qualified = true;
        out.qualifies = true;
    }
    out
}

/// Whether a session that was silent for so long begins anew with a row received at `now`.
#[must_use]
pub fn is_over(session: SessionState, now: Timestamp) -> bool {
    now > session.last_seen + DEDUPLICATION_WINDOW
}

/// Whether a qualification at `at` counts as a view, given the same viewer's last counted view of
/// the video.
#[must_use]
pub fn count_view(last_counted: Option<Timestamp>, at: Timestamp) -> bool {
    view_counts(last_counted, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SessionKey {
        SessionKey {
            viewer: ViewerId::from_bytes([1; 16]),
            video: VideoId::from_uuid(uuid::Uuid::from_u128(2)),
            session: SessionId::from_uuid(uuid::Uuid::from_u128(3)),
        }
    }

    fn heartbeat(second: i64, from: i64, to: i64) -> Row<'static> {
        let at = Timestamp::from_millis(second * 1000);
        Row {
            key: key(),
            is_start: false,
            interval: Some((from, to)),
            granted: true,
            dropped: false,
            source: None,
            duration: Some(Millis(600_000)),
            server_ts: at,
            event_ts: at,
        }
    }

    fn fold(rows: &[Row<'_>]) -> (VideoCounters, u32) {
        let (mut session, mut sum, mut qualified) = (None, VideoCounters::default(), 0);
        for row in rows {
            let step = step(session, row);
            session = Some(step.session);
            sum += step.adds;
            qualified += u32::from(step.qualifies);
        }
        (sum, qualified)
    }

    #[test]
    fn thirty_seconds_make_a_view_once_and_rewatching_counts() {
        let rewatched: Vec<_> = (0..7).map(|n| heartbeat(n * 10, 0, 5_000)).collect();
        assert_eq!(fold(&rewatched[..5]).1, 0, "25 s");
        let (sum, qualified) = fold(&rewatched);
        assert_eq!((qualified, sum.engaged, sum.watch_ms), (1, 1, Millis(35_000)));
    }

    #[test]
    fn only_granted_and_undropped_time_counts() {
        let rows = [
            Row { granted: false, ..heartbeat(0, 0, 10_000) },
            Row { dropped: true, ..heartbeat(10, 0, 10_000) },
            Row { interval: None, ..heartbeat(20, 0, 0) },
            heartbeat(30, 10_000, 10_000),
            heartbeat(40, 20_000, 10_000),
        ];
        assert_eq!(fold(&rows), (VideoCounters::default(), 0));
    }

    #[test]
    fn a_start_counts_once_if_granted_and_not_dropped() {
        let start = Row { is_start: true, interval: None, granted: false, ..heartbeat(0, 0, 0) };
        assert_eq!(fold(&[start]).0.starts, 0);
        let granted = Row { granted: true, ..start };
        let (sum, _) = fold(&[Row { dropped: true, ..granted }, start, granted, granted]);
        assert_eq!(sum.starts, 1);
    }

    #[test]
    fn a_short_video_needs_half_its_length() {
        let short = |to| Row { duration: Some(Millis(9_999)), ..heartbeat(0, 0, to) };
        assert_eq!(fold(&[short(4_999)]).1, 0);
        assert_eq!(fold(&[short(5_000)]).1, 1);
        let unknown = Row { duration: None, ..heartbeat(0, 0, 10_000) };
        assert_eq!(fold(&[unknown; 3]).1, 1);
        assert_eq!(fold(&[unknown; 2]).1, 0);
    }

    #[test]
    fn ten_seconds_are_not_past_ten_and_a_preview_is_no_intent() {
        assert_eq!(fold(&[heartbeat(0, 0, 10_000)]).0.engaged, 0);
        assert_eq!(fold(&[heartbeat(0, 0, 10_001)]).0.engaged, 1);
        let preview = Row { source: Some("preview"), ..heartbeat(0, 0, 11_000) };
        assert_eq!(fold(&[preview]).0.engaged, 0);
        assert_eq!(fold(&[preview, heartbeat(1, 0, 1)]).0.engaged, 1, "the preview became a watch");
    }

    #[test]
    fn a_session_silent_for_more_than_seven_days_begins_anew() {
        let week = 7 * 86_400;
        let rows = [heartbeat(0, 0, 20_000), heartbeat(week, 0, 9_000), heartbeat(2 * week + 1, 0, 29_999)];
        assert_eq!(fold(&rows), (VideoCounters { engaged: 2, watch_ms: Millis(58_999), ..Default::default() }, 0));
        assert_eq!(fold(&rows[..2]).0.engaged, 1);
    }
}
