//! The sound: resampled to 48 kHz stereo from time 0 on, gaps filled with silence, encoded as AAC-LC and
//! packaged. Runs in a thread of its own, at the end of a bounded channel.

use std::sync::mpsc::Receiver;

use ffmpeg_next::{
    ChannelLayout, Dictionary, Packet, Rational,
    codec::{self, encoder},
    filter, format, frame,
    util::{
        error::EAGAIN,
        format::sample::{Sample as SampleFormat, Type as SampleType},
    },
};

use super::{Failure, link::Sender, raw, track::TrackWriter};
use crate::{
    cmaf::{self, AudioTrack, Sample},
    protocol::Track,
    timeline::SEGMENT_SECONDS,
};

const RATE: u32 = 48_000;
const CHANNELS: u16 = 2;
const BITRATE: u32 = 128_000;
const FORMAT: format::Sample = SampleFormat::F32(SampleType::Planar);

/// What the sound's thread receives.
pub(super) enum Sound {
    /// Decoded samples; `pts` in microseconds from 0.
    Samples(frame::Audio),
    /// There are no more; silence is added up to this time in microseconds.
    End(i64),
}

/// Encodes until the end is announced. A channel that closes without an end leaves the track
/// unfinished.
pub(super) fn run(sounds: &Receiver<Sound>, sender: Sender) -> Result<(), Failure> {
    let mut output = Output::open(sender)?;
    let mut resampler: Option<Resampler> = None;
    while let Ok(sound) = sounds.recv() {
        match sound {
            Sound::Samples(samples) => {
                let shape = Shape::of(&samples);
                if resampler.as_ref().is_none_or(|current| current.shape != shape) {
                    let first = resampler.is_none();
                    if let Some(mut old) = resampler.take() {
                        old.finish(&mut output)?;
                    }
                    resampler = Some(Resampler::build(shape, first)?);
                }
                if let Some(current) = &mut resampler {
                    current.push(&samples, &mut output)?;
                }
            }
            Sound::End(until_us) => {
                if let Some(mut last) = resampler.take() {
                    last.finish(&mut output)?;
                }
                return output.finish(until_us);
            }
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Shape {
    rate: u32,
    format: format::Sample,
    layout: ChannelLayout,
}

impl Shape {
    fn of(samples: &frame::Audio) -> Self {
        let named = samples.channel_layout();
        let layout = if named.is_empty() { ChannelLayout::default(i32::from(samples.channels())) } else { named };
        Self { rate: samples.rate(), format: samples.format(), layout }
    }
}

struct Resampler {
    shape: Shape,
    graph: filter::Graph,
}

impl Resampler {
    fn build(shape: Shape, first: bool) -> Result<Self, Failure> {
        let missing = || Failure::internal("a sound filter is missing");
        let mut graph = filter::Graph::new();
        raw::single_threaded(&mut graph);
        let arguments = format!(
            "time_base=1/1000000:sample_rate={}:sample_fmt={}:channel_layout=0x{:x}",
            shape.rate,
            shape.format.name(),
            shape.layout.bits()
        );
        graph.add(&filter::find("abuffer").ok_or_else(missing)?, "in", &arguments)?;
        graph.add(&filter::find("abuffersink").ok_or_else(missing)?, "out", "")?;
        // Only the first stretch starts at 0: it is padded or cut to do so.
        let start = if first { ":first_pts=0" } else { "" };
        let chain = format!(
            "aresample={RATE}:async=1{start},aformat=sample_fmts=fltp:sample_rates={RATE}:channel_layouts=stereo"
        );
        graph.output("in", 0)?.input("out", 0)?.parse(&chain)?;
        graph.validate()?;
        Ok(Self { shape, graph })
    }

    fn push(&mut self, samples: &frame::Audio, output: &mut Output) -> Result<(), Failure> {
        self.graph.get("in").ok_or_else(raw::invalid)?.source().add(samples)?;
        self.drain(output)
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), Failure> {
        self.graph.get("in").ok_or_else(raw::invalid)?.source().flush()?;
        self.drain(output)
    }

    fn drain(&mut self, output: &mut Output) -> Result<(), Failure> {
        let mut sink = self.graph.get("out").ok_or_else(raw::invalid)?;
        loop {
            let mut samples = frame::Audio::empty();
            match sink.sink().frame(&mut samples) {
                Ok(()) => output.take(&samples)?,
                Err(ffmpeg_next::Error::Eof | ffmpeg_next::Error::Other { errno: EAGAIN }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Gathers samples into the encoder's frames, and its packets into segments.
struct Output {
    encoder: encoder::audio::Encoder,
    frame_size: usize,
    priming: u64,
    /// One queue a channel.
    queued: [Vec<f32>; CHANNELS as usize],
    /// Samples given to the encoder.
    encoded: u64,
    segment_start: i64,
    writer: TrackWriter,
}

impl Output {
    fn open(sender: Sender) -> Result<Self, Failure> {
        let codec = encoder::find_by_name("aac").ok_or(ffmpeg_next::Error::EncoderNotFound)?;
        let mut context = codec::Context::new_with_codec(codec);
        context.set_flags(codec::Flags::GLOBAL_HEADER);
        let mut audio = context.encoder().audio()?;
        audio.set_rate(RATE as i32);
        audio.set_format(FORMAT);
        audio.set_channel_layout(ChannelLayout::STEREO);
        audio.set_channels(i32::from(CHANNELS));
        audio.set_bit_rate(BITRATE as usize);
        audio.set_time_base(Rational::new(1, RATE as i32));
        let encoder = audio.open_as_with(codec, Dictionary::new())?;
        let frame_size = encoder.frame_size();
        let priming = raw::initial_padding(&encoder);
        let track = AudioTrack {
            sample_rate: RATE as u16,
            channels: CHANNELS,
            bitrate: BITRATE,
            priming,
            config: raw::extradata(&encoder),
        };
        let writer = TrackWriter::begin(sender, Track::Audio, &cmaf::audio_init(&track)?, frame_size)?;
        Ok(Self {
            encoder,
            frame_size: frame_size as usize,
            priming: priming.into(),
            queued: Default::default(),
            encoded: 0,
            segment_start: 0,
            writer,
        })
    }

    fn take(&mut self, samples: &frame::Audio) -> Result<(), Failure> {
        for (channel, queue) in self.queued.iter_mut().enumerate() {
            queue.extend_from_slice(samples.plane::<f32>(channel));
        }
        self.encode_whole_frames()
    }

    fn encode_whole_frames(&mut self) -> Result<(), Failure> {
        let whole = self.queued[0].len() / self.frame_size * self.frame_size;
        for start in (0..whole).step_by(self.frame_size) {
            let mut frame = frame::Audio::new(FORMAT, self.frame_size, ChannelLayout::STEREO);
            frame.set_rate(RATE);
            for (channel, queue) in self.queued.iter().enumerate() {
                frame.plane_mut::<f32>(channel).copy_from_slice(&queue[start..start + self.frame_size]);
            }
            frame.set_pts(i64::try_from(self.encoded).ok());
            self.encoded += self.frame_size as u64;
            self.encoder.send_frame(&frame)?;
            self.drain()?;
        }
        for queue in &mut self.queued {
            queue.drain(..whole);
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Failure> {
        let mut packet = Packet::empty();
        loop {
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {
                    let shown = self.presented(self.writer.next_sample());
                    let boundary = i64::from(RATE) * SEGMENT_SECONDS as i64;
                    if shown > 0 && shown / boundary > self.segment_start / boundary {
                        self.cut(shown)?;
                    }
                    let data = packet.data().unwrap_or_default().to_vec();
                    self.writer.push(Sample { data, composition_offset: 0, sync: true });
                }
                Err(ffmpeg_next::Error::Eof | ffmpeg_next::Error::Other { errno: EAGAIN }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// When a packet is presented, in samples from 0.
    fn presented(&self, packet: u64) -> i64 {
        i64::try_from(packet * self.frame_size as u64).unwrap_or(i64::MAX) - i64::try_from(self.priming).unwrap_or(0)
    }

    fn cut(&mut self, end: i64) -> Result<(), Failure> {
        let micros = |samples: i64| samples * 1_000_000 / i64::from(RATE);
        let duration_us = micros(end) - micros(self.segment_start);
        self.segment_start = end;
        self.writer.cut(duration_us)
    }

    fn finish(mut self, until_us: i64) -> Result<(), Failure> {
        let wanted = u64::try_from(until_us).unwrap_or(0).saturating_mul(u64::from(RATE)).div_ceil(1_000_000);
        loop {
            let have = self.encoded + self.queued[0].len() as u64;
            // Silence up to the end, a second at a time, and to the end of the last frame.
            let rest = self.queued[0].len() % self.frame_size;
            let missing = match wanted.saturating_sub(have) {
                0 if rest == 0 && have > 0 => break,
                0 => self.frame_size - rest,
                missing => usize::try_from(missing).unwrap_or(usize::MAX).min(RATE as usize),
            };
            for queue in &mut self.queued {
                queue.resize(queue.len() + missing, 0.0);
            }
            self.encode_whole_frames()?;
        }
        self.encoder.send_eof()?;
        self.drain()?;
        self.cut(self.presented(self.writer.next_sample()))?;
        self.writer.finish()
    }
}
