//! Removes what is no longer wanted: expired and aborted uploads, deleted videos, what failed transcoding
//! attempts left behind, expired credentials.
//!
//! Objects go first and rows last, and everything may be done twice: a crash at any step leaves the row
//! that brings the collector back. Objects go at once; rows stay for a grace period, since a worker or an
//! upload that had not yet heard of the removal may still write an object after it.

use std::{sync::Arc, time::Duration};

use catalog::{Catalog, CatalogError, Chunk, MediaFile};
use event_schemas::{Clock, Fault, Faulty, Millis, UploadId, VideoId};
use futures::{StreamExt, TryStreamExt};
use metrics::counter;
use object_store::{ObjectStore, path::Path};
use runtime::HealthHandle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    decide::{is_ripe, outside, wanted},
    tenure::Tenure,
};

/// The lease under which one collector works.
const LEASE: &str = "collector";

/// How a [`Collector`] works.
#[derive(Debug, Clone)]
pub struct CollectorConfig {
    /// Who holds the lease: stable over restarts of a process, different between processes.
    pub owner: String,
    /// How long the lease lasts unless renewed.
    pub lease: Millis,
    /// The time between two rounds when nobody wakes the collector.
    pub interval: Duration,
    /// The most items of each kind that one round looks at.
    pub batch: u32,
    /// How long rows outlive their objects: longer than a request or a job's lease lasts.
    pub grace: Millis,
}

impl CollectorConfig {
    /// A lease of a minute, a round every 30 seconds, 1000 items a round, a grace period of 15 minutes.
    #[must_use]
    pub fn new(owner: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            lease: Millis::from_secs(60),
            interval: Duration::from_secs(30),
            batch: 1000,
            grace: Millis::from_secs(900),
        }
    }
}

/// What stopped a round, or one item of it.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The catalog failed.
    #[error("the catalog failed")]
    Catalog(#[from] CatalogError),
    /// The object store failed.
    #[error("the object store failed")]
    Objects(#[from] object_store::Error),
}

impl Faulty for CollectError {
    fn fault(&self) -> Fault {
        match self {
            Self::Catalog(error) => error.fault(),
            Self::Objects(_) => Fault::Dependency,
        }
    }
}

/// What a round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Uploads that expired and were aborted.
    pub expired: u64,
    /// Objects removed.
    pub objects: u64,
    /// Aborted uploads and deleted videos of which nothing is left.
    pub forgotten: u64,
    /// Videos whose leftovers of earlier attempts are gone.
    pub swept: u64,
    /// Credentials and invitations that had expired.
    pub credentials: u64,
    /// Items that failed and are tried again in the next round.
    pub failed: u64,
}

/// Removes what is no longer wanted.
pub struct Collector {
    catalog: Arc<dyn Catalog>,
    objects: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    config: CollectorConfig,
    wake: Arc<Notify>,
}

impl Collector {
    /// A collector of what `catalog` no longer wants in `objects`.
    #[must_use]
    pub fn new(
        catalog: Arc<dyn Catalog>,
        objects: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
        config: CollectorConfig,
    ) -> Self {
        Self { catalog, objects, clock, config, wake: Arc::default() }
    }

    /// Starts a round at once when it is notified, such as after a deletion.
    #[must_use]
    pub fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// This collector's claim to the lease, for [`Self::round`].
    #[must_use]
    pub fn tenure(&self) -> Tenure {
        let (catalog, clock) = (Arc::clone(&self.catalog), Arc::clone(&self.clock));
        Tenure::new(catalog, clock, LEASE, self.config.owner.clone(), self.config.lease)
    }

