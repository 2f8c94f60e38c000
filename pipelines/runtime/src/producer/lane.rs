//! One partition's records on their way to the log: a queue of callers, the numbering, and what
//! is not settled yet. While the queue holds anything one task drives it.

use std::{collections::VecDeque, sync::Arc};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use event_log::{Appended, LogError, Stream};
use event_schemas::{Envelope, Offset, Partition, ProducerStamp};
use metrics::counter;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{SendError, Shared};

/// The most one append holds, unless a single caller sends more.
const APPEND_BYTES: usize = 4 << 20;
const APPEND_RECORDS: usize = 4096;

/// A caller's records.
pub(super) struct Waiting {
    pub schema: u16,
    pub records: Vec<(Bytes, Bytes)>,
    pub bytes: usize,
    pub reply: oneshot::Sender<Result<Appended, SendError>>,
    pub _room: OwnedSemaphorePermit,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Waiting>,
    driven: bool,
    /// The number of the next record.
    next_seq: u64,
    /// Numbered records whose outcome is unknown. Set before the append begins, so that nothing
    /// newer can pass them however it ends.
    unsettled: Option<Vec<Bytes>>,
}

/// One partition's way to the log.
#[derive(Default)]
pub(super) struct Lane(Mutex<State>);

impl Lane {
    /// Queues a caller's records, and sees to it that they are sent.
    pub fn send(self: &Arc<Self>, shared: &Arc<Shared>, stream: Stream, partition: Partition, waiting: Waiting) {
        let mut state = self.0.lock();
        state.queue.push_back(waiting);
        if !std::mem::replace(&mut state.driven, true) {
            let driver = Driver { lane: self.clone(), shared: shared.clone(), stream, partition, finished: false };
            tokio::spawn(driver.run());
        }
    }
}

/// Callers whose records go into one append, each with the place of its first record there.
type Callers = Vec<(u64, Waiting)>;

/// What became of an append.
enum Outcome {
    Stored(Appended),
    /// Nothing was stored.
    Refused(LogError),
    Unknown(LogError),
}

struct Driver {
    lane: Arc<Lane>,
    shared: Arc<Shared>,
    stream: Stream,
    partition: Partition,
    finished: bool,
}

impl Drop for Driver {
    /// After a panic or an abort the callers are let go and the next one starts a new driver.
    fn drop(&mut self) {
        if !self.finished {
            let mut state = self.lane.0.lock();
            state.driven = false;
            state.queue.clear();
        }
    }
}

impl Driver {
    async fn run(mut self) {
        loop {
            let unsettled = self.lane.0.lock().unsettled.clone();
            if let Some(records) = unsettled {
                match self.resend(records).await {
                    Ok(_) => self.lane.0.lock().unsettled = None,
                    Err(error) => return self.give_up(&error),
                }
            }
            let Some((records, callers)) = self.take() else { return };
            let outcome = self.append(records).await;
            {
                let mut state = self.lane.0.lock();
                match &outcome {
                    Outcome::Stored(_) => state.unsettled = None,
                    Outcome::Refused(_) => {
                        let unused = state.unsettled.take().map_or(0, |records| records.len() as u64);
                        state.next_seq -= unused;
                    }
                    Outcome::Unknown(_) => {}
                }
            }
            answer(callers, &outcome);
        }
    }

    /// Numbers what waits, up to the limits. Nothing waits any more: the driver has finished.
    fn take(&mut self) -> Option<(Vec<Bytes>, Callers)> {
        let mut state = self.lane.0.lock();
        if state.queue.is_empty() {
            state.driven = false;
            self.finished = true;
            return None;
        }
        let produced_at = self.shared.clock.now();
        let mut bytes = 0;
        let mut records = Vec::new();
        let mut callers = Vec::new();
        while let Some(next) = state.queue.front() {
            let over = bytes + next.bytes > APPEND_BYTES || records.len() + next.records.len() > APPEND_RECORDS;
            if over && !callers.is_empty() {
                break;
            }
            let Some(mut waiting) = state.queue.pop_front() else { break };
            bytes += waiting.bytes;
            let first = records.len() as u64;
            for (key, payload) in std::mem::take(&mut waiting.records) {
                let producer = ProducerStamp { id: self.shared.id, epoch: self.shared.epoch, seq: state.next_seq };
                records.push(Envelope { schema: waiting.schema, producer, produced_at, key, payload }.encode());
                state.next_seq += 1;
            }
            callers.push((first, waiting));
        }
        state.unsettled = Some(records.clone());
        Some((records, callers))
    }

    async fn append(&self, records: Vec<Bytes>) -> Outcome {
        match self.shared.log.append(self.stream, self.partition, records.clone()).await {
            Ok(appended) => Outcome::Stored(appended),
            Err(error) if !error.is_unknown_outcome() => Outcome::Refused(error),
            Err(_) => match self.resend(records).await {
                Ok(appended) => Outcome::Stored(appended),
                // An earlier try may have stored them, whatever the last one says.
                Err(error) => Outcome::Unknown(error),
            },
        }
    }

    async fn resend(&self, records: Vec<Bytes>) -> Result<Appended, LogError> {
        let delays = ExponentialBuilder::default()
            .with_min_delay(self.shared.resends.first_delay)
            .with_max_times(self.shared.resends.times)
            .build();
        let mut last = LogError::Unknown("not sent again".to_owned());
        for delay in delays {
            tokio::time::sleep(delay).await;
            counter!("millrace_producer_resends_total", "topic" => self.stream.to_string()).increment(1);
            match self.shared.log.append(self.stream, self.partition, records.clone()).await {
                Ok(appended) => return Ok(appended),
                Err(LogError::Closed) => return Err(LogError::Closed),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Ends while records are still unsettled: the next caller starts again with them.
    fn give_up(mut self, error: &LogError) {
        let refused = {
            let mut state = self.lane.0.lock();
            state.driven = false;
            self.finished = true;
            std::mem::take(&mut state.queue)
        };
        tracing::warn!(%error, stream = %self.stream, partition = %self.partition, "records are still unsettled");
        for waiting in refused {
            // A caller that has gone does not ask.
            let _ = waiting.reply.send(Err(SendError::Blocked(error.clone())));
        }
    }
}

fn answer(callers: Callers, outcome: &Outcome) {
    for (first, waiting) in callers {
        let answer = match outcome {
            Outcome::Stored(appended) => {
                Ok(Appended { generation: appended.generation, first: Offset(appended.first.0 + first) })
            }
            Outcome::Refused(error) => Err(SendError::NotStored(error.clone())),
            Outcome::Unknown(error) => Err(SendError::Unresolved(error.clone())),
        };
        // A caller that has gone does not ask.
        let _ = waiting.reply.send(answer);
    }
}
