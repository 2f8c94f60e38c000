//! Which renditions a source gets: up to three, none above the source in size or in bitrate, at
//! one frame rate. Pure; the worker decides, from what its child found out, and the child obeys.

use serde::{Deserialize, Serialize};

use crate::timeline::FrameRate;

/// What a child found out about a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The container, by FFmpeg's name.
    pub format: String,
    /// The length that the container states, in milliseconds.
    pub duration_ms: Option<i64>,
    /// The pictures.
    pub video: Option<VideoProbe>,
    /// The sound.
    pub audio: Option<AudioProbe>,
}

/// The pictures of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoProbe {
    /// The codec, by FFmpeg's name.
    pub codec: String,
    /// Width as displayed: sample aspect and rotation applied.
    pub width: u32,
    /// Height as displayed.
    pub height: u32,
    /// Average frames a second; 0 if unknown.
    pub frame_rate: f64,
    /// Bits a second, if known.
    pub bitrate: Option<u64>,
    /// True for a single picture (cover art) that stands for the whole length.
    pub still: bool,
}

/// The sound of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioProbe {
    /// The codec, by FFmpeg's name.
    pub codec: String,
    /// Channels.
    pub channels: u16,
    /// Samples a second.
    pub sample_rate: u32,
}

/// What to encode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The rate of every rung.
    pub frame_rate: FrameRate,
    /// The rungs, largest first; at least one.
    pub rungs: Vec<Rung>,
}

/// One video rendition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Its name, such as `720p`.
    pub name: String,
    /// Width in square pixels, even.
    pub width: u32,
    /// Height in square pixels, even.
    pub height: u32,
    /// The most kilobits a second over any second.
    pub maxrate_kbps: u32,
    /// The H.264 level times ten, such as 31.
    pub level: u32,
}

/// The size of the picture made for sound without pictures.
pub const PLAIN_PICTURE: (u32, u32) = (640, 360);

/// The classes by the short side of a 16:9 picture.
const CLASSES: [f64; 6] = [1080.0, 720.0, 480.0, 360.0, 240.0, 144.0];
/// Each lower rung is at most this part of the class above it, so that the step is worth switching
/// for.
const STEPS: [f64; MAX_RUNGS - 1] = [0.75, 0.55];
const MAX_RUNGS: usize = 3;
/// Bits a second of a 1920×1080 picture at 30 frames a second.
const FULL_HD_KBPS: f64 = 5800.0;
const FLOOR_KBPS: f64 = 150.0;

/// The renditions for a source.
#[must_use]
pub fn plan(probe: &Probe) -> Plan {
    let plain = VideoProbe {
        codec: String::new(),
        width: PLAIN_PICTURE.0,
        height: PLAIN_PICTURE.1,
        frame_rate: 10.0,
        bitrate: None,
        still: true,
    };
    let video = probe.video.as_ref().unwrap_or(&plain);
    let frame_rate = FrameRate::snap(if video.still { 10.0 } else { video.frame_rate });
    let source = class_of(video);

    let mut rungs = Vec::with_capacity(MAX_RUNGS);
    let top = if source > CLASSES[0] + 1.0 { CLASSES[0] } else { source };
    rungs.push(rung(top, frame_rate, video));
    let mut above = top;
    for step in STEPS {
        let below = CLASSES.into_iter().find(|class| *class <= above * step);
        let Some(below) = below.filter(|_| !video.still) else { break };
        rungs.push(rung(below, frame_rate, video));
        above = below;
    }
    Plan { frame_rate, rungs }
}

/// The class of a picture: the short side of the smallest 16:9 (or, upright, 9:16) box it fits in.
fn class_of(video: &VideoProbe) -> f64 {
    let (long, short) = (video.width.max(video.height), video.width.min(video.height));
    f64::from(short).max(f64::from(long) * 9.0 / 16.0)
}

/// The nearest even number of pixels, not above `source` if that has two.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 1920")]
fn even(pixels: f64, source: u32) -> u32 {
    ((pixels / 2.0).round() as u32 * 2).min(source / 2 * 2).max(2)
}

fn rung(class: f64, rate: FrameRate, source: &VideoProbe) -> Rung {
    let scale = (class / class_of(source)).min(1.0);
    let width = even(f64::from(source.width) * scale, source.width);
    let height = even(f64::from(source.height) * scale, source.height);
    let named = CLASSES.into_iter().find(|usual| (usual - class).abs() <= 1.0);
    let name = named.map_or_else(|| format!("{}p", width.min(height)), |usual| format!("{usual}p"));

    let pixels = f64::from(width) * f64::from(height);
    let by_size = (pixels / (1920.0 * 1080.0)).powf(0.75);
    let by_rate = (rate.as_f64() / 30.0).powf(0.6);
    let own = FULL_HD_KBPS * by_size * by_rate;
    // What the source spends on as many pixels, so that nothing is spent on its artefacts.
    let source_pixels = f64::from(source.width.max(1)) * f64::from(source.height.max(1));
    #[allow(clippy::cast_precision_loss, reason = "a bitrate")]
    let cap = source
        .bitrate
        .map_or(f64::INFINITY, |bits| bits as f64 / 1000.0 * (pixels / source_pixels).min(1.0).powf(0.75));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most some thousands")]
    let maxrate_kbps = own.min(cap).max(FLOOR_KBPS).round() as u32;
    Rung { name, width, height, maxrate_kbps, level: level(width, height, rate, maxrate_kbps) }
}

