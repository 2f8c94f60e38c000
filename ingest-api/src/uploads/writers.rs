//! One writer at a time for each upload; a newer one takes over.
//!
//! A client that resumes has given its old connection up, even where the server can't see that
//! yet. So a new writer stops the old one, waits until what that had received is durable, and
//! goes on from there. Across processes the catalog's offset check does the same: of two writers
//! at one offset, one wins.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use event_schemas::UploadId;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
struct Entry {
    stop: CancellationToken,
    turn: Arc<AsyncMutex<()>>,
    waiting: usize,
}

/// The writers of this process.
#[derive(Debug, Clone, Default)]
pub struct Writers(Arc<Mutex<HashMap<UploadId, Entry>>>);

/// The right to write an upload, until dropped.
#[derive(Debug)]
pub struct Writer {
    /// Cancelled when a newer writer wants to take over.
    pub stop: CancellationToken,
    upload: UploadId,
    writers: Writers,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Writers {
    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<UploadId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the present writer of `upload`, if there is one, and resolves when it has let go.
    pub async fn take_over(&self, upload: UploadId) -> Writer {
        let stop = CancellationToken::new();
        let turn = {
            let mut entries = self.entries();
            let entry = entries.entry(upload).or_default();
            entry.stop.cancel();
            entry.stop = stop.clone();
            entry.waiting += 1;
            Arc::clone(&entry.turn)
        };
        // Made before waiting, so that a caller that goes away while it waits is taken off too.
        let mut writer = Writer { stop, upload, writers: self.clone(), _turn: None };
        writer._turn = Some(turn.lock_owned().await);
        writer
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut entries = self.writers.entries();
        if let Some(entry) = entries.get_mut(&self.upload) {
            entry.waiting -= 1;
            if entry.waiting == 0 {
                entries.remove(&self.upload);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newer_writer_stops_the_older_and_waits_for_it() {
        let writers = Writers::default();
        let upload = UploadId::generate();
        let first = writers.take_over(upload).await;
        assert!(!first.stop.is_cancelled());
        let second = tokio::spawn({
            let writers = writers.clone();
            async move { writers.take_over(upload).await }
        });
        first.stop.cancelled().await;
        assert!(!second.is_finished());
        drop(first);
        let second = second.await.unwrap();
        assert!(!second.stop.is_cancelled());
        drop(second);
        assert!(writers.entries().is_empty());
    }

    #[tokio::test]
    async fn a_writer_that_stops_waiting_leaves_nothing() {
        let writers = Writers::default();
        let upload = UploadId::generate();
        let first = writers.take_over(upload).await;
        let waiting = tokio::spawn({
            let writers = writers.clone();
            async move { writers.take_over(upload).await }
        });
        first.stop.cancelled().await;
        waiting.abort();
        assert!(waiting.await.is_err());
        drop(first);
        assert!(writers.entries().is_empty());
    }
}
