//! One rung of the ladder: scales the shared pictures, encodes them and packages the result. Runs in a
//! thread of its own, at the end of a bounded channel.

use std::sync::mpsc::Receiver;

use ffmpeg_next::{
    Dictionary, Packet, Rational,
    codec::{self, encoder, threading},
    ffi, format, frame, picture,
    software::scaling,
    util::{color, error::EAGAIN},
};

use super::{Failure, link::Sender, raw, track::TrackWriter};
use crate::{
    cmaf::{self, Sample, VideoTrack},
    ladder::Rung,
    protocol::Track,
    timeline::{FrameRate, KEY_FRAME_SECONDS},
};

/// A picture for every rung: upright, 8-bit 4:2:0, limited range, in its slot.
pub(super) struct Picture {
    pub(super) frame: frame::Video,
    pub(super) slot: u64,
}

/// What distinguishes this rung's thread.
pub(super) struct RungJob {
    pub(super) place: u8,
    pub(super) rung: Rung,
    pub(super) rate: FrameRate,
    pub(super) threads: u32,
}

/// Encodes until the channel closes.
pub(super) fn run(job: &RungJob, pictures: &Receiver<Picture>, sender: Sender) -> Result<(), Failure> {
    let Ok(mut picture) = pictures.recv() else { return Ok(()) };
    let mut encoder = open_encoder(job, &picture.frame)?;
    let (timescale, frame_ticks) = job.rate.ticks();
    let track = VideoTrack {
        width: u16::try_from(job.rung.width).map_err(|_| raw::invalid())?,
        height: u16::try_from(job.rung.height).map_err(|_| raw::invalid())?,
        timescale,
        headers: raw::extradata(&encoder),
        colour: colour_points(&picture.frame),
    };
    let writer =
        TrackWriter::begin(sender, Track::Video(job.place), &cmaf::video_init(&track)?, frame_ticks)?;
    let mut output = Output { rate: job.rate, frame_ticks, segment_start: 0, writer };
    let mut scaler = Scaler { width: job.rung.width, height: job.rung.height, context: None };
    loop {
        let mut scaled = scaler.scale(&picture.frame)?;
        scaled.set_pts(i64::try_from(picture.slot).ok());
        // The decoder's picture type would bind the encoder too.
        scaled.set_kind(if job.rate.is_key(picture.slot) { picture::Type::I } else { picture::Type::None });
        encoder.send_frame(&scaled)?;
        output.drain(&mut encoder)?;
        match pictures.recv() {
            Ok(next) => picture = next,
            Err(_) => break,
        }
    }
    encoder.send_eof()?;
    output.drain(&mut encoder)?;
    output.finish()
}

fn open_encoder(job: &RungJob, first: &frame::Video) -> Result<encoder::video::Encoder, Failure> {
    let RungJob { rung, rate, .. } = job;
    let codec = encoder::find_by_name("libx264").ok_or(ffmpeg_next::Error::EncoderNotFound)?;
    let mut context = codec::Context::new_with_codec(codec);
    context.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::CLOSED_GOP);
    context.set_threading(threading::Config {
        kind: threading::Type::Frame,
        count: job.threads.max(1) as usize,
        ..threading::Config::default()
    });
    let mut video = context.encoder().video()?;
    let (num, den) = (i32::try_from(rate.num).map_err(|_| raw::invalid())?, i32::try_from(rate.den).map_err(|_| raw::invalid())?);
    video.set_width(rung.width);
    video.set_height(rung.height);
    video.set_format(format::Pixel::YUV420P);
    video.set_time_base(Rational::new(den, num));
    video.set_frame_rate(Some(Rational::new(num, den)));
    video.set_aspect_ratio(Rational::new(1, 1));
    video.set_colorspace(first.color_space());
    video.set_color_primaries(first.color_primaries());
    video.set_color_transfer_characteristic(first.color_transfer_characteristic());
    video.set_color_range(color::Range::MPEG);
    // Key frames are placed by hand; one frame more keeps the encoder from adding its own.
    let gop = u32::try_from(rate.frame_at(KEY_FRAME_SECONDS) + 1).map_err(|_| raw::invalid())?;
    video.set_gop(gop);
    let mut options = Dictionary::new();
    options.set("preset", "veryfast");
    options.set("crf", "23");
    options.set("maxrate", &format!("{}k", rung.maxrate_kbps));
    options.set("bufsize", &format!("{}k", rung.maxrate_kbps));
    options.set("profile", "high");
    options.set("level", &format!("{}.{}", rung.level / 10, rung.level % 10));
    options.set("forced-idr", "1");
    options.set("sc_threshold", "0");
    Ok(video.open_as_with(codec, options)?)
}

