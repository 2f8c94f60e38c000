//! How long to wait between tries.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

/// Growing delays.
pub(crate) type Delays = ExponentialBackoff;

/// Delays that never end, up to ten seconds.
pub(crate) fn forever() -> Delays {
    exponential().without_max_times().build()
}

/// `times` delays.
pub(crate) fn bounded(times: usize) -> Delays {
    exponential().with_max_times(times).build()
}

fn exponential() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(10))
        .with_jitter()
}

/// Waits; false if cancelled meanwhile.
pub(crate) async fn pause(delay: Duration, cancel: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = cancel.cancelled() => false,
        () = tokio::time::sleep(delay) => true,
    }
}
