//! Checks a batch and stamps its events. Pure: no I/O, no clock.

use access::{FieldError, Problem};
use event_schemas::{
    Millis, Timestamp, ViewerId,
    playback::PlaybackEvent,
    rules::{DEDUPLICATION_WINDOW, MAX_INTERVAL, event_time},
};

use super::contract::{MAX_EVENTS, TelemetryBatch, TelemetryEvent};

/// The sources known; see the column of the same name.
pub const SOURCES: [&str; 7] = ["search", "related", "home", "channel", "external", "embed", "preview"];

/// A playhead may report this much past the signed length: players round.
const END_TOLERANCE: Millis = Millis(1000);

/// The most faults named in one answer.
const MAX_FAULTS: usize = 10;

/// What the edge knows beside the batch itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamp {
    /// Who watches.
    pub viewer: ViewerId,
    /// The length of the video as signed in a valid grant; none without one.
    pub granted: Option<Millis>,
    /// When the batch was received.
    pub server_ts: Timestamp,
    /// Kind of device.
    pub device: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Browser.
    pub browser: Option<String>,
}

/// What becomes of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// The events to store, in the order given.
    pub events: Vec<PlaybackEvent>,
    /// How many are too old to be recognised if sent again, and so are refused.
    pub too_old: usize,
}

fn text_fault(text: Option<&String>, max: usize) -> Option<String> {
    let text = text?;
    (text.is_empty() || text.len() > max || text.chars().any(char::is_control))
        .then(|| format!("1 to {max} bytes of text, or null"))
}

fn event_faults(event: &TelemetryEvent, duration: Option<Millis>) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    match (event.kind.has_interval(), event.media_from_ms, event.media_to_ms) {
        (true, Some(from), Some(to)) => {
            if to < from {
                faults.push(("media_to_ms", format!("{to} lies before media_from_ms {from}")));
            } else if i64::from(to - from) > MAX_INTERVAL.0 {
                let max = MAX_INTERVAL.0;
                faults.push(("media_to_ms", format!("the interval has {} ms; at most {max}: split it", to - from)));
            }
            if let Some(duration) = duration
                && i64::from(to) > duration.0 + END_TOLERANCE.0
            {
                faults.push(("media_to_ms", format!("{to} lies past the video's end at {}", duration.0)));
            }
        }
        (true, _, _) => faults.push(("media_from_ms", format!("`{}` needs media_from_ms and media_to_ms", event.kind))),
        (false, None, None) => {}
        (false, _, _) => faults.push(("media_from_ms", format!("`{}` carries no interval", event.kind))),
    }
    if let Some(speed) = event.speed
        && !(speed > 0.0 && speed <= 16.0)
    {
        faults.push(("speed", "above 0, at most 16".to_owned()));
    }
    faults.extend(text_fault(event.rendition.as_ref(), 32).map(|fault| ("rendition", fault)));
    faults.extend(text_fault(event.error_code.as_ref(), 128).map(|fault| ("error_code", fault)));
    faults
}

fn faults(batch: &TelemetryBatch, duration: Option<Millis>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut add = |field: String, message: String| errors.push(FieldError { field, message });
    if batch.events.is_empty() || batch.events.len() > MAX_EVENTS {
        add("events".to_owned(), format!("1 to {MAX_EVENTS} events, not {}", batch.events.len()));
        return errors;
    }
    if let Some(source) = &batch.source
        && !SOURCES.contains(&source.as_str())
    {
        add("source".to_owned(), format!("one of {}", SOURCES.join(", ")));
    }
    for (field, value, max) in [
        ("referrer_host", &batch.referrer_host, 253),
        ("experiment", &batch.experiment, 64),
        ("player", &batch.player, 64),
    ] {
        if let Some(fault) = text_fault(value.as_ref(), max) {
            add(field.to_owned(), fault);
        }
    }
    let mut seen = std::collections::HashSet::with_capacity(batch.events.len());
    for (n, event) in batch.events.iter().enumerate() {
        if !seen.insert(event.seq) {
            add(format!("events[{n}].seq"), format!("{} is there twice", event.seq));
        }
        for (field, fault) in event_faults(event, duration) {
            add(format!("events[{n}].{field}"), fault);
        }
    }
    errors
}

