//! Opening a source: only the containers and codecs that are accepted, nothing that could refer to
//! another file, and what the child tells the worker about it.

use ffmpeg_next::{
    Dictionary, Rational,
    codec::{self, decoder, packet::side_data},
    format::{self, context::StreamIo, stream::Disposition},
    media,
};

use super::{Failure, link::Source, raw};
use crate::{
    ladder::{AudioProbe, Probe, VideoProbe},
    limits::Limits,
};

/// Containers accepted, by the names of FFmpeg's demuxers. None of them opens other files.
const FORMATS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,mxf,ivf,h264,hevc,\
                       wav,w64,aiff,mp3,flac,aac,ac3,eac3,amr,caf";

/// Codecs accepted, by the names of FFmpeg's decoders.
const CODECS: &str = "h264,hevc,vp8,vp9,libdav1d,av1,mpeg4,mpeg2video,mpeg1video,mpegvideo,h263,h263p,h263i,flv,\
                      msmpeg4,msmpeg4v1,msmpeg4v2,wmv1,wmv2,wmv3,vc1,theora,prores,dnxhd,mjpeg,png,ffv1,huffyuv,ffvhuff,\
                      utvideo,rawvideo,dvvideo,cinepak,svq1,svq3,\
                      aac,aac_latm,mp3float,mp3,mp2float,mp2,mp1float,mp1,ac3,ac3_fixed,eac3,dca,truehd,mlp,opus,libopus,\
                      vorbis,libvorbis,flac,alac,wmav1,wmav2,wmapro,wmalossless,amrnb,amrwb,libopencore_amrnb,\
                      libopencore_amrwb,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,gsm_ms,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,\
                      pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,\
                      pcm_f64be,pcm_bluray,pcm_dvd";

/// No protocol is called so: whatever a container refers to stays unopened.
const NO_PROTOCOL: &str = "none";

const NOT_ACCEPTED: &str = "this is not a video we accept, or the file is damaged at its start";

/// A source with its streams chosen.
pub(super) struct Opened {
    pub(super) input: format::context::Input,
    pub(super) probe: Probe,
    pub(super) video: Option<VideoStream>,
    pub(super) audio: Option<AudioStream>,
    /// The time, in microseconds of the source, that becomes 0.
    pub(super) start_us: i64,
    /// The longest chosen stream as the container states it, in microseconds.
    pub(super) stated_us: Option<i64>,
}

/// The stream of pictures.
pub(super) struct VideoStream {
    pub(super) index: usize,
    pub(super) decoder: decoder::Video,
    pub(super) time_base: Rational,
    pub(super) orientation: Orientation,
    pub(super) still: bool,
}

/// The stream of sound.
pub(super) struct AudioStream {
    pub(super) index: usize,
    pub(super) decoder: decoder::Audio,
    pub(super) time_base: Rational,
}

/// How the stored picture must be turned to stand upright.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orientation {
    Upright,
    MirroredSideways,
    UpsideDown,
    MirroredUpDown,
    QuarterRight,
    QuarterLeft,
    Transposed,
    TransposedOther,
}

impl Orientation {
    /// By the upper left part of a display matrix, whose entries are 16.16 fixed point numbers in the
    /// byte order of the machine.
    fn of_matrix(matrix: &[u8]) -> Self {
        let entry = |n: usize| {
            let bytes = matrix.get(n * 4..n * 4 + 4).and_then(|bytes| bytes.try_into().ok());
            i64::from(bytes.map_or(0, i32::from_ne_bytes))
        };
        // A picture's point (x, y), y downwards, is shown at (a·x + c·y, b·x + d·y).
        let (a, b, c, d) = (entry(0), entry(1), entry(3), entry(4));
        if a.abs() + d.abs() >= b.abs() + c.abs() {
            match (a < 0, d < 0) {
                (false, false) => Self::Upright,
                (true, false) => Self::MirroredSideways,
                (false, true) => Self::MirroredUpDown,
                (true, true) => Self::UpsideDown,
            }
        } else {
            match (b < 0, c < 0) {
                (false, true) => Self::QuarterRight,
                (true, false) => Self::QuarterLeft,
                (false, false) => Self::Transposed,
                (true, true) => Self::TransposedOther,
            }
        }
    }

    /// True if width and height change places.
    pub(super) const fn swaps(self) -> bool {
        matches!(self, Self::QuarterRight | Self::QuarterLeft | Self::Transposed | Self::TransposedOther)
    }

    /// The filters that turn the picture.
    pub(super) const fn filters(self) -> Option<&'static str> {
        match self {
            Self::Upright => None,
            Self::MirroredSideways => Some("hflip"),
            Self::MirroredUpDown => Some("vflip"),
            Self::UpsideDown => Some("hflip,vflip"),
            Self::QuarterRight => Some("transpose=clock"),
            Self::QuarterLeft => Some("transpose=cclock"),
            Self::Transposed => Some("transpose=cclock_flip"),
            Self::TransposedOther => Some("transpose=clock_flip"),
        }
    }
}

