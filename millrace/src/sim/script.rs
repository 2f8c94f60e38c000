//! What one synthetic viewer does with one video: watches, seeks, stalls, watches a part again,
//! pauses, or leaves. Pure: the same seed gives the same script.

use event_schemas::playback::EventKind;
use ingest_api::telemetry::contract::TelemetryEvent;
use rand::{Rng, RngExt as _};
use rand_distr::{Distribution as _, LogNormal};

/// The longest interval one event reports.
const HEARTBEAT_MS: u32 = 10_000;

/// A session as a player would report it; times count from its beginning.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// The events; `client_ts` holds microseconds since the session began.
    pub events: Vec<TelemetryEvent>,
    /// Where the watch came from.
    pub source: &'static str,
    /// Milliseconds of media rendered.
    pub watched_ms: u64,
}

struct Player {
    events: Vec<TelemetryEvent>,
    at_us: i64,
    playhead_ms: u32,
    watched_ms: u64,
    rendition: &'static str,
}

impl Player {
    fn push(&mut self, kind: EventKind, interval: Option<(u32, u32)>) -> &mut TelemetryEvent {
        let seq = u32::try_from(self.events.len()).unwrap_or(u32::MAX);
        self.events.push(TelemetryEvent {
            seq,
            kind,
            client_ts: self.at_us,
            media_from_ms: interval.map(|(from, _)| from),
            media_to_ms: interval.map(|(_, to)| to),
            speed: Some(1.0),
            rendition: (kind != EventKind::Attempt).then(|| self.rendition.to_owned()),
            startup_ms: None,
            stall_ms: None,
            dropped_frames: None,
            bitrate_kbps: None,
            error_code: None,
        });
        let last = self.events.len() - 1;
        &mut self.events[last]
    }

    /// Plays to `until`, in heartbeats; returns the start of the interval not yet reported.
    fn play(&mut self, until: u32) -> u32 {
        let mut from = self.playhead_ms;
        while self.playhead_ms < until {
            let step = (until - self.playhead_ms).min(HEARTBEAT_MS);
            self.playhead_ms += step;
            self.at_us += i64::from(step) * 1000;
            self.watched_ms += u64::from(step);
            if self.playhead_ms < until {
                self.push(EventKind::Heartbeat, Some((from, self.playhead_ms)));
                from = self.playhead_ms;
            }
        }
        from
    }
}

/// A script for a video this long.
pub fn session(rng: &mut impl Rng, duration_ms: u32) -> Script {
    let duration = duration_ms.max(1);
    let sources = ["home", "home", "home", "search", "search", "related", "related", "channel", "external", "embed"];
    let source = sources[rng.random_range(0..sources.len())];
    let renditions = ["720p", "480p", "360p"];
    let mut player = Player {
        events: Vec::new(),
        at_us: 0,
        playhead_ms: 0,
        watched_ms: 0,
        rendition: renditions[rng.random_range(0..renditions.len())],
    };
    player.push(EventKind::Attempt, None);
    // One in a hundred never sees a frame.
    if rng.random_bool(0.01) {
        player.at_us += 2_000_000;
        player.push(EventKind::Error, None).error_code = Some("networkError".to_owned());
        return Script { events: player.events, source, watched_ms: 0 };
    }
    let startup: f64 = LogNormal::new(6.2, 0.6).map_or(500.0, |spread| spread.sample(rng));
    let startup = startup.clamp(40.0, 20_000.0) as u32;
    player.at_us += i64::from(startup) * 1000;
    player.push(EventKind::Start, None).startup_ms = Some(startup);

    // Where this viewer would leave: a third stay to the end, the others lose interest early
    // more often than late.
    let stays = rng.random_bool(0.33);
    let leave = if stays {
        duration
    } else {
        (f64::from(duration) * rng.random::<f64>().powf(1.6)).max(500.0).min(f64::from(duration)) as u32
    };
    while player.playhead_ms < leave {
        let next_stop = player.playhead_ms.saturating_add(rng.random_range(4_000..40_000)).min(leave);
        let from = player.play(next_stop);
        if next_stop >= leave {
            let kind = if leave >= duration { EventKind::End } else { EventKind::Hidden };
            player.push(kind, Some((from, next_stop)));
            break;
        }
        match rng.random_range(0..100) {
            0..8 => {
                player.push(EventKind::Heartbeat, Some((from, next_stop)));
                player.push(EventKind::StallBegin, None);
                let stall = rng.random_range(200..4000);
                player.at_us += i64::from(stall) * 1000;
                player.push(EventKind::StallEnd, None).stall_ms = Some(stall);
            }
            8..18 => {
                player.push(EventKind::Pause, Some((from, next_stop)));
                player.at_us += rng.random_range(1_000_000..90_000_000);
            }
            18..28 => {
                player.push(EventKind::Seek, Some((from, next_stop)));
                player.playhead_ms = rng.random_range(next_stop..=leave);
            }
            28..36 => {
                // Once more, from a little earlier.
                player.push(EventKind::Seek, Some((from, next_stop)));
                player.playhead_ms = next_stop.saturating_sub(rng.random_range(2_000..15_000));
            }
            36..40 => {
                player.push(EventKind::Heartbeat, Some((from, next_stop)));
                player.rendition = renditions[rng.random_range(0..renditions.len())];
                player.push(EventKind::RenditionChange, None);
            }
            _ => {
                player.push(EventKind::Heartbeat, Some((from, next_stop)));
            }
        }
        if player.events.len() > 400 {
            break;
        }
    }
    Script { watched_ms: player.watched_ms, events: player.events, source }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_seed_gives_one_script() {
        let script = |seed| session(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed), 60_000);
        assert_eq!(script(7), script(7));
        assert_ne!(script(7), script(8));
    }

    #[test]
    fn scripts_keep_the_event_contract() {
        for seed in 0..500 {
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let duration = rng.random_range(900..600_000);
            let script = session(&mut rng, duration);
            assert!(script.events.len() <= 500, "{seed}");
            let mut watched = 0;
            for (n, event) in script.events.iter().enumerate() {
                assert_eq!(event.seq as usize, n);
                assert_eq!(event.kind.has_interval(), event.media_from_ms.is_some(), "{seed} {event:?}");
                if let (Some(from), Some(to)) = (event.media_from_ms, event.media_to_ms) {
                    assert!(from <= to && to - from <= HEARTBEAT_MS && to <= duration, "{seed} {event:?}");
                    watched += u64::from(to - from);
                }
            }
            assert!(script.events.is_sorted_by_key(|event| event.client_ts), "{seed}");
            assert_eq!(watched, script.watched_ms, "{seed}: what was rendered is what was reported");
        }
    }
}
