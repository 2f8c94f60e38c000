//! From decoded frames to pictures that every rung can take: upright, progressive, 8-bit 4:2:0 with
//! limited range, each in its slot of the constant frame rate. Keeps the poster's candidates.

use std::sync::mpsc::SyncSender;

use ffmpeg_next::{
    Packet, Rational, filter, format, frame,
    util::{color, error::EAGAIN},
};

use super::{
    Failure,
    pipeline::MAX_LOST,
    poster::Poster,
    raw,
    rung::Feed,
    source::{Orientation, VideoStream, to_micros},
};
use crate::{
    limits::Limits,
    timeline::{Cadence, FrameRate},
};

/// Tone mapping for screens of standard range.
const TONE_MAP: &str = "zscale=transfer=linear:npl=100,format=gbrpf32le,zscale=primaries=bt709,\
                        tonemap=tonemap=hable:desat=0,zscale=transfer=bt709:matrix=bt709:range=limited,format=yuv420p";

/// Decodes and spreads pictures over the rungs.
pub(super) struct Pictures {
    stream: Option<VideoStream>,
    normalizer: Normalizer,
    cadence: Cadence,
    held: Option<frame::Video>,
    rungs: Vec<SyncSender<Feed>>,
    poster: Poster,
    start_us: i64,
    max_us: i64,
    /// The end of the last picture.
    end_us: i64,
    frame_us: i64,
}

impl Pictures {
    pub(super) fn new(
        stream: Option<VideoStream>,
        rate: FrameRate,
        rungs: Vec<SyncSender<Feed>>,
        poster: Poster,
        start_us: i64,
        limits: &Limits,
    ) -> Self {
        let orientation = stream.as_ref().map_or(Orientation::Upright, |stream| stream.orientation);
        Self {
            stream,
            normalizer: Normalizer { orientation, current: None },
            cadence: Cadence::new(rate),
            held: None,
            rungs,
            poster,
            start_us,
            max_us: limits.max_duration.0.saturating_mul(1000),
            end_us: 0,
            frame_us: rate.micros(1),
        }
    }

    /// The stream whose packets are wanted.
    pub(super) fn stream_index(&self) -> Option<usize> {
        self.stream.as_ref().map(|stream| stream.index)
    }

    /// The end of the last picture in microseconds; 0 for a still.
    pub(super) fn end_us(&self) -> i64 {
        if self.stream.as_ref().is_none_or(|stream| stream.still) { 0 } else { self.end_us }
    }

