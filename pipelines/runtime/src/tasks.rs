//! The long-lived tasks of a process: named, restarted when they fail, drained at shutdown.

use std::{collections::BTreeMap, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use event_schemas::Clock;
use futures::FutureExt;
use metrics::counter;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{backoff, describe, health::HealthBoard};

/// A restarted task counts as healthy again after running for so long.
const SETTLED: Duration = Duration::from_secs(10);

/// Why a task ended.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Default)]
struct Activities {
    closed: bool,
    last: u64,
    running: BTreeMap<u64, String>,
}

#[derive(Default)]
struct Gate {
    activities: Mutex<Activities>,
    left: Notify,
}

/// The supervisor of a process's tasks. Clones share everything.
#[derive(Clone)]
pub struct Tasks {
    cancel: CancellationToken,
    gate: Arc<Gate>,
    health: HealthBoard,
}

/// Something under way that shutdown waits for, until this is dropped.
pub struct ActivityGuard {
    gate: Arc<Gate>,
    number: u64,
}

impl Drop for ActivityGuard {
    fn drop(&mut self) {
        self.gate.activities.lock().running.remove(&self.number);
        self.gate.left.notify_waiters();
    }
}

impl Tasks {
    /// A supervisor of nothing yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { cancel: CancellationToken::new(), gate: Arc::default(), health: HealthBoard::new(clock) }
    }

    /// Where tasks and stages say how they are.
    #[must_use]
    pub const fn health(&self) -> &HealthBoard {
        &self.health
    }

    /// Cancelled when shutdown begins.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.cancel.child_token()
    }

    /// Begins something that shutdown has to wait for, such as a request; nothing once shutdown
    /// has begun.
    #[must_use]
    pub fn enter(&self, name: impl Into<String>) -> Option<ActivityGuard> {
        let mut activities = self.gate.activities.lock();
        if activities.closed {
            return None;
        }
        activities.last += 1;
        let number = activities.last;
        activities.running.insert(number, name.into());
        Some(ActivityGuard { gate: self.gate.clone(), number })
    }

    /// Runs a long-lived task. `make` is called with a token that is cancelled at shutdown; when
    /// the task ends with an error or panics it is logged, shown on the health board, and made
    /// anew after a growing delay. One that ends with `Ok` has finished. Does nothing once
    /// shutdown has begun.
    pub fn spawn<F, Fut>(&self, name: impl Into<String>, mut make: F)
    where
        F: FnMut(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let name = name.into();
        let Some(guard) = self.enter(name.clone()) else { return };
        let health = self.health.register(name.clone());
        let cancel = self.token();
        tokio::spawn(async move {
            let _guard = guard;
            let mut delays = backoff::forever();
            loop {
                let started = Instant::now();
                let token = cancel.child_token();
                let run = AssertUnwindSafe(async { make(token).await }).catch_unwind();
                tokio::pin!(run);
                let outcome = tokio::select! {
                    biased;
                    outcome = &mut run => outcome,
                    () = tokio::time::sleep(SETTLED) => {
                        health.good();
                        run.await
                    }
                };
                let error = match outcome {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => describe(&*error),
                    Err(panic) => format!("panicked: {}", panic_text(&*panic)),
                };
                if cancel.is_cancelled() {
                    tracing::warn!(task = name, error, "a task failed while it was shutting down");
                    return;
                }
                tracing::error!(task = name, error, "a task failed and is started again");
                counter!("millrace_task_restarts_total", "task" => name.clone()).increment(1);
                health.failing(error);
                if started.elapsed() >= SETTLED {
                    delays = backoff::forever();
                }
                let delay = delays.next().unwrap_or(SETTLED);
                if !backoff::pause(delay, &cancel).await {
                    return;
                }
            }
        });
    }

    /// Cancels every task and waits for all tasks and activities to end, at most until
    /// `deadline` has passed. Returns the names of those still running then, each once.
    pub async fn shutdown(&self, deadline: Duration) -> Vec<String> {
        self.gate.activities.lock().closed = true;
        self.cancel.cancel();
        let drained = async {
            loop {
                let left = self.gate.left.notified();
                tokio::pin!(left);
                // Registered before looking, so that no leaving is missed in between.
                left.as_mut().enable();
                if self.gate.activities.lock().running.is_empty() {
                    return;
                }
                left.await;
            }
        };
        // Whether it drained or not is read from what is left.
        let _ = tokio::time::timeout(deadline, drained).await;
        let mut names: Vec<String> = self.gate.activities.lock().running.values().cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use event_schemas::{TestClock, Timestamp};
    use tokio::sync::mpsc;

    use super::*;
    use crate::health::Health;

    fn tasks() -> Tasks {
        Tasks::new(Arc::new(TestClock::at(Timestamp::from_millis(0))))
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_fails_or_panics_is_started_again_and_shown() {
        let tasks = tasks();
        let runs = Arc::new(AtomicU32::new(0));
        let (started, mut starts) = mpsc::unbounded_channel();
        tasks.spawn("flaky", move |cancel| {
            let (runs, started) = (runs.clone(), started.clone());
            async move {
                let run = runs.fetch_add(1, Ordering::SeqCst);
                started.send(run).unwrap();
                match run {
                    0 => Err("first".into()),
                    1 => panic!("second"),
                    _ => {
                        cancel.cancelled().await;
                        Ok(())
                    }
                }
            }
        });
        for run in 0..3 {
            assert_eq!(starts.recv().await, Some(run));
        }
        let error = "panicked: second".to_owned();
        let failing = Health::Failing { since: Timestamp::from_millis(0), error };
        assert_eq!(tasks.health().failing(), [("flaky".to_owned(), failing)]);
        tokio::time::sleep(SETTLED * 2).await;
        assert!(tasks.health().failing().is_empty(), "it runs");
        assert!(tasks.shutdown(Duration::from_secs(1)).await.is_empty());
        assert!(tasks.health().all().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_what_is_under_way_and_names_stragglers() {
        let tasks = tasks();
        tasks.spawn("obedient", |cancel| async move {
            cancel.cancelled().await;
            Ok(())
        });
        tasks.spawn("stubborn", |_| std::future::pending());
        tasks.spawn("finished", |_| async { Ok(()) });
        let request = tasks.enter("request").unwrap();
        let leaving = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(request);
        });
        assert_eq!(tasks.shutdown(Duration::from_secs(1)).await, ["stubborn"]);
        leaving.await.unwrap();
        assert!(tasks.enter("late").is_none());
    }
}