    /// Collects until cancelled. What fails is tried again in the next round.
    pub async fn run(&self, health: HealthHandle, cancel: CancellationToken) {
        let mut tenure = self.tenure();
        loop {
            let round = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                // Given up half-way, it is as if the process had crashed there: harmless.
                round = self.round(&mut tenure) => round,
            };
            match round {
                Ok(Some(collected)) if collected.failed > 0 => {
                    health.failing(format!("{} items could not be collected", collected.failed));
                }
                Ok(_) => health.good(),
                Err(error) => {
                    let text = runtime::describe(&error);
                    tracing::warn!(error = text, "a round of collecting failed");
                    health.failing(text);
                }
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(self.config.interval) => {}
            }
        }
        tenure.give_up().await;
    }

    /// One round, if this collector holds the lease; none if another does or takes it meanwhile.
    ///
    /// # Errors
    /// A failing catalog ends the round; a failing object store fails the item only.
    pub async fn round(&self, tenure: &mut Tenure) -> Result<Option<Collected>, CollectError> {
        if !tenure.hold().await? {
            return Ok(None);
        }
        let (now, batch, grace) = (self.clock.now(), self.config.batch, self.config.grace);
        let mut done = Collected::default();
        for upload in self.catalog.expired_uploads(now, batch).await? {
            done.expired += u64::from(self.catalog.expire_upload(upload.id, now).await?);
        }
        for upload in self.catalog.aborted_uploads(batch).await? {
            if !tenure.hold().await? {
                return Ok(None);
            }
            let chunks = self.catalog.chunks(upload.id).await?;
            let removed = self.remove_upload(upload.id, &chunks, &mut done).await;
            // Aborting sets the expiry, so it tells when the upload was given up.
            if succeeded(removed, &mut done, "upload", &upload.id) && is_ripe(upload.expires_at, now, grace) {
                self.catalog.forget_upload(upload.id).await?;
                done.forgotten += 1;
            }
        }
        for video in self.catalog.deleted_videos(batch).await? {
            if !tenure.hold().await? {
                return Ok(None);
            }
            let chunks = self.catalog.deleted_video_chunks(video.id).await?;
            let removed = async {
                self.remove_upload(video.upload_id, &chunks, &mut done).await?;
                self.remove_under(&MediaFile::prefix(video.id), &mut done).await
            };
            let removed = removed.await;
            if succeeded(removed, &mut done, "video", &video.id) && is_ripe(video.deleted_at, now, grace) {
                self.catalog.forget_video(video.id).await?;
                done.forgotten += 1;
            }
        }
        // Only when the grace period is over: until then a fenced worker may still write.
        for video in self.catalog.unswept_videos(now - grace, batch).await? {
            if !tenure.hold().await? {
                return Ok(None);
            }
            let swept = self.sweep(video, &mut done).await;
            if succeeded(swept, &mut done, "media", &video) {
                self.catalog.mark_swept(video).await?;
                done.swept += 1;
            }
        }
        done.credentials = self.catalog.delete_expired_credentials(now, batch).await?;
        count(&done);
        Ok(Some(done))
    }

    /// Removes an upload's chunk objects, those that were never recorded among them.
    async fn remove_upload(&self, id: UploadId, chunks: &[Chunk], done: &mut Collected) -> Result<(), CollectError> {
        let prefix = Chunk::prefix(id);
        let elsewhere: Vec<_> = outside(chunks, &prefix).into_iter().map(|key| Ok(Path::from(key))).collect();
        self.remove(futures::stream::iter(elsewhere).boxed(), done).await?;
        self.remove_under(&prefix, done).await
    }

    async fn remove_under(&self, prefix: &str, done: &mut Collected) -> Result<(), CollectError> {
        let found = self.objects.list(Some(&Path::from(prefix))).map_ok(|object| object.location);
        self.remove(found.boxed(), done).await
    }

    /// Removes the media objects of a video whose job has ended that it is not made of.
    async fn sweep(&self, video: VideoId, done: &mut Collected) -> Result<(), CollectError> {
        let renditions = self.catalog.renditions(video).await?;
        // Deleted meanwhile: then everything goes, in the next round.
        let Some(row) = self.catalog.video(video).await? else { return Ok(()) };
        let wanted = wanted(&renditions, row.poster.as_deref());
        let prefix = Path::from(MediaFile::prefix(video));
        let orphans = self.objects.list(Some(&prefix)).map_ok(|object| object.location).try_filter(move |location| {
            let is_wanted = location.filename().is_some_and(|name| wanted.contains(name));
            std::future::ready(!is_wanted)
        });
        self.remove(orphans.boxed(), done).await
    }

    async fn remove(
        &self,
        locations: futures::stream::BoxStream<'static, object_store::Result<Path>>,
        done: &mut Collected,
    ) -> Result<(), CollectError> {
        let mut removed = self.objects.delete_stream(locations);
        let mut failure = None;
        while let Some(result) = removed.next().await {
            match result {
                Ok(_) => done.objects += 1,
                Err(object_store::Error::NotFound { .. }) => {}
                // The others go all the same; the row stays for the next round.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Whether an item's objects are gone; a failure is logged and counted.
fn succeeded(result: Result<(), CollectError>, done: &mut Collected, what: &str, id: &dyn std::fmt::Display) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(what, %id, error = runtime::describe(&error), "objects could not be removed yet");
            done.failed += 1;
            false
        }
    }
}

fn count(done: &Collected) {
    for (what, number) in [
        ("expired_upload", done.expired),
        ("object", done.objects),
        ("row", done.forgotten),
        ("credential", done.credentials),
    ] {
        counter!("millrace_collected_total", "what" => what).increment(number);
    }
}
