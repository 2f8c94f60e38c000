//! One pass over the source: packets are demuxed and decoded here, once; rungs and sound are encoded in
//! threads of their own behind bounded channels, so that the slowest sets the pace and memory stays
//! bounded.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, ScopedJoinHandle},
};

use ffmpeg_next::{Packet, format, frame, util::error::EAGAIN};

use super::{
    Failure,
    link::{Receiver, Sender, Source},
    pictures::Pictures,
    poster::Poster,
    rung::{self, RungJob},
    sound::{self, Sound},
    source::{self, AudioStream, Opened, to_micros},
};
use crate::{
    ladder::{PLAIN_PICTURE, Plan},
    limits::Limits,
    protocol::{FailureKind, FromChild, ProtocolError, ToChild},
};

/// Pictures waiting for a rung: enough to smooth the encoder's pace.
const PICTURES_WAITING: usize = 8;
const SOUNDS_WAITING: usize = 64;
/// Unreadable packets in a row after which the rest is taken for lost.
const MAX_READ_ERRORS: u32 = 200;
/// Frames that a decoder may lose in a row before it is fed again.
pub(super) const MAX_LOST: u32 = 100;
/// A source may lack this part of what its container states before it counts as cut off.
const MISSING_ALLOWED: i64 = 20;
const PROGRESS_EVERY_US: i64 = 1_000_000;

/// Transcodes the source that the worker serves; returns its length in milliseconds.
pub(super) fn transcode(
    sender: &Sender,
    receiver: &Arc<Mutex<Receiver>>,
    source_len: Option<u64>,
    limits: &Limits,
) -> Result<i64, Failure> {
    let unreadable = Arc::new(AtomicBool::new(false));
    let source = Source::new(sender.clone(), Arc::clone(receiver), source_len, Arc::clone(&unreadable));
    let outcome = source::open(source, limits).and_then(|opened| {
        sender.send(&FromChild::Probed(opened.probe.clone()), &[])?;
        let (answer, _) = receiver.lock().unwrap_or_else(PoisonError::into_inner).receive()?;
        match answer {
            ToChild::Plan(plan) if !plan.rungs.is_empty() => encode(opened, &plan, sender, limits),
            _ => Err(ProtocolError::Unexpected("no plan").into()),
        }
    });
    // FFmpeg takes bytes that could not be had for a damaged or shorter file.
    if unreadable.load(Ordering::SeqCst) { Err(Failure::read()) } else { outcome }
}

fn encode(opened: Opened, plan: &Plan, sender: &Sender, limits: &Limits) -> Result<i64, Failure> {
    thread::scope(|scope| {
        let mut threads: Vec<ScopedJoinHandle<'_, Result<(), Failure>>> = Vec::new();
        let mut start = |name: String, work: Box<dyn FnOnce() -> Result<(), Failure> + Send>| {
            let thread = thread::Builder::new().name(name).spawn_scoped(scope, work);
            threads.push(thread.map_err(|error| Failure::internal(format!("no thread: {error}")))?);
            Ok::<_, Failure>(())
        };
        let mut rungs = Vec::with_capacity(plan.rungs.len());
        for (place, rung) in (0u8..).zip(&plan.rungs) {
            let (pictures, waiting) = sync_channel(PICTURES_WAITING);
            rungs.push(pictures);
            let job = RungJob { place, rung: rung.clone(), rate: plan.frame_rate, threads: limits.threads };
            let sender = sender.clone();
            start(rung.name.clone(), Box::new(move || rung::run(job, &waiting, sender)))?;
        }
        let sounds = if opened.audio.is_some() {
            let (sounds, waiting) = sync_channel(SOUNDS_WAITING);
            let sender = sender.clone();
            start("sound".to_owned(), Box::new(move || sound::run(&waiting, sender)))?;
            Some(sounds)
        } else {
            None
        };

        let shape = opened.probe.video.as_ref().map_or(PLAIN_PICTURE, |video| (video.width, video.height));
        let poster = Poster::new(sender.clone(), shape, opened.stated_us);
        let pictures = Pictures::new(opened.video, plan.frame_rate, rungs, poster, opened.start_us, limits);
        let demux = Demux {
            pictures,
            audio: opened.audio.zip(sounds),
            audio_end_us: 0,
            start_us: opened.start_us,
            told_us: 0,
            sender,
            limits,
        };
        let stated_us = opened.stated_us;
        // The channels close when this ends, and the threads after them.
        let outcome = demux.run(opened.input, stated_us);
        let mut first = None;
        for thread in threads {
            let ended = thread.join().unwrap_or_else(|_| Err(Failure::internal("an encoder's thread panicked")));
            first = first.or(ended.err());
        }
        match (outcome, first) {
            // The demuxer's own finding about the source outranks what followed from it.
            (Err(failure), _) if failure.kind == FailureKind::Source => Err(failure),
            (_, Some(failure)) => Err(failure),
            (Err(failure), None) => Err(failure),
            (Ok(slots), None) => Ok(plan.frame_rate.micros(u64::try_from(slots).unwrap_or(0)) / 1000),
        }
    })
}

