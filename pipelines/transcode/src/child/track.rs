//! Gathers a track's encoded samples into segments and sends each as soon as it is complete.

use super::{Failure, link::Sender};
use crate::{
    cmaf::{self, Sample},
    protocol::{FromChild, Track},
};

/// The segments of one track, in order.
pub(super) struct TrackWriter {
    sender: Sender,
    track: Track,
    sample_duration: u32,
    number: u32,
    decoded: u64,
    samples: Vec<Sample>,
}

impl TrackWriter {
    /// Sends the init segment and begins. Each sample lasts `sample_duration` ticks.
    pub(super) fn begin(sender: Sender, track: Track, init: &[u8], sample_duration: u32) -> Result<Self, Failure> {
        sender.send(&FromChild::Init { track }, init)?;
        Ok(Self { sender, track, sample_duration, number: 0, decoded: 0, samples: Vec::new() })
    }

    /// The number of the next sample in decoding order, from 0.
    pub(super) fn next_sample(&self) -> u64 {
        self.decoded + self.samples.len() as u64
    }

    pub(super) fn push(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// Ends the segment, whose presentation lasts `duration_us`, and sends it. Does nothing if it is
    /// empty.
    pub(super) fn cut(&mut self, duration_us: i64) -> Result<(), Failure> {
        if self.samples.is_empty() {
            return Ok(());
        }
        let decode_time = self.decoded * u64::from(self.sample_duration);
        let bytes = cmaf::segment(self.number, decode_time, self.sample_duration, &self.samples)?;
        let message = FromChild::Segment { track: self.track, number: self.number, duration_us };
        self.sender.send(&message, &bytes)?;
        self.decoded = self.next_sample();
        self.number += 1;
        self.samples.clear();
        Ok(())
    }

    /// Tells that there are no more segments.
    pub(super) fn finish(self) -> Result<(), Failure> {
        Ok(self.sender.send(&FromChild::TrackDone { track: self.track }, &[])?)
    }
}
