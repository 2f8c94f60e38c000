//! HLS playlists (RFC 8216, version 7) from what the catalog knows of a video: measured bandwidths, codecs
//! read from the init segments, and addresses given by the caller. Pure and deterministic: the same
//! renditions give the same bytes. Called by the playback API.

use std::{collections::BTreeSet, fmt::Write as _};

use catalog::{MediaFile, Rendition, Segment, TrackKind};

/// The group that the sound belongs to.
const AUDIO_GROUP: &str = "audio";
/// Players begin with the first variant: the best one below this many bits a second.
const FIRST_VARIANT_BITS: u64 = 2_500_000;

/// Whether a media playlist may still grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Complete.
    Vod,
    /// Segments are appended and never removed.
    Event,
}

/// The name of a rendition's media playlist.
#[must_use]
pub fn playlist_name(rendition: &str) -> String {
    format!("{rendition}.m3u8")
}

/// Bits a second of a rendition, measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bandwidth {
    /// Of its heaviest segment; a segment shorter than half the target duration, as the last may be, is
    /// averaged with the one before it.
    pub peak: u64,
    /// Of the whole.
    pub average: u64,
}

impl Bandwidth {
    /// Measures segments.
    #[must_use]
    pub fn of(segments: &[Segment]) -> Self {
        let bits = |segments: &[Segment]| {
            let bytes: u64 = segments.iter().map(|segment| segment.file.bytes).sum();
            let micros: u64 = segments.iter().map(|segment| u64::try_from(segment.duration_us).unwrap_or(0)).sum();
            if micros == 0 { 0 } else { (u128::from(bytes) * 8_000_000).div_ceil(u128::from(micros)) }
        };
        let narrow = |bits: u128| u64::try_from(bits).unwrap_or(u64::MAX);
        let half = i64::from(target_of(segments)) * 500_000;
        let peak = (0..segments.len())
            .map(|n| {
                // RFC 8216 measures over at least half a target duration.
                let from = if segments[n].duration_us < half { n.saturating_sub(1) } else { n };
                bits(&segments[from..=n])
            })
            .max()
            .unwrap_or(0);
        Self { peak: narrow(peak), average: narrow(bits(segments)) }
    }
}

/// The target duration in seconds that all playlists of a video share: its longest segment, rounded.
#[must_use]
pub fn target_duration(renditions: &[Rendition]) -> u32 {
    renditions.iter().map(|rendition| target_of(&rendition.segments)).max().unwrap_or(1).max(1)
}

fn target_of(segments: &[Segment]) -> u32 {
    let longest = segments.iter().map(|segment| segment.duration_us).max().unwrap_or(0);
    u32::try_from((longest + 500_000) / 1_000_000).unwrap_or(1).max(1)
}

/// The multivariant playlist. `uri` gives the address of a media playlist by its
/// [name](playlist_name).
#[must_use]
pub fn multivariant(renditions: &[Rendition], uri: impl Fn(&str) -> String) -> String {
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let of_kind = |kind| renditions.iter().filter(move |rendition| rendition.info.kind == kind);
    let mut sound = Bandwidth::default();
    let mut sound_codecs = BTreeSet::new();
    for (n, audio) in of_kind(TrackKind::Audio).enumerate() {
        let measured = Bandwidth::of(&audio.segments);
        sound.peak = sound.peak.max(measured.peak);
        sound.average = sound.average.max(measured.average);
        sound_codecs.insert(audio.info.codecs.as_str());
        let default = if n == 0 { "YES" } else { "NO" };
        let _ = writeln!(
            out,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{AUDIO_GROUP}\",NAME=\"{}\",DEFAULT={default},AUTOSELECT=YES,\
             CHANNELS=\"2\",URI=\"{}\"",
            quoted(&audio.info.name),
            quoted(&uri(&playlist_name(&audio.info.name))),
        );
    }
    let mut variants: Vec<(Bandwidth, &Rendition)> = of_kind(TrackKind::Video)
        .map(|video| {
            let own = Bandwidth::of(&video.segments);
            (Bandwidth { peak: own.peak + sound.peak, average: own.average + sound.average }, video)
        })
        .collect();
    variants.sort_by(|(a, left), (b, right)| {
        (b.peak, b.average, &left.info.name).cmp(&(a.peak, a.average, &right.info.name))
    });
    if let Some(first) = variants.iter().position(|(bandwidth, _)| bandwidth.peak <= FIRST_VARIANT_BITS) {
        variants[..=first].rotate_right(1);
    }
    for (bandwidth, video) in variants {
        let info = &video.info;
        let codecs: Vec<&str> = std::iter::once(info.codecs.as_str()).chain(sound_codecs.iter().copied()).collect();
        let _ = write!(
            out,
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\"",
            bandwidth.peak,
            bandwidth.average,
            quoted(&codecs.join(",")),
        );
        if let (Some(width), Some(height)) = (info.width, info.height) {
            let _ = write!(out, ",RESOLUTION={width}x{height}");
        }
        if let Some(rate) = info.frame_rate {
            let _ = write!(out, ",FRAME-RATE={rate:.3}");
        }
        out.push_str(",VIDEO-RANGE=SDR");
        if !sound_codecs.is_empty() {
            let _ = write!(out, ",AUDIO=\"{AUDIO_GROUP}\"");
        }
        let _ = writeln!(out, "\n{}", uri(&playlist_name(&info.name)));
    }
    out
}