/// The lowest H.264 level (High profile, times ten) that allows the size, the rate and the bitrate:
/// Table A-1 of ITU-T H.264.
fn level(width: u32, height: u32, rate: FrameRate, maxrate_kbps: u32) -> u32 {
    // (level, macroblocks a second, macroblocks a frame, kilobits a second)
    const TABLE: [(u32, u32, u32, u32); 12] = [
        (10, 1_485, 99, 80),
        (13, 11_880, 396, 960),
        (21, 19_800, 792, 5_000),
        (22, 20_250, 1_620, 5_000),
        (30, 40_500, 1_620, 12_500),
        (31, 108_000, 3_600, 17_500),
        (32, 216_000, 5_120, 25_000),
        (40, 245_760, 8_192, 25_000),
        (42, 522_240, 8_704, 62_500),
        (50, 589_824, 22_080, 168_750),
        (51, 983_040, 36_864, 300_000),
        (52, 2_073_600, 36_864, 300_000),
    ];
    let frame = width.div_ceil(16) * height.div_ceil(16);
    let second = f64::from(frame) * rate.as_f64();
    TABLE
        .into_iter()
        .find(|(_, per_second, per_frame, kbps)| {
            second <= f64::from(*per_second) && frame <= *per_frame && maxrate_kbps <= *kbps
        })
        .map_or(52, |(level, ..)| level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(width: u32, height: u32, frame_rate: f64, bitrate: Option<u64>) -> Probe {
        let video = VideoProbe { codec: "h264".into(), width, height, frame_rate, bitrate, still: false };
        Probe { format: "mov".into(), duration_ms: Some(1000), video: Some(video), audio: None }
    }

    #[test]
    fn each_source_gets_its_rungs() {
        type Row = (u32, u32, &'static [(&'static str, u32, u32)]);
        let table: [Row; 13] = [
            (3840, 2160, &[("1080p", 1920, 1080), ("720p", 1280, 720), ("360p", 640, 360)]),
            (1920, 1080, &[("1080p", 1920, 1080), ("720p", 1280, 720), ("360p", 640, 360)]),
            (1920, 1088, &[("1080p", 1906, 1080), ("720p", 1270, 720), ("360p", 636, 360)]),
            (1280, 720, &[("720p", 1280, 720), ("480p", 854, 480), ("240p", 426, 240)]),
            (1280, 534, &[("720p", 1280, 534), ("480p", 854, 356), ("240p", 426, 178)]),
            (720, 1280, &[("720p", 720, 1280), ("480p", 480, 854), ("240p", 240, 426)]),
            (1000, 600, &[("600p", 1000, 600), ("360p", 600, 360), ("144p", 240, 144)]),
            (854, 480, &[("480p", 854, 480), ("360p", 640, 360), ("144p", 256, 144)]),
            (640, 360, &[("360p", 640, 360), ("240p", 426, 240)]),
            (320, 240, &[("240p", 320, 240), ("144p", 192, 144)]),
            (333, 251, &[("250p", 332, 250), ("144p", 192, 144)]),
            (64, 48, &[("48p", 64, 48)]),
            (1, 1, &[("2p", 2, 2)]),
        ];
        for (width, height, expected) in table {
            let plan = plan(&probe(width, height, 30.0, None));
            let rungs: Vec<_> = plan.rungs.iter().map(|r| (r.name.as_str(), r.width, r.height)).collect();
            assert_eq!(rungs, expected, "{width}×{height}");
        }
    }

    #[test]
    fn bitrates_never_exceed_the_source() {
        let free = plan(&probe(1920, 1080, 30.0, None));
        assert_eq!(free.rungs.iter().map(|r| r.maxrate_kbps).collect::<Vec<_>>(), [5800, 3157, 1116]);
        let poor = plan(&probe(1920, 1080, 30.0, Some(2_000_000)));
        assert_eq!(poor.rungs.iter().map(|r| r.maxrate_kbps).collect::<Vec<_>>(), [2000, 1089, 385]);
        let starved = plan(&probe(1920, 1080, 30.0, Some(1)));
        assert!(starved.rungs.iter().all(|r| r.maxrate_kbps == 150), "a floor keeps the encoder working");
    }

    #[test]
    fn levels_allow_what_is_encoded() {
        for (width, height, fps, expected) in [
            (1920, 1080, 30.0, 40),
            (1920, 1080, 60.0, 42),
            (1280, 720, 30.0, 31),
            (1280, 720, 60.0, 32),
            (640, 360, 30.0, 30),
            (320, 240, 30.0, 13),
        ] {
            assert_eq!(plan(&probe(width, height, fps, None)).rungs[0].level, expected, "{width}×{height} at {fps}");
        }
    }

    #[test]
    fn sound_alone_and_stills_get_one_slow_rung() {
        let sound = Probe { format: "mp3".into(), duration_ms: None, video: None, audio: None };
        let plan = plan(&sound);
        assert_eq!((plan.frame_rate.num, plan.rungs.len()), (10, 1));
        assert_eq!((plan.rungs[0].width, plan.rungs[0].height), PLAIN_PICTURE);
    }

    proptest::proptest! {
        #[test]
        fn rungs_shrink_and_never_exceed_the_source(w in 1u32..9000, h in 1u32..9000, fps in 0.0f64..1000.0) {
            let plan = plan(&probe(w, h, fps, None));
            proptest::prop_assert!((1..=3).contains(&plan.rungs.len()));
            for rung in &plan.rungs {
                proptest::prop_assert!(rung.width % 2 == 0 && rung.height % 2 == 0);
                proptest::prop_assert!(rung.width <= w.max(2) && rung.height <= h.max(2), "{:?}", rung);
                proptest::prop_assert!(rung.width <= 1920 && rung.height <= 1920);
            }
            for pair in plan.rungs.windows(2) {
                proptest::prop_assert!(pair[1].width < pair[0].width || pair[1].height < pair[0].height);
                proptest::prop_assert!(pair[1].name != pair[0].name);
            }
        }
    }
}