    /// Decodes one packet. A damaged packet is skipped.
    pub(super) fn decode(&mut self, packet: &Packet, limits: &Limits) -> Result<(), Failure> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        match stream.decoder.send_packet(packet) {
            Ok(()) | Err(ffmpeg_next::Error::Other { errno: EAGAIN }) => self.receive(limits),
            Err(ffmpeg_next::Error::Other { errno: ffmpeg_next::util::error::ENOMEM }) => {
                Err(ffmpeg_next::Error::Other { errno: ffmpeg_next::util::error::ENOMEM }.into())
            }
            Err(_) => Ok(()),
        }
    }

    fn receive(&mut self, limits: &Limits) -> Result<(), Failure> {
        let mut lost = 0;
        while lost < MAX_LOST {
            let mut decoded = frame::Video::empty();
            let Some(stream) = &mut self.stream else { return Ok(()) };
            match stream.decoder.receive_frame(&mut decoded) {
                Ok(()) => {}
                Err(ffmpeg_next::Error::Eof | ffmpeg_next::Error::Other { errno: EAGAIN }) => return Ok(()),
                // The decoder lost this picture; the next may be whole.
                Err(_) => {
                    lost += 1;
                    continue;
                }
            }
            if u64::from(decoded.width()) * u64::from(decoded.height()) > limits.max_pixels {
                return Err(Failure::source("the pictures grow larger than we accept"));
            }
            let time_base = stream.time_base;
            let at_us = decoded.timestamp().map_or(self.end_us, |ticks| to_micros(ticks, time_base) - self.start_us);
            if at_us > self.max_us {
                return Err(Failure::too_long(limits));
            }
            let lasts = to_micros(decoded.packet().duration, time_base);
            self.end_us = self.end_us.max(at_us + if lasts > 0 { lasts.min(10_000_000) } else { self.frame_us });
            decoded.set_pts(Some(at_us));
            for (at_us, picture) in self.normalizer.push(decoded)? {
                self.show(at_us, picture)?;
            }
        }
        Ok(())
    }

    fn show(&mut self, at_us: i64, picture: frame::Video) -> Result<(), Failure> {
        self.poster.consider(at_us, &picture)?;
        let slots = self.cadence.until(at_us);
        // A video that begins late begins with its first picture.
        let shown = self.held.as_ref().unwrap_or(&picture);
        for slot in slots {
            self.emit(shown, slot)?;
        }
        self.held = Some(picture);
        Ok(())
    }

    fn emit(&self, picture: &frame::Video, slot: u64) -> Result<(), Failure> {
        for rung in &self.rungs {
            let frame = raw::share(picture)?;
            rung.send(Feed::Picture(frame, slot)).map_err(|_| Failure::stopped())?;
        }
        Ok(())
    }

    /// Lets the decoder give what it holds back.
    pub(super) fn drain(&mut self, limits: &Limits) -> Result<(), Failure> {
        if let Some(stream) = &mut self.stream {
            // Refused only by a decoder that has ended already.
            let _ = stream.decoder.send_eof();
            self.receive(limits)?;
        }
        for (at_us, picture) in self.normalizer.finish()? {
            self.show(at_us, picture)?;
        }
        Ok(())
    }

    /// Shows the last picture up to `end_us` and ends the rungs. Returns the length in slots.
    pub(super) fn finish(mut self, end_us: i64) -> Result<i64, Failure> {
        let is_moving = self.stream.as_ref().is_some_and(|stream| !stream.still);
        let last = match self.held.take() {
            Some(last) => last,
            None if is_moving => return Err(Failure::source("not a single picture of the video can be decoded")),
            None => {
                let plain = plain_picture();
                self.poster.consider(0, &plain)?;
                plain
            }
        };
        for slot in self.cadence.finish(end_us) {
            self.emit(&last, slot)?;
        }
        self.poster.finish()?;
        for rung in &self.rungs {
            rung.send(Feed::End).map_err(|_| Failure::stopped())?;
        }
        Ok(i64::try_from(self.cadence.filled()).unwrap_or(i64::MAX))
    }
}

/// The picture shown with sound that has none: a dark field that brightens towards its middle.
fn plain_picture() -> frame::Video {
    let (width, height) = crate::ladder::PLAIN_PICTURE;
    let mut picture = frame::Video::new(format::Pixel::YUV420P, width, height);
    let stride = picture.stride(0);
    let (middle_x, middle_y) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    for (y, line) in picture.data_mut(0).chunks_mut(stride).enumerate() {
        for (x, luma) in line.iter_mut().enumerate() {
            #[allow(clippy::cast_precision_loss, reason = "a coordinate")]
            let away = ((x as f64 - middle_x) / middle_x).hypot((y as f64 - middle_y) / middle_y);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "24 to 64")]
            let shade = (64.0 - 28.0 * away.min(1.4)) as u8;
            *luma = shade;
        }
    }
    picture.data_mut(1).fill(136);
    picture.data_mut(2).fill(122);
    picture
}

/// What decides the filters.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Look {
    format: format::Pixel,
    width: u32,
    height: u32,
    interlaced: bool,
    full_range: bool,
    hdr: bool,
}

impl Look {
    fn of(picture: &frame::Video, seen_interlaced: bool) -> Self {
        let transfer = picture.color_transfer_characteristic();
        Self {
            format: picture.format(),
            width: picture.width(),
            height: picture.height(),
            interlaced: seen_interlaced || picture.is_interlaced(),
            full_range: picture.color_range() == color::Range::JPEG || is_jpeg(picture.format()),
            hdr: matches!(
                transfer,
                color::TransferCharacteristic::SMPTE2084 | color::TransferCharacteristic::ARIB_STD_B67
            ),
        }
    }
}

