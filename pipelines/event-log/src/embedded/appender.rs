//! The one writer of the embedded log, on a thread of its own.
//!
//! It takes what has gathered in the queue, of all topics, stages it into one batch, makes that
//! durable with one fsync, shows it to the readers and then answers every caller. After any
//! failure of the database it answers the callers, opens the database again and goes on.

use std::{
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use event_schemas::{Clock, Offset};
use metrics::{counter, gauge, histogram};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    shared::{Shared, weight},
    store::{self, Broken, NotStaged, Store, StoreConfig},
};
use crate::{Appended, LogError, Stream, TopicSpec, space::FreeSpace};

/// The most one batch gathers, in bytes and in requests.
const BATCH_BYTES: usize = 16 << 20;
const BATCH_REQUESTS: usize = 4096;
/// How often retention is looked at while nothing is appended.
const IDLE: Duration = Duration::from_secs(5);
const REOPEN_FIRST: Duration = Duration::from_millis(50);
const REOPEN_LAST: Duration = Duration::from_secs(5);

pub(super) type Reply<T> = oneshot::Sender<Result<T, LogError>>;

/// What the appender is asked.
pub(super) enum Request {
    Append {
        stream: Stream,
        partition: u32,
        records: Vec<Bytes>,
        /// Held until answered: they bound the queue.
        permits: [OwnedSemaphorePermit; 2],
        reply: Reply<Appended>,
    },
    Topic {
        spec: TopicSpec,
        reply: Reply<()>,
    },
    Consumer {
        stream: Stream,
        consumer: String,
        reply: Reply<()>,
    },
    Position {
        stream: Stream,
        partition: u32,
        consumer: String,
        next: u64,
        reply: Reply<()>,
    },
    /// Nothing after this is taken.
    Close,
}

impl Request {
    fn refuse(self, error: LogError) {
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(error))),
            Self::Topic { reply, .. } | Self::Consumer { reply, .. } | Self::Position { reply, .. } => {
                drop(reply.send(Err(error)));
            }
            Self::Close => {}
        }
    }
}

/// A staged request that waits for the commit.
enum Staged {
    Append { first: u64, reply: Reply<Appended>, _permits: [OwnedSemaphorePermit; 2] },
    Topic { stream: Stream, reply: Reply<()> },
    Position { stream: Stream, partition: u32, consumer: String, next: u64, reply: Reply<()> },
}

impl Staged {
    fn answer(self, shared: &Shared, store: &Store) {
        match self {
            Self::Append { first, reply, .. } => {
                drop(reply.send(Ok(Appended { generation: store.generation, first: Offset(first) })));
            }
            Self::Topic { stream, reply } => {
                if let Some(topic) = store.topics.get(&stream) {
                    shared.publish_topic(stream, topic);
                }
                drop(reply.send(Ok(())));
            }
            Self::Position { stream, partition, consumer, next, reply } => {
                shared.publish_position(stream, partition, &consumer, next);
                drop(reply.send(Ok(())));
            }
        }
    }

    fn fail(self, error: LogError) {
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(error))),
            Self::Topic { reply, .. } | Self::Position { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// The appender's state.
pub(super) struct Appender {
    pub path: PathBuf,
    pub config: StoreConfig,
    pub clock: Arc<dyn Clock>,
    pub space: FreeSpace,
    pub shared: Arc<Shared>,
    pub queue: mpsc::Receiver<Request>,
    /// Nothing while the database could not be opened again.
    pub store: Option<Store>,
    pub reopen_at: Instant,
    pub reopen_wait: Duration,
}

/// Tells waiting readers and `close` when the thread ends, however it does.
struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.withdraw("the log is closed".to_owned());
        self.0.closed.cancel();
    }
}

impl Appender {
    /// The appender of an opened store.
    pub fn new(
        path: PathBuf,
        config: StoreConfig,
        clock: Arc<dyn Clock>,
        space: FreeSpace,
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Request>,
        store: Store,
    ) -> Self {
        shared.publish_all(&store);
        let (reopen_at, reopen_wait) = (Instant::now(), REOPEN_FIRST);
        Self { path, config, clock, space, shared, queue, store: Some(store), reopen_at, reopen_wait }
    }

