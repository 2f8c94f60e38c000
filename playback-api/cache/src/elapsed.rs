//! Time that only passes, taken from a wall clock that may be set.

use std::{sync::Arc, time::Duration};

use event_schemas::{Clock, Timestamp};
use parking_lot::Mutex;

/// The time passed by a wall clock that may be set: a step back counts as no time, so that nobody
/// is locked out until the clock has caught up.
#[derive(Clone)]
pub(crate) struct Monotonic(Arc<Elapsed>);

struct Elapsed {
    clock: Arc<dyn Clock>,
    state: Mutex<(Timestamp, Duration)>,
}

impl Monotonic {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Elapsed { state: Mutex::new((clock.now(), Duration::ZERO)), clock }))
    }

    /// The time passed since this was made.
    pub(crate) fn passed(&self) -> Duration {
        let mut state = self.0.state.lock();
        let now = self.0.clock.now();
        let passed = u64::try_from(now.as_micros().saturating_sub(state.0.as_micros())).unwrap_or(0);
        *state = (now, state.1.saturating_add(Duration::from_micros(passed)));
        state.1
    }
}