fn is_jpeg(format: format::Pixel) -> bool {
    format.descriptor().is_some_and(|descriptor| descriptor.name().starts_with("yuvj"))
}

fn is_rgb(format: format::Pixel) -> bool {
    let name = format.descriptor().map_or("", |descriptor| descriptor.name());
    ["rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8"].iter().any(|prefix| name.starts_with(prefix))
}

struct Normalizer {
    orientation: Orientation,
    /// The present look with its filters; none if nothing is to be done.
    current: Option<(Look, Option<filter::Graph>)>,
}

impl Normalizer {
    /// Takes a frame whose `pts` is in microseconds; gives what is ready.
    fn push(&mut self, picture: frame::Video) -> Result<Vec<(i64, frame::Video)>, Failure> {
        let seen_interlaced = self.current.as_ref().is_some_and(|(look, _)| look.interlaced);
        let look = Look::of(&picture, seen_interlaced);
        let mut ready = Vec::new();
        if self.current.as_ref().is_none_or(|(current, _)| *current != look) {
            ready = self.finish()?;
            self.current = Some((look, self.build(look, &picture)?));
        }
        let Some((_, Some(graph))) = &mut self.current else {
            let at_us = picture.pts().unwrap_or(0);
            ready.push((at_us, picture));
            return Ok(ready);
        };
        graph.get("in").ok_or_else(raw::invalid)?.source().add(&picture)?;
        drain(graph, &mut ready)?;
        Ok(ready)
    }

    fn finish(&mut self) -> Result<Vec<(i64, frame::Video)>, Failure> {
        let mut ready = Vec::new();
        if let Some((_, Some(mut graph))) = self.current.take() {
            graph.get("in").ok_or_else(raw::invalid)?.source().flush()?;
            drain(&mut graph, &mut ready)?;
        }
        Ok(ready)
    }

    fn build(&self, look: Look, picture: &frame::Video) -> Result<Option<filter::Graph>, Failure> {
        let mut chain: Vec<String> = Vec::new();
        if look.interlaced {
            chain.push("yadif=mode=send_frame:deint=interlaced".to_owned());
        }
        if look.hdr {
            chain.push(TONE_MAP.to_owned());
        }
        chain.extend(self.orientation.filters().map(str::to_owned));
        if !look.hdr && (look.format != format::Pixel::YUV420P || look.full_range) {
            let matrix = if is_rgb(look.format) { ":out_color_matrix=bt709" } else { "" };
            chain.push(format!("scale=out_range=limited{matrix}:flags=bicubic,format=yuv420p"));
        }
        if chain.is_empty() {
            return Ok(None);
        }
        let missing = || Failure::internal("a picture filter is missing");
        let mut graph = filter::Graph::new();
        raw::single_threaded(&mut graph);
        let arguments = format!(
            "video_size={}x{}:pix_fmt={}:time_base=1/1000000:pixel_aspect=1/1",
            picture.width(),
            picture.height(),
            raw::pixel_format_number(look.format),
        );
        graph.add(&filter::find("buffer").ok_or_else(missing)?, "in", &arguments)?;
        graph.add(&filter::find("buffersink").ok_or_else(missing)?, "out", "")?;
        graph.output("in", 0)?.input("out", 0)?.parse(&chain.join(","))?;
        graph.validate()?;
        Ok(Some(graph))
    }
}

fn drain(graph: &mut filter::Graph, ready: &mut Vec<(i64, frame::Video)>) -> Result<(), Failure> {
    let mut out = graph.get("out").ok_or_else(raw::invalid)?;
    let time_base: Rational = out.sink().time_base();
    loop {
        let mut picture = frame::Video::empty();
        match out.sink().frame(&mut picture) {
            Ok(()) => ready.push((to_micros(picture.pts().unwrap_or(0), time_base), picture)),
            Err(ffmpeg_next::Error::Eof | ffmpeg_next::Error::Other { errno: EAGAIN }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
