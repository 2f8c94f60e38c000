//! Tells waiting readers when a partition has grown.
//!
//! While anyone waits on a partition one task follows its end by a stream from the broker, and
//! all of them wait on what it last saw. The task heals by itself: it comes back to the partition
//! with a back-off, wherever its leader is then, and looks by itself from time to time, so that a
//! stream that went silent costs a delay and no more.

use std::{collections::HashMap, sync::Arc, time::Duration};

use fluvio_protocol::link::ErrorCode;
use metrics::counter;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::broker::{Brokers, Failure, Place};

/// How long a stream may be silent before the end is asked for.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a partition is followed after the last reader stopped waiting.
const LINGER: Duration = Duration::from_secs(60);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// What is known of a partition's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Nothing yet.
    Nothing,
    /// One past the last record.
    Next(u64),
    /// The topic was deleted.
    Gone,
}

/// The partitions that are followed.
pub(crate) struct Tails {
    brokers: Arc<Brokers>,
    followed: Mutex<HashMap<Place, watch::Sender<Seen>>>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Tails {
    /// Follows nothing yet. Tasks end when `closing` is cancelled.
    pub fn new(brokers: Arc<Brokers>, closing: CancellationToken, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self { brokers, followed: Mutex::default(), closing, tasks })
    }

    /// Resolves when the partition's end lies past `from`. Cancel-safe.
    pub async fn past(self: &Arc<Self>, place: &Place, from: u64) -> Result<(), Failure> {
        let mut seen = self.follow(place);
        let seen = seen.wait_for(|seen| match seen {
            Seen::Nothing => false,
            Seen::Next(next) => *next > from,
            Seen::Gone => true,
        });
        match seen.await.map(|seen| *seen) {
            Ok(Seen::Gone) => Err(Failure::NoTopic),
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::Unavailable("the partition is followed no longer".to_owned())),
        }
    }

    /// The partition's end as last seen, while it is followed.
    pub fn last_seen(&self, place: &Place) -> Option<u64> {
        match *self.followed.lock().get(place)?.borrow() {
            Seen::Next(next) => Some(next),
            _ => None,
        }
    }

    /// Notes that a reader has seen more.
    pub fn advance(&self, place: &Place, next: u64) {
        if let Some(seen) = self.followed.lock().get(place) {
            seen.send_if_modified(|seen| {
                let newer = matches!(seen, Seen::Next(old) if *old < next);
                if newer {
                    *seen = Seen::Next(next);
                }
                newer
            });
        }
    }

    /// Corrects what was seen: a broker that was killed may come back with an earlier end.
    pub fn correct(&self, place: &Place, next: u64) {
        if let Some(seen) = self.followed.lock().get(place) {
            seen.send_if_modified(|seen| {
                let other = matches!(seen, Seen::Next(old) if *old != next);
                if other {
                    *seen = Seen::Next(next);
                }
                other
            });
        }
    }

    fn follow(self: &Arc<Self>, place: &Place) -> watch::Receiver<Seen> {
        let mut followed = self.followed.lock();
        if let Some(seen) = followed.get(place) {
            return seen.subscribe();
        }
        let (seen, reader) = watch::channel(Seen::Nothing);
        followed.insert(place.clone(), seen.clone());
        let (tails, place) = (self.clone(), place.clone());
        self.tasks.spawn(async move {
            let closing = tails.closing.clone();
            tokio::select! {
                () = closing.cancelled() => {}
                () = tails.run(&place, &seen) => {}
                () = tails.unused(&place, &seen) => {}
            }
            let mut followed = tails.followed.lock();
            if followed.get(&place).is_some_and(|now| now.same_channel(&seen)) {
                followed.remove(&place);
            }
        });
        reader
    }

    /// Resolves when nobody has waited for a while; nobody finds the partition followed then.
    async fn unused(&self, place: &Place, seen: &watch::Sender<Seen>) {
        loop {
            seen.closed().await;
            tokio::time::sleep(LINGER).await;
            let mut followed = self.followed.lock();
            if seen.receiver_count() == 0 {
                followed.remove(place);
                return;
            }
        }
    }

    async fn run(&self, place: &Place, seen: &watch::Sender<Seen>) {
        let mut wait = RETRY_FIRST;
        let mut failing = false;
        loop {
            let mut healthy = false;
            let why = match self.stream(place, seen, &mut healthy).await {
                Err(Failure::NoTopic | Failure::NoPartition) => {
                    seen.send_replace(Seen::Gone);
                    return;
                }
                Err(Failure::Unavailable(why)) => why,
                Err(Failure::Dropped(_)) | Ok(()) => String::new(),
            };
            if healthy {
                (wait, failing) = (RETRY_FIRST, false);
            }
            if !why.is_empty() && !std::mem::replace(&mut failing, true) {
                counter!("millrace_log_followers_interrupted_total", "topic" => place.topic.clone()).increment(1);
                tracing::warn!(
                    why,
                    topic = place.topic,
                    partition = place.partition,
                    "a partition can't be followed; trying again"
                );
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_LAST);
        }
    }

    /// Follows the partition until something goes wrong. `Ok` asks to begin again.
    async fn stream(&self, place: &Place, seen: &watch::Sender<Seen>, healthy: &mut bool) -> Result<(), Failure> {
        let mut next = self.brokers.ends(place).await?.next;
        seen.send_replace(Seen::Next(next));
        let mut stream = self.brokers.watch(place, next).await?;
        *healthy = true;
        loop {
            let Ok(told) = tokio::time::timeout(SILENCE, stream.next()).await else {
                let now = self.brokers.ends(place).await?.next;
                if now != next {
                    seen.send_replace(Seen::Next(now));
                    return Ok(());
                }
                continue;
            };
            let told = told.map_err(Failure::Unavailable)?;
            if told.partition.error_code != ErrorCode::None {
                return match told.partition.error_code {
                    // The controller says whether it is deleted or has moved.
                    ErrorCode::TopicDeleted => Ok(()),
                    code => Err(Failure::Unavailable(code.to_string())),
                };
            }
            next = u64::try_from(told.partition.high_watermark).unwrap_or(0);
            seen.send_replace(Seen::Next(next));
            stream.go_on(told.stream_id, told.partition.high_watermark).await.map_err(Failure::Unavailable)?;
        }
    }
}