/// Checks the batch and stamps its events: viewer, times, grant and device.
///
/// # Errors
/// 422 naming up to ten fields that are not right; nothing of the batch is taken then.
pub fn decide(batch: TelemetryBatch, stamp: &Stamp) -> Result<Decided, Problem> {
    let mut errors = faults(&batch, stamp.granted);
    if !errors.is_empty() {
        let more = errors.len().saturating_sub(MAX_FAULTS);
        errors.truncate(MAX_FAULTS);
        let mut problem = Problem::invalid(errors);
        if more > 0 {
            problem.detail.push_str(&format!("; and {more} more"));
        }
        return Err(problem);
    }
    let sent_ts = Timestamp::from_micros(batch.sent_ts);
    let oldest = stamp.server_ts - DEDUPLICATION_WINDOW;
    let duration = stamp.granted.map(|duration| u32::try_from(duration.0).unwrap_or(u32::MAX));
    let mut decided = Decided { events: Vec::with_capacity(batch.events.len()), too_old: 0 };
    for event in batch.events {
        let client_ts = Timestamp::from_micros(event.client_ts);
        let event_ts = event_time(client_ts, sent_ts, stamp.server_ts);
        // The clamp put it at the window's edge: it lies before it.
        if event_ts <= oldest {
            decided.too_old += 1;
            continue;
        }
        decided.events.push(PlaybackEvent {
            session_id: batch.session_id,
            seq: event.seq,
            viewer_id: stamp.viewer,
            video_id: batch.video_id,
            rendition: event.rendition,
            kind: event.kind,
            media_from_ms: event.media_from_ms,
            media_to_ms: event.media_to_ms,
            speed: event.speed,
            client_ts,
            server_ts: stamp.server_ts,
            event_ts,
            startup_ms: event.startup_ms,
            stall_ms: event.stall_ms,
            dropped_frames: event.dropped_frames,
            bitrate_kbps: event.bitrate_kbps,
            error_code: event.error_code,
            source: batch.source.clone(),
            referrer_host: batch.referrer_host.clone(),
            experiment: batch.experiment.clone(),
            country: None,
            device: stamp.device.clone(),
            os: stamp.os.clone(),
            browser: stamp.browser.clone(),
            player: batch.player.clone(),
            granted: stamp.granted.is_some(),
            video_duration_ms: duration,
            cmcd: None,
            dropped_by: None,
        });
    }
    Ok(decided)
}

#[cfg(test)]
mod tests {
    use event_schemas::{SessionId, VideoId, playback::EventKind};

    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn event(seq: u32, kind: EventKind) -> TelemetryEvent {
        TelemetryEvent {
            seq,
            kind,
            client_ts: NOW,
            media_from_ms: kind.has_interval().then_some(0),
            media_to_ms: kind.has_interval().then_some(5000),
            speed: Some(1.0),
            rendition: None,
            startup_ms: None,
            stall_ms: None,
            dropped_frames: None,
            bitrate_kbps: None,
            error_code: None,
        }
    }

    fn batch(events: Vec<TelemetryEvent>) -> TelemetryBatch {
        TelemetryBatch {
            session_id: SessionId::generate(),
            video_id: VideoId::generate(),
            grant: None,
            sent_ts: NOW,
            source: Some("home".to_owned()),
            referrer_host: None,
            experiment: None,
            player: None,
            events,
        }
    }

    fn stamp() -> Stamp {
        Stamp {
            viewer: ViewerId::from_bytes([1; 16]),
            granted: Some(Millis(20_000)),
            server_ts: Timestamp::from_micros(NOW + 50),
            device: None,
            os: None,
            browser: None,
        }
    }

    #[test]
    fn events_are_stamped_in_their_order() {
        let decided = decide(batch(vec![event(0, EventKind::Start), event(1, EventKind::Heartbeat)]), &stamp());
        let events = decided.unwrap().events;
        assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [0, 1]);
        assert!(events.iter().all(|event| event.granted && event.video_duration_ms == Some(20_000)));
        assert_eq!(events[0].event_ts, Timestamp::from_micros(NOW + 50), "the clock skew is taken out");
    }

    #[test]
    fn what_is_older_than_the_window_is_refused_and_counted() {
        let mut old = event(0, EventKind::Start);
        old.client_ts = NOW - 8 * 86_400_000_000;
        let decided = decide(batch(vec![old, event(1, EventKind::Heartbeat)]), &stamp()).unwrap();
        assert_eq!((decided.events.len(), decided.too_old), (1, 1));
    }

    #[test]
    fn faults_are_named_and_nothing_is_taken() {
        let with = |change: fn(&mut TelemetryEvent)| {
            let mut event = event(0, EventKind::Heartbeat);
            change(&mut event);
            event
        };
        for (event, field) in [
            (with(|e| e.media_to_ms = Some(10_001)), "events[0].media_to_ms"),
            (with(|e| e.media_from_ms = Some(6000)), "events[0].media_to_ms"),
            (with(|e| e.media_to_ms = None), "events[0].media_from_ms"),
            (with(|e| (e.media_from_ms, e.media_to_ms) = (Some(21_000), Some(21_001))), "events[0].media_to_ms"),
            (with(|e| e.speed = Some(f32::NAN)), "events[0].speed"),
            (with(|e| e.speed = Some(0.0)), "events[0].speed"),
            (with(|e| e.kind = EventKind::Start), "events[0].media_from_ms"),
            (with(|e| e.rendition = Some("x".repeat(33))), "events[0].rendition"),
            (with(|e| e.error_code = Some("\u{7}".to_owned())), "events[0].error_code"),
        ] {
            let problem = decide(batch(vec![event]), &stamp()).unwrap_err();
            assert_eq!(problem.status, 422);
            assert_eq!(problem.errors[0].field, field, "{}", problem.detail);
        }
        let twice = decide(batch(vec![event(3, EventKind::Start), event(3, EventKind::Start)]), &stamp());
        assert_eq!(twice.unwrap_err().errors[0].field, "events[1].seq");
        assert!(decide(batch(vec![]), &stamp()).is_err());
        let many = (0..501).map(|seq| event(seq, EventKind::Start)).collect();
        assert!(decide(batch(many), &stamp()).unwrap_err().detail.contains("not 501"));
        let mut unknown_source = batch(vec![event(0, EventKind::Start)]);
        unknown_source.source = Some("moon".to_owned());
        assert_eq!(decide(unknown_source, &stamp()).unwrap_err().errors[0].field, "source");
    }
}