/// A rendition's media playlist. `target` is the video's [`target_duration`]; `uri` gives the address of
/// a media object.
#[must_use]
pub fn media(rendition: &Rendition, target: u32, form: Form, uri: impl Fn(&MediaFile) -> String) -> String {
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:7\n");
    let _ = writeln!(out, "#EXT-X-TARGETDURATION:{target}");
    out.push_str("#EXT-X-MEDIA-SEQUENCE:0\n");
    let _ = writeln!(out, "#EXT-X-PLAYLIST-TYPE:{}", if form == Form::Vod { "VOD" } else { "EVENT" });
    out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    let _ = writeln!(out, "#EXT-X-MAP:URI=\"{}\"", quoted(&uri(&rendition.info.init)));
    for segment in &rendition.segments {
        let _ = writeln!(
            out,
            "#EXTINF:{}.{:06},\n{}",
            segment.duration_us / 1_000_000,
            segment.duration_us % 1_000_000,
            uri(&segment.file)
        );
    }
    if form == Form::Vod || rendition.complete {
        out.push_str("#EXT-X-ENDLIST\n");
    }
    out
}

/// A quoted string of a playlist can hold neither quotes nor line breaks.
fn quoted(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '"' | '\r' | '\n')).collect()
}

#[cfg(test)]
mod tests {
    use catalog::NewRendition;

    use super::*;

    fn segments(prefix: &str, durations: &[i64], bytes: &[u64]) -> Vec<Segment> {
        (0u32..)
            .zip(durations.iter().zip(bytes))
            .map(|(number, (duration_us, bytes))| Segment {
                number,
                duration_us: *duration_us,
                file: MediaFile { name: format!("{prefix}{number:04}.m4s"), bytes: *bytes },
            })
            .collect()
    }

    fn video(name: &str, height: u32, bytes: &[u64]) -> Rendition {
        Rendition {
            info: NewRendition {
                name: name.into(),
                kind: TrackKind::Video,
                codecs: "avc1.64001f".into(),
                width: Some(height * 16 / 9),
                height: Some(height),
                frame_rate: Some(30_000.0 / 1001.0),
                init: MediaFile { name: format!("{name}init.mp4"), bytes: 700 },
            },
            complete: true,
            segments: segments(name, &[6_006_000, 6_006_000, 1_001_000], bytes),
        }
    }

    fn audio() -> Rendition {
        Rendition {
            info: NewRendition {
                name: "audio".into(),
                kind: TrackKind::Audio,
                codecs: "mp4a.40.2".into(),
                width: None,
                height: None,
                frame_rate: None,
                init: MediaFile { name: "audioinit.mp4".into(), bytes: 600 },
            },
            complete: true,
            segments: segments("audio", &[6_016_000, 5_995_000, 1_002_000], &[96_000, 97_000, 17_000]),
        }
    }

    fn all() -> Vec<Rendition> {
        vec![
            video("1080p", 1080, &[3_000_000, 3_500_000, 900_000]),
            video("720p", 720, &[1_500_000, 1_600_000, 100_000]),
            video("360p", 360, &[500_000, 600_000, 90_000]),
            audio(),
        ]
    }

    #[test]
    fn the_multivariant_playlist() {
        insta::assert_snapshot!(multivariant(&all(), |name| name.to_owned()));
    }

    #[test]
    fn a_silent_video_names_no_audio_group() {
        let silent = multivariant(&all()[..1], |name| format!("r/{name}"));
        assert!(!silent.contains("AUDIO") && silent.contains("\nr/1080p.m3u8\n"), "{silent}");
    }

    #[test]
    fn media_playlists() {
        let target = target_duration(&all());
        assert_eq!(target, 6);
        insta::assert_snapshot!("media_vod", media(&all()[1], target, Form::Vod, |file| file.name.clone()));
        let growing = Rendition { complete: false, ..audio() };
        insta::assert_snapshot!("media_event", media(&growing, target, Form::Event, |file| format!("m/{}", file.name)));
    }

    #[test]
    fn an_event_ends_when_its_rendition_is_complete() {
        let ended = media(&audio(), 6, Form::Event, |file| file.name.clone());
        assert!(ended.ends_with("#EXT-X-ENDLIST\n") && ended.contains("PLAYLIST-TYPE:EVENT"));
    }

    #[test]
    fn bandwidth_is_measured() {
        let heavy_tail = segments("s", &[6_000_000, 6_000_000, 100_000], &[600_000, 750_000, 50_000]);
        let measured = Bandwidth::of(&heavy_tail);
        assert_eq!(measured.average, (1_400_000u64 * 8_000_000).div_ceil(12_100_000));
        assert_eq!(
            measured.peak,
            (800_000u64 * 8_000_000).div_ceil(6_100_000),
            "the short tail counts with its neighbour"
        );
        assert_eq!(Bandwidth::of(&[]), Bandwidth::default());
    }

    #[test]
    fn names_cannot_break_out_of_their_quotes() {
        let mut renditions = all();
        renditions[3].info.name = "a\"\n#EXT".into();
        let playlist = multivariant(&renditions, |name| name.to_owned());
        assert!(playlist.contains("NAME=\"a#EXT\""), "{playlist}");
    }
}