    /// Works until asked to close, or until every handle of the log is gone.
    pub fn run(mut self) {
        let farewell = Farewell(self.shared.clone());
        loop {
            let wait = if self.store.is_some() { IDLE } else { self.reopen_wait };
            let gathered = match self.queue.recv_timeout(wait) {
                Ok(first) => self.gather(first),
                Err(mpsc::RecvTimeoutError::Timeout) => Vec::new(),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            };
            let closing = matches!(gathered.last(), Some(Request::Close));
            self.serve(gathered);
            if closing {
                break;
            }
        }
        self.shared.withdraw("the log is closed".to_owned());
        self.store = None;
        drop(farewell);
        while let Ok(late) = self.queue.try_recv() {
            late.refuse(LogError::Closed);
        }
    }

    fn gather(&self, first: Request) -> Vec<Request> {
        let mut bytes = 0;
        let mut out = vec![first];
        while let Some(last) = out.last() {
            match last {
                Request::Close => break,
                Request::Append { records, .. } => bytes += weight(records),
                _ => {}
            }
            if bytes >= BATCH_BYTES || out.len() >= BATCH_REQUESTS {
                break;
            }
            match self.queue.try_recv() {
                Ok(next) => out.push(next),
                Err(_) => break,
            }
        }
        out
    }

