//! Reads partitions, and keeps what a read left over.
//!
//! A request brings whole batches, usually more than a reader takes at once. The rest waits for
//! the read that goes on where the last one ended, so that a reader with small limits does not
//! fetch everything again each time. A read from elsewhere asks the broker.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use event_log::{ReadLimit, StoredRecord};
use event_schemas::Offset;
use parking_lot::Mutex;

use crate::{
    broker::{Brokers, Failure, Fetched, Place},
    tail::Tails,
};

/// Readers of one partition whose rests are kept.
const RESTS: usize = 4;

/// Records in order, never empty.
type Rest = VecDeque<Fetched>;

/// Reads partitions.
pub(crate) struct Reader {
    brokers: Arc<Brokers>,
    tails: Arc<Tails>,
    rests: Mutex<HashMap<Place, VecDeque<(u64, Rest)>>>,
}

impl Reader {
    /// Has read nothing yet.
    pub fn new(brokers: Arc<Brokers>, tails: Arc<Tails>) -> Self {
        Self { brokers, tails, rests: Mutex::default() }
    }

    /// Records from `from` on, within the limit, at least one if there is any.
    pub async fn read(
        &self,
        place: &Place,
        generation: u64,
        from: u64,
        limit: ReadLimit,
    ) -> Result<Vec<StoredRecord>, Failure> {
        let mut out = Taken { generation, limit, bytes: 0, records: Vec::new() };
        let mut next = from;
        let mut rest = self.rest(place, generation, from);
        let mut end = None;
        while !out.is_full() {
            if rest.is_empty() {
                let known = match end {
                    Some(end) => end,
                    None => self.end(place, next).await?,
                };
                end = Some(known);
                if next >= known {
                    break;
                }
                rest = self.brokers.fetch(place, next).await?.into();
                match rest.back() {
                    Some(last) => self.tails.advance(place, last.offset + 1),
                    None => {
                        // The broker came back with an earlier end than was seen before.
                        let ends = self.brokers.ends(place).await?;
                        self.tails.correct(place, ends.next);
                        break;
                    }
                }
            }
            let Some(record) = rest.pop_front() else { break };
            if record.offset != next {
                let missing = format!("the broker gave offset {} for {next}", record.offset);
                return Err(Failure::Unavailable(missing));
            }
            if let Err(record) = out.take(record) {
                rest.push_front(record);
                break;
            }
            next += 1;
        }
        self.keep(place, generation, rest);
        Ok(out.records)
    }

    /// One past the last record, as far as `next` needs it known.
    async fn end(&self, place: &Place, next: u64) -> Result<u64, Failure> {
        if let Some(seen) = self.tails.last_seen(place)
            && seen > next
        {
            return Ok(seen);
        }
        let ends = self.brokers.ends(place).await?;
        self.tails.correct(place, ends.next);
        if next < ends.first { Err(Failure::Dropped(ends.first)) } else { ends.reaches(next).map(|()| ends.next) }
    }

    fn rest(&self, place: &Place, generation: u64, from: u64) -> Rest {
        let mut rests = self.rests.lock();
        let Some(rests) = rests.get_mut(place) else { return Rest::new() };
        let begins = |(life, rest): &(u64, Rest)| *life == generation && rest.front().is_some_and(|r| r.offset == from);
        let found = rests.iter().position(begins).and_then(|n| rests.remove(n));
        found.map_or_else(Rest::new, |(_, rest)| rest)
    }

    fn keep(&self, place: &Place, generation: u64, rest: Rest) {
        if rest.is_empty() {
            return;
        }
        let mut rests = self.rests.lock();
        let rests = rests.entry(place.clone()).or_default();
        rests.push_back((generation, rest));
        if rests.len() > RESTS {
            rests.pop_front();
        }
    }
}

/// What a read gives.
struct Taken {
    generation: u64,
    limit: ReadLimit,
    bytes: usize,
    records: Vec<StoredRecord>,
}

impl Taken {
    fn is_full(&self) -> bool {
        !self.records.is_empty() && (self.records.len() >= self.limit.records || self.bytes >= self.limit.bytes)
    }

    /// Takes a record, or gives it back where it does not fit. The first always fits.
    fn take(&mut self, record: Fetched) -> Result<(), Fetched> {
        let bytes = self.bytes.saturating_add(record.bytes.len());
        if !self.records.is_empty() && (bytes > self.limit.bytes || self.records.len() >= self.limit.records) {
            return Err(record);
        }
        self.bytes = bytes;
        self.records.push(StoredRecord {
            generation: self.generation,
            offset: Offset(record.offset),
            appended_at: record.at,
            bytes: record.bytes,
        });
        Ok(())
    }
}
