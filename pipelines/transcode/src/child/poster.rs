//! The poster: the most telling of some pictures near the start, as a JPEG.

use ffmpeg_next::{
    Dictionary, Packet, Rational, codec, encoder, format, frame, software::scaling, util::color, util::error::EAGAIN,
};

use super::{Failure, link::Sender, raw};
use crate::protocol::FromChild;

const MAX_WIDTH: u32 = 1280;
/// Pictures looked at.
const CANDIDATES: i64 = 24;
/// The part of the video looked at, if its length is known.
const PART: i64 = 5;
const WINDOW_IF_UNKNOWN_US: i64 = 30_000_000;
const LONGEST_WINDOW_US: i64 = 60_000_000;
/// FFmpeg's JPEG quality, from 1 (best) to 31.
const QUALITY: i32 = 4;

/// Looks at pictures until the window has passed, then sends the best of them.
pub(super) struct Poster {
    sender: Sender,
    /// The shape of the poster: as displayed.
    width: u32,
    height: u32,
    until_us: i64,
    every_us: i64,
    next_us: i64,
    best: Option<(f64, frame::Video)>,
    sent: bool,
}

impl Poster {
    pub(super) fn new(sender: Sender, (width, height): (u32, u32), duration_us: Option<i64>) -> Self {
        let until_us = duration_us.map_or(WINDOW_IF_UNKNOWN_US, |us| us / PART).min(LONGEST_WINDOW_US);
        let every_us = (until_us / CANDIDATES).max(100_000);
        Self { sender, width, height, until_us, every_us, next_us: 0, best: None, sent: false }
    }

    /// Looks at a picture, and sends the poster once the window has passed.
    pub(super) fn consider(&mut self, at_us: i64, picture: &frame::Video) -> Result<(), Failure> {
        if self.sent || at_us < self.next_us {
            return Ok(());
        }
        if at_us > self.until_us && self.best.is_some() {
            return self.finish();
        }
        self.next_us = at_us + self.every_us;
        let score = telling(picture);
        if self.best.as_ref().is_none_or(|(best, _)| score > *best) {
            self.best = Some((score, raw::share(picture)?));
        }
        Ok(())
    }

    /// Sends the best picture, if that has not been done.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        if let Some((_, picture)) = self.best.take().filter(|_| !self.sent) {
            let jpeg = self.encode(&picture)?;
            self.sender.send(&FromChild::Poster, &jpeg)?;
            self.sent = true;
        }
        Ok(())
    }

    fn encode(&self, picture: &frame::Video) -> Result<Vec<u8>, Failure> {
        let scale = f64::from(MAX_WIDTH.min(self.width)) / f64::from(self.width);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 65535")]
        let sized = |pixels: u32| ((f64::from(pixels) * scale / 2.0).round() as u32 * 2).max(2);
        let (width, height) = (sized(self.width), sized(self.height));
        let mut scaler = scaling::Context::get(
            picture.format(),
            picture.width(),
            picture.height(),
            format::Pixel::YUVJ420P,
            width,
            height,
            scaling::Flags::BICUBIC,
        )?;
        let mut scaled = frame::Video::empty();
        scaler.run(picture, &mut scaled)?;
        scaled.set_color_range(color::Range::JPEG);
        scaled.set_pts(Some(0));

        let codec = encoder::find(codec::Id::MJPEG).ok_or(ffmpeg_next::Error::EncoderNotFound)?;
        let mut context = codec::Context::new_with_codec(codec);
        raw::set_quality(&mut context, QUALITY);
        let mut video = context.encoder().video()?;
        video.set_width(width);
        video.set_height(height);
        video.set_format(format::Pixel::YUVJ420P);
        video.set_color_range(color::Range::JPEG);
        video.set_time_base(Rational::new(1, 25));
        let mut encoder = video.open_as_with(codec, Dictionary::new())?;
        raw::set_picture_quality(&mut scaled, QUALITY);
        encoder.send_frame(&scaled)?;
        encoder.send_eof()?;
        let mut packet = Packet::empty();
        match encoder.receive_packet(&mut packet) {
            Ok(()) => Ok(packet.data().unwrap_or_default().to_vec()),
            Err(ffmpeg_next::Error::Other { errno: EAGAIN }) => Err(Failure::internal("the poster was not encoded")),
            Err(error) => Err(error.into()),
        }
    }
}

/// How much there is to see: the entropy of the brightness, and how much it changes from place to
/// place. A black, white or blurred picture scores low.
fn telling(picture: &frame::Video) -> f64 {
    let (width, height, stride) = (picture.width() as usize, picture.height() as usize, picture.stride(0));
    let luma = picture.data(0);
    let (step_x, step_y) = ((width / 160).max(1), (height / 90).max(1));
    let mut histogram = [0u32; 32];
    let (mut total, mut change) = (0u32, 0u64);
    for y in (0..height).step_by(step_y) {
        let Some(line) = luma.get(y * stride..y * stride + width) else { break };
        let mut before = None;
        for value in line.iter().step_by(step_x) {
            histogram[usize::from(value >> 3)] += 1;
            total += 1;
            if let Some(before) = before.replace(*value) {
                change += u64::from(value.abs_diff(before));
            }
        }
    }
    let total = f64::from(total.max(1));
    let entropy: f64 = histogram
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / total;
            -share * share.log2()
        })
        .sum();
    #[allow(clippy::cast_precision_loss, reason = "a sum of some thousand bytes")]
    let detail = (change as f64 / total).min(20.0) / 20.0;
    entropy + 2.0 * detail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(luma: impl Fn(usize, usize) -> u8) -> frame::Video {
        let mut frame = frame::Video::new(format::Pixel::YUV420P, 320, 180);
        let stride = frame.stride(0);
        for (y, line) in frame.data_mut(0).chunks_mut(stride).enumerate() {
            for (x, value) in line.iter_mut().enumerate() {
                *value = luma(x, y);
            }
        }
        frame
    }

    #[test]
    fn a_picture_with_something_in_it_tells_more() {
        let black = telling(&picture(|_, _| 16));
        let ramp = telling(&picture(|x, _| u8::try_from(x / 2).unwrap_or(255)));
        let scene = telling(&picture(|x, y| u8::try_from((x * 7 + y * 13 + (x * y) / 50) % 220).unwrap_or(0)));
        assert!(black < ramp && ramp < scene, "{black} {ramp} {scene}");
    }
}
