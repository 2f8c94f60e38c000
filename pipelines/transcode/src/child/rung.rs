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

/// What a rung's thread receives.
pub(super) enum Feed {
    /// An upright picture, 8-bit 4:2:0, limited range, for this slot.
    Picture(frame::Video, u64),
    /// There are no more.
    End,
}

/// What distinguishes this rung's thread.
pub(super) struct RungJob {
    pub(super) place: u8,
    pub(super) rung: Rung,
    pub(super) rate: FrameRate,
    pub(super) threads: u32,
}

/// Encodes until the end is announced. A channel that closes without an end leaves the track
/// unfinished.
pub(super) fn run(job: RungJob, feed: &Receiver<Feed>, sender: Sender) -> Result<(), Failure> {
    let mut scaler = Scaler { width: job.rung.width, height: job.rung.height, context: None };
    let mut encoding: Option<Encoding> = None;
    let rate = job.rate;
    let mut job = Some((job, sender));
    while let Ok(fed) = feed.recv() {
        match fed {
            Feed::Picture(picture, slot) => {
                let mut scaled = scaler.scale(&picture)?;
                scaled.set_pts(i64::try_from(slot).ok());
                // The decoder's picture type would bind the encoder too.
                scaled.set_kind(if rate.is_key(slot) { picture::Type::I } else { picture::Type::None });
                if let Some((job, sender)) = job.take() {
                    encoding = Some(Encoding::open(job, sender, &picture)?);
                }
                if let Some(encoding) = &mut encoding {
                    encoding.encoder.send_frame(&scaled)?;
                    encoding.drain()?;
                }
            }
            Feed::End => return encoding.map_or(Ok(()), Encoding::finish),
        }
    }
    Ok(())
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
    let (num, den) =
        (i32::try_from(rate.num).map_err(|_| raw::invalid())?, i32::try_from(rate.den).map_err(|_| raw::invalid())?);
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

/// An encoder and what becomes of its packets.
struct Encoding {
    job: RungJob,
    sender: Sender,
    colour: Option<(u16, u16, u16)>,
    encoder: encoder::video::Encoder,
    segment_start: u64,
    track: Option<Begun>,
}

/// A track whose first packet has come.
struct Begun {
    /// Frames by which composition runs ahead of presentation.
    delay: i64,
    frame_ticks: u32,
    writer: TrackWriter,
}

impl Encoding {
    fn open(job: RungJob, sender: Sender, first: &frame::Video) -> Result<Self, Failure> {
        let encoder = open_encoder(&job, first)?;
        Ok(Self { job, sender, colour: colour_points(first), encoder, segment_start: 0, track: None })
    }

    /// The first packet's decode time tells how far pictures are reordered.
    fn begin(&self, first: &Packet) -> Result<Begun, Failure> {
        let delay = first.dts().map_or(0, |dts| dts.saturating_neg().max(0));
        let (timescale, frame_ticks) = self.job.rate.ticks();
        let narrow = |pixels: u32| u16::try_from(pixels).map_err(|_| raw::invalid());
        let init = cmaf::video_init(&VideoTrack {
            width: narrow(self.job.rung.width)?,
            height: narrow(self.job.rung.height)?,
            timescale,
            delay: u32::try_from(delay * i64::from(frame_ticks)).map_err(|_| raw::invalid())?,
            headers: raw::extradata(&self.encoder),
            colour: self.colour,
        })?;
        let writer = TrackWriter::begin(self.sender.clone(), Track::Video(self.job.place), &init, frame_ticks)?;
        Ok(Begun { delay, frame_ticks, writer })
    }

    fn drain(&mut self) -> Result<(), Failure> {
        let mut packet = Packet::empty();
        loop {
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => self.take(&packet)?,
                Err(ffmpeg_next::Error::Eof | ffmpeg_next::Error::Other { errno: EAGAIN }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&mut self, packet: &Packet) -> Result<(), Failure> {
        let mut track = match self.track.take() {
            Some(track) => track,
            None => self.begin(packet)?,
        };
        let pts = packet.pts().ok_or_else(raw::invalid)?;
        let shown = u64::try_from(pts).map_err(|_| raw::invalid())?;
        if packet.is_key() && shown > 0 && self.job.rate.is_segment_start(shown) {
            track.writer.cut(self.job.rate.micros(shown) - self.job.rate.micros(self.segment_start))?;
            self.segment_start = shown;
        }
        let decoded = i64::try_from(track.writer.next_sample()).map_err(|_| raw::invalid())?;
        let composition_offset = u32::try_from((pts + track.delay - decoded) * i64::from(track.frame_ticks))
            .map_err(|_| Failure::internal("pictures out of order"))?;
        let data = cmaf::length_prefixed(packet.data().unwrap_or_default())?;
        track.writer.push(Sample { data, composition_offset, sync: packet.is_key() });
        self.track = Some(track);
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.encoder.send_eof()?;
        self.drain()?;
        let Some(mut track) = self.track.take() else { return Err(Failure::internal("nothing was encoded")) };
        let rate = self.job.rate;
        track.writer.cut(rate.micros(track.writer.next_sample()) - rate.micros(self.segment_start))?;
        track.writer.finish()
    }
}