/// Opens and probes a source.
pub(super) fn open(source: Source, limits: &Limits) -> Result<Opened, Failure> {
    let io = StreamIo::from_read_seek_with_capacity(source, 64 << 10)?;
    let mut options = Dictionary::new();
    options.set("format_whitelist", FORMATS);
    options.set("codec_whitelist", CODECS);
    options.set("protocol_whitelist", NO_PROTOCOL);
    options.set("probesize", &limits.probe_size.0.to_string());
    options.set("max_streams", &limits.max_streams.to_string());
    let mut input = format::input_from_stream(io, None, Some(options)).map_err(|_| Failure::source(NOT_ACCEPTED))?;
    if input.nb_streams() > limits.max_streams {
        return Err(Failure::source(format!("the file has more than {} streams", limits.max_streams)));
    }

    let video = open_video(&mut input, limits)?;
    let audio = open_audio(&input, limits)?;
    if video.is_none() && audio.is_none() {
        return Err(Failure::source("the file holds neither pictures nor sound"));
    }
    let chosen: Vec<usize> =
        video.iter().map(|(stream, _)| stream.index).chain(audio.iter().map(|(stream, _)| stream.index)).collect();
    raw::keep_only(&mut input, &chosen);

    let micros = |index: usize, ticks: i64| {
        let base = input.stream(index)?.time_base();
        (ticks != ffmpeg_next::ffi::AV_NOPTS_VALUE).then(|| to_micros(ticks, base))
    };
    let start_us =
        chosen.iter().filter_map(|index| micros(*index, input.stream(*index)?.start_time())).min().unwrap_or(0);
    let stated = chosen.iter().filter_map(|index| micros(*index, input.stream(*index)?.duration()));
    let container = Some(input.duration()).filter(|duration| *duration > 0);
    let stated_us = stated.filter(|duration| *duration > 0).max();
    let duration_us = stated_us.or(container);
    if duration_us.is_some_and(|duration| duration > limits.max_duration.0.saturating_mul(1000)) {
        return Err(Failure::too_long(limits));
    }
    let probe = Probe {
        format: input.format().name().to_owned(),
        duration_ms: duration_us.map(|duration| duration / 1000),
        video: video.as_ref().map(|(_, probe)| probe.clone()),
        audio: audio.as_ref().map(|(_, probe)| probe.clone()),
    };
    let still_only = video.as_ref().is_some_and(|(stream, _)| stream.still);
    Ok(Opened {
        input,
        probe,
        video: video.map(|(stream, _)| stream),
        audio: audio.map(|(stream, _)| stream),
        start_us,
        stated_us: stated_us.or(container).filter(|_| !still_only),
    })
}

/// Ticks of `base` in microseconds.
pub(super) fn to_micros(ticks: i64, base: Rational) -> i64 {
    let (num, den) = (i128::from(base.numerator()), i128::from(base.denominator().max(1)));
    let micros = i128::from(ticks) * num * 1_000_000 / den;
    i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
}

fn accepted(id: codec::Id) -> Result<ffmpeg_next::Codec, Failure> {
    decoder::find(id)
        .filter(|codec| CODECS.split(',').any(|name| name.trim() == codec.name()))
        .ok_or_else(|| Failure::source(format!("the codec `{}` is not one we accept", id.name())))
}

fn open_video(
    input: &mut format::context::Input,
    limits: &Limits,
) -> Result<Option<(VideoStream, VideoProbe)>, Failure> {
    let is_cover = |index: usize| {
        input.stream(index).is_some_and(|stream| stream.disposition().contains(Disposition::ATTACHED_PIC))
    };
    let of_video =
        |index: &usize| input.stream(*index).is_some_and(|stream| stream.parameters().medium() == media::Type::Video);
    let best = input.streams().best(media::Type::Video).map(|stream| stream.index()).filter(|index| !is_cover(*index));
    let all = 0..input.nb_streams() as usize;
    let index = best
        .or_else(|| all.clone().filter(of_video).find(|index| !is_cover(*index)))
        .or_else(|| all.clone().find(of_video));
    let Some(index) = index else { return Ok(None) };
    let still = is_cover(index);
    let aspect = raw::sample_aspect(input, index);
    let Some(stream) = input.stream(index) else { return Ok(None) };
    let parameters = stream.parameters();
    let codec = match accepted(parameters.id()) {
        Ok(codec) => codec,
        // Cover art of an odd kind must not keep sound from being heard.
        Err(_) if still => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let (width, height) = raw::picture_size(&parameters);
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(Failure::source(format!("pictures of {width}×{height} are larger than we accept")));
    }
    let mut context = codec::Context::from_parameters(parameters.clone())?.decoder();
    context.set_packet_time_base(stream.time_base());
    context.set_threading(codec::threading::Config {
        kind: codec::threading::Type::Frame,
        count: limits.threads.max(1) as usize,
        ..codec::threading::Config::default()
    });
    let mut options = Dictionary::new();
    options.set("max_pixels", &limits.max_pixels.to_string());
    options.set("codec_whitelist", CODECS);
    let decoder = context.open_as_with(codec, options).and_then(decoder::Opened::video)?;

    let (width, height) = (decoder.width(), decoder.height());
    if width == 0 || height == 0 {
        return if still { Ok(None) } else { Err(Failure::source("the pictures have no size")) };
    }
    let orientation = stream
        .side_data()
        .find(|data| data.kind() == side_data::Type::DisplayMatrix)
        .map_or(Orientation::Upright, |data| Orientation::of_matrix(data.data()));
    let (width, height) = displayed(width, height, aspect, orientation, limits);
    let bitrate = u64::try_from(parameters.bit_rate()).ok().filter(|bits| *bits > 0);
    let rate = [stream.avg_frame_rate(), stream.rate()]
        .into_iter()
        .map(f64::from)
        .find(|rate| rate.is_finite() && *rate > 0.0)
        .unwrap_or(0.0);
    let probe = VideoProbe { codec: codec.id().name().to_owned(), width, height, frame_rate: rate, bitrate, still };
    Ok(Some((VideoStream { index, decoder, time_base: stream.time_base(), orientation, still }, probe)))
}