struct Demux<'a> {
    pictures: Pictures,
    audio: Option<(AudioStream, SyncSender<Sound>)>,
    audio_end_us: i64,
    start_us: i64,
    told_us: i64,
    sender: &'a Sender,
    limits: &'a Limits,
}

impl Demux<'_> {
    fn run(mut self, mut input: format::context::Input, stated_us: Option<i64>) -> Result<i64, Failure> {
        let mut errors = 0;
        loop {
            let mut packet = Packet::empty();
            match packet.read(&mut input) {
                Ok(()) => errors = 0,
                Err(ffmpeg_next::Error::Eof | ffmpeg_next::Error::Exit) => break,
                Err(_) => {
                    errors += 1;
                    if errors > MAX_READ_ERRORS {
                        break;
                    }
                    continue;
                }
            }
            if Some(packet.stream()) == self.pictures.stream_index() {
                self.pictures.decode(&packet, self.limits)?;
            } else if self.audio.as_ref().is_some_and(|(stream, _)| stream.index == packet.stream()) {
                self.decode_sound(Some(&packet))?;
            }
            self.tell_progress()?;
        }
        self.pictures.drain(self.limits)?;
        self.decode_sound(None)?;

        let end_us = self.pictures.end_us().max(self.audio_end_us);
        if end_us > self.limits.max_duration.0.saturating_mul(1000) {
            return Err(Failure::too_long(self.limits));
        }
        if let Some(stated) = stated_us.filter(|stated| cut_off(*stated, end_us)) {
            return Err(Failure::source(format!(
                "the file ends early: {} of {} can be read; upload it again",
                seconds(end_us),
                seconds(stated)
            )));
        }
        let slots = self.pictures.finish(end_us)?;
        if let Some((_, sounds)) = self.audio.take() {
            sounds.send(Sound::End(end_us)).map_err(|_| Failure::stopped())?;
        }
        Ok(slots)
    }

    /// Decodes a packet of sound, or, without one, what the decoder still holds. A damaged packet is
    /// skipped.
    fn decode_sound(&mut self, packet: Option<&Packet>) -> Result<(), Failure> {
        let Some((stream, sounds)) = &mut self.audio else { return Ok(()) };
        let sent = match packet {
            Some(packet) => stream.decoder.send_packet(packet),
            None => stream.decoder.send_eof(),
        };
        if sent.is_err() {
            return Ok(());
        }
        let mut lost = 0;
        while lost < MAX_LOST {
            let mut samples = frame::Audio::empty();
            match stream.decoder.receive_frame(&mut samples) {
                Ok(()) => {}
                Err(ffmpeg_next::Error::Eof | ffmpeg_next::Error::Other { errno: EAGAIN }) => return Ok(()),
                Err(_) => {
                    lost += 1;
                    continue;
                }
            }
            if samples.samples() == 0 || samples.rate() == 0 || samples.channels() == 0 {
                continue;
            }
            let at_us = samples
                .timestamp()
                .map_or(self.audio_end_us, |ticks| to_micros(ticks, stream.time_base) - self.start_us);
            let lasts = i64::try_from(samples.samples()).unwrap_or(0) * 1_000_000 / i64::from(samples.rate());
            if at_us > self.limits.max_duration.0.saturating_mul(1000) {
                return Err(Failure::too_long(self.limits));
            }
            self.audio_end_us = self.audio_end_us.max(at_us + lasts);
            samples.set_pts(Some(at_us));
            sounds.send(Sound::Samples(samples)).map_err(|_| Failure::stopped())?;
        }
        Ok(())
    }

    fn tell_progress(&mut self) -> Result<(), Failure> {
        let at_us = match self.pictures.end_us() {
            0 => self.audio_end_us,
            pictures => pictures,
        };
        if at_us - self.told_us >= PROGRESS_EVERY_US {
            self.told_us = at_us;
            self.sender.send(&FromChild::Progress { at_ms: at_us / 1000 }, &[])?;
        }
        Ok(())
    }
}

/// True if more than a twentieth, and more than a second, of what the container states is missing.
const fn cut_off(stated_us: i64, end_us: i64) -> bool {
    let missing = stated_us.saturating_sub(end_us);
    missing > stated_us / MISSING_ALLOWED && missing > 1_000_000
}

fn seconds(us: i64) -> String {
    format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_may_be_missing() {
        for (stated, end, cut) in [
            (8_000_000, 8_000_000, false),
            (8_000_000, 7_100_000, false),
            (8_000_000, 4_000_000, true),
            (100_000_000, 96_000_000, false),
            (100_000_000, 94_000_000, true),
            (1_000_000, 0, false),
        ] {
            assert_eq!(cut_off(stated, end), cut, "{end} of {stated}");
        }
        assert_eq!(seconds(4_250_000), "4.2 s");
    }
}
