//! Every call of the trait passes here: a transaction that PostgreSQL broke off for the sake of another is run
//! again as a whole, and no call outlasts its deadline. On SQLite a call is passed on as it is: its
//! transactions follow one another, and its file does not stay silent.

use std::{future::Future, io::ErrorKind, time::Duration};

use backon::{ExponentialBuilder, Retryable as _};
use metrics::counter;
use tokio::time::timeout;

use super::{SqlCatalog, transaction::code};
use crate::{CatalogError, Result};

/// How often a transaction is run again, with pauses that double from the shorter to the longer and differ
/// from one caller to the next.
const ATTEMPTS: usize = 12;
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(250));

/// Whether a transaction was broken off because of another, so that the same may succeed now.
/// 40001: serialization failure; 40P01: deadlock. Either way nothing of it was committed.
fn was_in_the_way(error: &CatalogError) -> bool {
    matches!(error, CatalogError::Database(source) if matches!(code(source).as_deref(), Some("40001" | "40P01")))
}

fn silence() -> sqlx::Error {
    sqlx::Error::Io(ErrorKind::TimedOut.into())
}

impl SqlCatalog {
    /// A call that changes nothing.
    pub(super) async fn reading<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.deadline {
            None => call.await,
            Some(deadline) => timeout(deadline, call).await.map_err(|_| CatalogError::Database(silence()))?,
        }
    }

    /// A call that makes one transaction: `call` begins it anew each time.
    pub(super) async fn writing<T, F>(&self, call: impl Fn() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let Some(deadline) = self.deadline else { return call().await };
        let pauses = ExponentialBuilder::default()
            .with_min_delay(PAUSES.0)
            .with_max_delay(PAUSES.1)
            .with_max_times(ATTEMPTS)
            .with_jitter();
        let attempts = call
            .retry(pauses)
            .when(was_in_the_way)
            .notify(|_, _| counter!("millrace_catalog_retries_total").increment(1));
        // The commit may have been on its way.
        timeout(deadline, attempts).await.map_err(|_| CatalogError::CommitUnknown(silence()))?
    }
}
