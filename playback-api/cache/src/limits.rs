//! Rate limits by the generic cell rate algorithm, in bounded memory.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Duration};

use event_schemas::{Clock, Millis};
use governor::{
    RateLimiter, clock::Clock as GovernorClock, middleware::NoOpMiddleware, nanos::Nanos, state::StateStore,
};
use parking_lot::Mutex;

use crate::{Quota, RateDecision, elapsed::Monotonic};

/// The most buckets remembered for each quota.
pub(crate) const BUCKETS: usize = 65_536;

type Limiter = RateLimiter<String, Buckets, Monotonic, NoOpMiddleware<Duration>>;

/// A limiter for each quota in use. Quotas are constants of the program or its configuration, so
/// there are few.
pub(crate) struct Limits {
    clock: Monotonic,
    buckets: usize,
    limiters: Mutex<HashMap<Quota, Arc<Limiter>>>,
}

impl Limits {
    pub(crate) fn new(clock: Arc<dyn Clock>, buckets: usize) -> Self {
        let clock = Monotonic::new(clock);
        Self { clock, buckets, limiters: Mutex::default() }
    }

    pub(crate) fn take(&self, bucket: &str, quota: Quota) -> RateDecision {
        let limiter = Arc::clone(self.limiters.lock().entry(quota).or_insert_with(|| {
            Arc::new(RateLimiter::new(by_governor(quota), Buckets::new(self.buckets), self.clock.clone()))
        }));
        match limiter.check_key(&bucket.to_owned()) {
            Ok(()) => RateDecision::Allowed,
            Err(until) => {
                let wait = until.wait_time_from(self.clock.now());
                let millis = i64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
                RateDecision::Denied { retry_after: Millis(millis.max(1)) }
            }
        }
    }
}

fn by_governor(quota: Quota) -> governor::Quota {
    let burst = NonZeroU32::new(quota.burst).unwrap_or(NonZeroU32::MIN);
    let each = (Millis(quota.per.0.max(1)).to_duration() / burst.get()).max(Duration::from_nanos(1));
    // A period is refused only when it is zero, which it can't be.
    governor::Quota::with_period(each).map_or(governor::Quota::per_second(burst), |quota| quota.allow_burst(burst))
}

impl GovernorClock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.passed()
    }
}

/// When each bucket will be full again. Over `limit` the eighth that is full again soonest is
/// forgotten: those lose the least, most of them nothing.
struct Buckets {
    limit: usize,
    full_at: Mutex<HashMap<String, Nanos>>,
}

impl Buckets {
    fn new(limit: usize) -> Self {
        Self { limit: limit.max(8), full_at: Mutex::default() }
    }
}

impl StateStore for Buckets {
    type Key = String;

    fn measure_and_replace<T, F, E>(&self, key: &String, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut full_at = self.full_at.lock();
        let (decision, next) = decide(full_at.get(key).copied())?;
        if full_at.insert(key.clone(), next).is_none() && full_at.len() > self.limit {
            let mut times: Vec<Nanos> = full_at.values().copied().collect();
            let (_, border, _) = times.select_nth_unstable(self.limit / 8);
            let border = *border;
            let mut at_border = full_at.len() - self.limit + self.limit / 8;
            full_at.retain(|_, at| {
                let forget = *at <= border && at_border > 0;
                at_border -= usize::from(forget);
                !forget
            });
        }
        Ok(decision)
    }
}

#[cfg(test)]
mod tests {
    use event_schemas::{TestClock, Timestamp};

    use super::*;

    const QUOTA: Quota = Quota { burst: 2, per: Millis::from_secs(10) };

    fn denied(seconds: i64) -> RateDecision {
        RateDecision::Denied { retry_after: Millis::from_secs(seconds) }
    }

    #[test]
    fn a_bucket_empties_and_fills_up_evenly() {
        let clock = Arc::new(TestClock::default());
        let limits = Limits::new(Arc::clone(&clock) as _, BUCKETS);
        assert_eq!([0; 3].map(|_| limits.take("a", QUOTA)), [RateDecision::Allowed, RateDecision::Allowed, denied(5)]);
        assert_eq!(limits.take("b", QUOTA), RateDecision::Allowed, "another bucket");
        assert_eq!(limits.take("a", Quota { burst: 3, ..QUOTA }), RateDecision::Allowed, "another quota");
        clock.advance(Millis(4_999));
        assert_eq!(limits.take("a", QUOTA), RateDecision::Denied { retry_after: Millis(1) });
        clock.advance(Millis(1));
        assert_eq!([0; 2].map(|_| limits.take("a", QUOTA)), [RateDecision::Allowed, denied(5)]);
        clock.advance(Millis::from_days(1));
        assert_eq!([0; 3].map(|_| limits.take("a", QUOTA)), [RateDecision::Allowed, RateDecision::Allowed, denied(5)]);
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(86_400_000)));
        let limits = Limits::new(Arc::clone(&clock) as _, BUCKETS);
        let _ = [0; 2].map(|_| limits.take("a", QUOTA));
        clock.advance(Millis::from_secs(-3600));
        assert_eq!(limits.take("a", QUOTA), denied(5));
        clock.advance(Millis::from_secs(5));
        assert_eq!(limits.take("a", QUOTA), RateDecision::Allowed);
    }

    #[test]
    fn a_flood_of_buckets_does_not_free_the_one_that_is_empty() {
        let clock = Arc::new(TestClock::default());
        let limits = Limits::new(Arc::clone(&clock) as _, 64);
        let quota = Quota { burst: 10, per: Millis::from_secs(3600) };
        while limits.take("guessing", quota) == RateDecision::Allowed {}
        for n in 0..10_000 {
            assert_eq!(limits.take(&format!("flood {n}"), quota), RateDecision::Allowed);
        }
        assert!(matches!(limits.take("guessing", quota), RateDecision::Denied { .. }));
        let limiters = limits.limiters.lock();
        assert_eq!(limiters.len(), 1);
    }

    #[test]
    fn buckets_are_bounded() {
        let buckets = Buckets::new(64);
        for n in 0..1000_u64 {
            let full_at = Nanos::new(n % 3);
            let _: Result<(), ()> = buckets.measure_and_replace(&n.to_string(), |_| Ok(((), full_at)));
            assert!(buckets.full_at.lock().len() <= 64);
        }
        assert!(buckets.full_at.lock().len() > 32, "forgot more than it must");
    }

    #[test]
    fn odd_quotas_are_taken_as_the_least() {
        let limits = Limits::new(Arc::new(TestClock::default()), BUCKETS);
        let odd = Quota { burst: 0, per: Millis(0) };
        assert_eq!(limits.take("a", odd), RateDecision::Allowed);
        assert_eq!(limits.take("a", odd), RateDecision::Denied { retry_after: Millis(1) });
        let many = Quota { burst: u32::MAX, per: Millis(1) };
        assert_eq!(limits.take("a", many), RateDecision::Allowed);
    }
}