    /// Does what was gathered. A panic inside the database counts as its failure.
    fn serve(&mut self, requests: Vec<Request>) {
        if self.store.is_none() && Instant::now() >= self.reopen_at {
            self.reopen();
        }
        let Some(mut store) = self.store.take() else {
            let error = self.shared.check().err().unwrap_or(LogError::Closed);
            requests.into_iter().for_each(|request| request.refuse(error.clone()));
            return;
        };
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
            self.retain(&mut store).and_then(|()| self.append(&mut store, requests))
        }));
        match outcome {
            Ok(Ok(())) => self.store = Some(store),
            failed => {
                let reason = match failed {
                    Ok(Err(broken)) => broken.to_string(),
                    _ => "the log's database panicked".to_owned(),
                };
                counter!("millrace_log_failures_total").increment(1);
                tracing::error!(reason, "the log failed; opening it again");
                self.shared.withdraw(reason);
                drop(store);
                self.reopen();
            }
        }
    }

    fn reopen(&mut self) {
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
            store::rewrite_journals(&self.path)?;
            let store = Store::open(&self.path, self.config)?;
            match self.shared.lost(&store) {
                Some(lost) => Err(Broken::Damaged(lost)),
                None => Ok(store),
            }
        }));
        match opened.unwrap_or_else(|_| Err(Broken::Damaged("the log's database panicked while opening".to_owned()))) {
            Ok(store) => {
                self.shared.publish_all(&store);
                self.store = Some(store);
                self.reopen_wait = REOPEN_FIRST;
                tracing::info!("the log is open again");
            }
            Err(error) => {
                tracing::error!(%error, "the log can't be opened");
                self.shared.withdraw(error.to_string());
                self.reopen_at = Instant::now() + self.reopen_wait;
                self.reopen_wait = (self.reopen_wait * 2).min(REOPEN_LAST);
            }
        }
    }

    fn retain(&self, store: &mut Store) -> Result<(), Broken> {
        let dropped = store.retain(self.clock.now())?;
        self.publish_touched(store);
        for gone in &dropped {
            self.shared.publish_ends(store, gone.stream, gone.partition);
        }
        self.shared.hide(&dropped);
        for gone in dropped {
            counter!("millrace_log_dropped_bytes_total", "topic" => gone.stream.to_string())
                .increment(gone.segment.entry.bytes);
            store.delete(gone)?;
        }
        Ok(())
    }

    fn publish_touched(&self, store: &mut Store) {
        let touched = std::mem::take(&mut store.touched);
        for (stream, partition, base) in &touched {
            self.shared.publish_segment(store, *stream, *partition, *base);
        }
        for (stream, partition, _) in touched {
            self.shared.publish_ends(store, stream, partition);
        }
    }

    fn append(&self, store: &mut Store, requests: Vec<Request>) -> Result<(), Broken> {
        if requests.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let mut room = None;
        let mut batch = store.batch();
        let mut staged = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter();
        let mut failure = None;
        for request in requests.by_ref() {
            let broken = match request {
                Request::Append { stream, partition, records, permits, reply } => {
                    let room = room.get_or_insert_with(|| self.space.check().map_err(|e| e.to_string()));
                    let bytes = weight(&records) as u64;
                    let count = records.len() as u64;
                    let outcome = match room {
                        Ok(()) => store.stage_append(&mut batch, stream, partition, records, now),
                        Err(reason) => Err(NotStaged::Refused(LogError::Full(reason.clone()))),
                    };
                    if outcome.is_ok() {
                        counter!("millrace_log_appended_bytes_total", "topic" => stream.to_string()).increment(bytes);
                        counter!("millrace_log_appended_records_total", "topic" => stream.to_string()).increment(count);
                    }
                    keep(outcome, reply, &mut staged, |first, reply| Staged::Append { first, reply, _permits: permits })
                }
                Request::Topic { spec, reply } => {
                    let outcome = store.stage_topic(&mut batch, &spec);
                    keep(outcome, reply, &mut staged, |(), reply| Staged::Topic { stream: spec.stream, reply })
                }
                Request::Consumer { stream, consumer, reply } => {
                    let outcome = store.stage_consumer(&mut batch, stream, &consumer);
                    keep(outcome, reply, &mut staged, |(), reply| Staged::Topic { stream, reply })
                }
                Request::Position { stream, partition, consumer, next, reply } => {
                    let outcome = store.stage_position(&mut batch, stream, partition, &consumer, next);
                    keep(outcome, reply, &mut staged, |moved, reply| {
                        let next = if moved { next } else { 0 };
                        Staged::Position { stream, partition, consumer, next, reply }
                    })
                }
                Request::Close => None,
            };
            if broken.is_some() {
                failure = broken;
                break;
            }
        }
        if let Some(broken) = failure {
            // The batch was never committed: nothing was stored.
            let error = LogError::Failed(broken.to_string());
            staged.into_iter().for_each(|one| one.fail(error.clone()));
            requests.for_each(|request| request.refuse(error.clone()));
            return Err(broken);
        }
        let started = Instant::now();
        match store.commit(batch) {
            Ok(()) => {
                histogram!("millrace_log_commit_seconds").record(started.elapsed().as_secs_f64());
                histogram!("millrace_log_commit_requests").record(staged.len() as f64);
                for (stream, topic) in &store.topics {
                    gauge!("millrace_log_size_bytes", "topic" => stream.to_string()).set(topic.bytes as f64);
                }
                self.publish_touched(store);
                staged.into_iter().for_each(|one| one.answer(&self.shared, store));
                Ok(())
            }
            Err(broken) => {
                let error = match &broken {
                    // Refused before anything was written.
                    Broken::Database(fjall::Error::Poisoned) => LogError::Failed(broken.to_string()),
                    _ => LogError::Unknown(broken.to_string()),
                };
                staged.into_iter().for_each(|one| one.fail(error.clone()));
                Err(broken)
            }
        }
    }
}

/// Keeps a staged request for the commit, answers a refused one, and hands on a failure.
fn keep<T, U>(
    outcome: Result<U, NotStaged>,
    reply: Reply<T>,
    staged: &mut Vec<Staged>,
    make: impl FnOnce(U, Reply<T>) -> Staged,
) -> Option<Broken> {
    match outcome {
        Ok(value) => {
            staged.push(make(value, reply));
            None
        }
        Err(NotStaged::Refused(error)) => {
            if matches!(error, LogError::Full(_)) {
                counter!("millrace_log_refused_full_total").increment(1);
            }
            drop(reply.send(Err(error)));
            None
        }
        Err(NotStaged::Broken(broken)) => {
            drop(reply.send(Err(LogError::Failed(broken.to_string()))));
            Some(broken)
        }
    }
}