/// The size with square pixels and upright.
fn displayed(width: u32, height: u32, aspect: Rational, orientation: Orientation, limits: &Limits) -> (u32, u32) {
    let ratio = f64::from(aspect.numerator()) / f64::from(aspect.denominator());
    // An absurd aspect is a damaged header; stretching by it would only make an absurd picture.
    let ratio = if (0.1..=10.0).contains(&ratio) { ratio } else { 1.0 };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded below")]
    let stretched = (f64::from(width) * ratio).round().clamp(1.0, 65_535.0) as u32;
    let stretched = if u64::from(stretched) * u64::from(height) > limits.max_pixels { width } else { stretched };
    if orientation.swaps() { (height, stretched) } else { (stretched, height) }
}

fn open_audio(input: &format::context::Input, limits: &Limits) -> Result<Option<(AudioStream, AudioProbe)>, Failure> {
    let first = input.streams().find(|stream| stream.parameters().medium() == media::Type::Audio);
    let Some(stream) = first else { return Ok(None) };
    let parameters = stream.parameters();
    let codec = accepted(parameters.id())?;
    let mut context = codec::Context::from_parameters(parameters)?.decoder();
    context.set_packet_time_base(stream.time_base());
    let mut options = Dictionary::new();
    options.set("codec_whitelist", CODECS);
    options.set("max_samples", &(limits.max_pixels).min(1 << 24).to_string());
    let decoder = context.open_as_with(codec, options).and_then(decoder::Opened::audio)?;
    let probe =
        AudioProbe { codec: codec.id().name().to_owned(), channels: decoder.channels(), sample_rate: decoder.rate() };
    if probe.channels == 0 || probe.sample_rate == 0 {
        // Announced, but without a single readable packet.
        return Ok(None);
    }
    Ok(Some((AudioStream { index: stream.index(), decoder, time_base: stream.time_base() }, probe)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orientations_follow_the_display_matrix() {
        let one = 65_536i32;
        let table = [
            ([one, 0, 0, one], Orientation::Upright),
            ([0, one, -one, 0], Orientation::QuarterRight),
            ([-one, 0, 0, -one], Orientation::UpsideDown),
            ([0, -one, one, 0], Orientation::QuarterLeft),
            ([-one, 0, 0, one], Orientation::MirroredSideways),
            ([one, 0, 0, -one], Orientation::MirroredUpDown),
            ([0, one, one, 0], Orientation::Transposed),
            ([0, -one, -one, 0], Orientation::TransposedOther),
        ];
        for ([a, b, c, d], expected) in table {
            let matrix: Vec<u8> = [a, b, 0, c, d, 0, 0, 0, 1 << 30].into_iter().flat_map(i32::to_ne_bytes).collect();
            assert_eq!(Orientation::of_matrix(&matrix), expected);
        }
        assert_eq!(Orientation::of_matrix(&[]), Orientation::Upright);
    }

    #[test]
    fn pixels_become_square() {
        let limits = Limits::default();
        let show = |w, h, num, den, turn| displayed(w, h, Rational::new(num, den), turn, &limits);
        assert_eq!(show(1440, 1080, 4, 3, Orientation::Upright), (1920, 1080));
        assert_eq!(show(720, 576, 16, 15, Orientation::Upright), (768, 576));
        assert_eq!(show(1920, 1080, 1, 1, Orientation::QuarterLeft), (1080, 1920));
        assert_eq!(show(100, 100, 1000, 1, Orientation::Upright), (100, 100));
    }
}