/// The colour description by code points, if all of it is known.
fn colour_points(frame: &frame::Video) -> Option<(u16, u16, u16)> {
    const UNSPECIFIED: u32 = 2;
    let points = [
        ffi::AVColorPrimaries::from(frame.color_primaries()) as u32,
        ffi::AVColorTransferCharacteristic::from(frame.color_transfer_characteristic()) as u32,
        ffi::AVColorSpace::from(frame.color_space()) as u32,
    ];
    if points.contains(&UNSPECIFIED) {
        return None;
    }
    let [primaries, transfer, matrix] = points.map(|point| u16::try_from(point).ok());
    Some((primaries?, transfer?, matrix?))
}

struct Scaler {
    width: u32,
    height: u32,
    context: Option<scaling::Context>,
}

impl Scaler {
    fn scale(&mut self, input: &frame::Video) -> Result<frame::Video, Failure> {
        if input.width() == self.width && input.height() == self.height {
            return Ok(raw::share(input)?);
        }
        let fits = |context: &scaling::Context| {
            let given = context.input();
            (given.format, given.width, given.height) == (input.format(), input.width(), input.height())
        };
        let context = match self.context.take().filter(fits) {
            Some(context) => context,
            None => scaling::Context::get(
                input.format(),
                input.width(),
                input.height(),
                format::Pixel::YUV420P,
                self.width,
                self.height,
                scaling::Flags::BICUBIC,
            )?,
        };
        let mut scaled = frame::Video::empty();
        self.context.insert(context).run(input, &mut scaled)?;
        scaled.set_color_space(input.color_space());
        scaled.set_color_range(input.color_range());
        scaled.set_color_primaries(input.color_primaries());
        scaled.set_color_transfer_characteristic(input.color_transfer_characteristic());
        Ok(scaled)
    }
}

struct Output {
    rate: FrameRate,
    frame_ticks: u32,
    segment_start: u64,
    writer: TrackWriter,
}

impl Output {
    fn drain(&mut self, encoder: &mut encoder::video::Encoder) -> Result<(), Failure> {
        let mut packet = Packet::empty();
        loop {
            match encoder.receive_packet(&mut packet) {
                Ok(()) => self.take(&packet)?,
                Err(ffmpeg_next::Error::Eof | ffmpeg_next::Error::Other { errno: EAGAIN }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&mut self, packet: &Packet) -> Result<(), Failure> {
        let shown = packet.pts().and_then(|pts| u64::try_from(pts).ok()).ok_or_else(raw::invalid)?;
        if packet.is_key() && shown > 0 && self.rate.is_segment_start(shown) {
            self.cut(shown)?;
        }
        let offset = i64::try_from(shown).unwrap_or(i64::MAX) - i64::try_from(self.writer.next_sample()).unwrap_or(0);
        let composition_offset =
            i32::try_from(offset * i64::from(self.frame_ticks)).map_err(|_| Failure::internal("pictures out of order"))?;
        let data = cmaf::length_prefixed(packet.data().unwrap_or_default())?;
        self.writer.push(Sample { data, composition_offset, sync: packet.is_key() });
        Ok(())
    }

    fn cut(&mut self, end: u64) -> Result<(), Failure> {
        let duration_us = self.rate.micros(end) - self.rate.micros(self.segment_start);
        self.segment_start = end;
        self.writer.cut(duration_us)
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.cut(self.writer.next_sample())?;
        self.writer.finish()
    }
}
