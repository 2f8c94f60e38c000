//! Waiting for what a test can observe. There is no fixed sleep anywhere: a condition is looked
//! at again and again until it holds, and a test that waits in vain says for what.

use std::{fmt::Display, time::Duration};

use tokio::time::Instant;

/// Patience for what takes the program moments, on a machine that is busy with other things.
pub const SHORT: Duration = Duration::from_secs(30);
/// Patience for what takes it seconds, such as transcoding.
pub const LONG: Duration = Duration::from_secs(120);

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Looks until `look` returns what it waits for; `Err` says what is there instead.
pub async fn wait_until<T>(
    what: impl Display,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if Instant::now() >= deadline => {
                panic!("waited {patience:?} in vain until {what}; at last: {seen}")
            }
            Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// `Ok` if the condition holds; else what is there instead.
pub fn holds(condition: bool, seen: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(seen()) }
}
