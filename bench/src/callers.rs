//! Callers that work one after another: each waits for its acknowledgement before it appends again
//! (a closed loop), so their number is the number of requests under way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, task::JoinSet};

use crate::machine::{CpuSeconds, Meter};

/// How long callers work.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Plan {
    /// Concurrent callers.
    pub callers: usize,
    /// Seconds of work before the measurement.
    pub warm_up: f64,
    /// The measurement ends after so many seconds,
    pub seconds: f64,
    /// or so many calls, whichever comes first.
    pub calls: u64,
}

/// What was measured of calls.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Calls {
    /// Calls that succeeded.
    pub calls: u64,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Time from call to answer, milliseconds.
    pub latency: Latency,
    /// Processor time meanwhile.
    pub cpu: CpuSeconds,
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the calls were at most as slow.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

struct State {
    phase: AtomicU8,
    next: AtomicU64,
    done: AtomicU64,
    limit: u64,
    /// The limit is reached, or a caller has failed.
    over: Notify,
}

/// Has `plan.callers` callers do `call`, which is given the number of the call, and measures it.
///
/// Counted is what ends within the time measured; latencies are of what begins in it.
///
/// # Errors
/// The first error of a call.
pub async fn work<F, R>(plan: Plan, meter: &Meter, call: F) -> anyhow::Result<Calls>
where
    F: Fn(u64) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = anyhow::Result<()>> + Send,
{
    let state = Arc::new(State {
        phase: AtomicU8::new(WARM_UP),
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        limit: plan.calls,
        over: Notify::new(),
    });
    let mut callers = JoinSet::new();
    for _ in 0..plan.callers {
        let (state, call) = (state.clone(), call.clone());
        callers.spawn(async move {
            let outcome = caller(&state, &call).await;
            if outcome.is_err() {
                state.over.notify_one();
            }
            outcome
        });
    }
    tokio::select! {
        () = state.over.notified() => {}
        () = tokio::time::sleep(Duration::from_secs_f64(plan.warm_up)) => {
            let (cpu, began) = (meter.read()?, Instant::now());
            state.phase.store(MEASURE, Ordering::Release);
            // A limit that is reached or an error ends the wait.
            let _ = tokio::time::timeout(Duration::from_secs_f64(plan.seconds), state.over.notified()).await;
            state.phase.store(STOP, Ordering::Release);
            let (seconds, cpu) = (began.elapsed().as_secs_f64(), meter.since(cpu)?);
            let calls = state.done.load(Ordering::Acquire);
            let latency = join(callers).await?;
            return Ok(Calls { calls, seconds, latency: quantiles(&latency), cpu });
        }
    }
    state.phase.store(STOP, Ordering::Release);
    join(callers).await?;
    anyhow::bail!("the calls ended while warming up")
}

async fn caller<F, R>(state: &State, call: &F) -> anyhow::Result<Histogram<u64>>
where
    F: Fn(u64) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    // Microseconds up to ten minutes, to three digits.
    let mut latency = Histogram::new_with_bounds(1, 600_000_000, 3)?;
    loop {
        let phase = state.phase.load(Ordering::Acquire);
        if phase == STOP {
            return Ok(latency);
        }
        let began = Instant::now();
        call(state.next.fetch_add(1, Ordering::Relaxed)).await?;
        if phase == MEASURE {
            latency.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1));
        }
        if state.phase.load(Ordering::Acquire) == MEASURE
            && state.done.fetch_add(1, Ordering::AcqRel) + 1 == state.limit
        {
            state.phase.store(STOP, Ordering::Release);
            state.over.notify_one();
        }
    }
}

async fn join(mut callers: JoinSet<anyhow::Result<Histogram<u64>>>) -> anyhow::Result<Histogram<u64>> {
    let mut all = Histogram::new_with_bounds(1, 600_000_000, 3)?;
    while let Some(ended) = callers.join_next().await {
        all.add(ended.context("a caller was broken off")??)?;
    }
    Ok(all)
}

fn quantiles(latency: &Histogram<u64>) -> Latency {
    let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
    Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: latency.max() as f64 / 1000.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { callers: 4, warm_up: 0.0, seconds: 600.0, calls: 1000 };

    #[tokio::test]
    async fn the_limit_of_calls_ends_the_work() {
        let meter = Meter::new(&[]).unwrap();
        let made = Arc::new(AtomicU64::new(0));
        let call = {
            let made = made.clone();
            move |_| {
                let made = made.clone();
                async move {
                    made.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok(())
                }
            }
        };
        let calls = work(PLAN, &meter, call).await.unwrap();
        assert_eq!(calls.calls, PLAN.calls);
        // Each caller may have been in one more, and some came before the measurement.
        assert!(made.load(Ordering::SeqCst) >= PLAN.calls);
        assert!(calls.latency.p50 <= calls.latency.p99 && calls.latency.p99 <= calls.latency.max);
    }

    #[tokio::test]
    async fn an_error_ends_the_work() {
        let meter = Meter::new(&[]).unwrap();
        let call = |n| async move { if n == 77 { anyhow::bail!("the seventy-eighth") } else { Ok(()) } };
        // Calls that never wait would keep the others from running.
        let call = move |n| async move {
            tokio::task::yield_now().await;
            call(n).await
        };
        let error = work(PLAN, &meter, call).await.unwrap_err();
        assert!(error.to_string().contains("seventy-eighth"), "{error}");
    }
}
