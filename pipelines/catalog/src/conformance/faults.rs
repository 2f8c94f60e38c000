//! Callers of a catalog that fails: who reads again after an unknown outcome never applies twice.

use event_schemas::records::{PlaybackState, UploadState};

use super::*;
use crate::failing::{FailingCatalog, FailurePlan};

const SEEDS: std::ops::Range<u64> = 0..12;

const fn plan(seed: u64) -> FailurePlan {
    FailurePlan { seed, before: 0.2, after: 0.2 }
}

/// Repeats a read until it succeeds.
async fn persist<T, F: Future<Output = crate::Result<T>>>(mut call: impl FnMut() -> F) -> T {
    loop {
        match call().await {
            Ok(value) => break value,
            Err(error) => assert!(event_schemas::Faulty::is_retryable(&error), "{error:?}"),
        }
    }
}

/// Uploads through failures: every byte once, one job, each record once.
pub async fn an_upload_through_failures_is_exact(backend: &dyn Backend) {
    let inner = backend.open().await;
    let owner = creator(&*inner, "alice").await;
    let mut injected = 0;
    for seed in SEEDS {
        let catalog = FailingCatalog::new(Arc::clone(&inner), plan(seed));
        let new = new_upload(&owner, Some(80), at(0));
        let id = new.id;
        loop {
            match catalog.create_upload(new.clone()).await {
                Ok(_) => break,
                Err(error) if error.is_unknown_outcome() && persist(|| catalog.upload(id)).await.is_some() => break,
                Err(error) => assert!(event_schemas::Faulty::is_retryable(&error), "{error:?}"),
            }
        }
        let mut acknowledged = Vec::new();
        while acknowledged.len() < 8 {
            let piece = chunk(id, acknowledged.len() as u64 * 10, 10);
            match catalog.append_chunk(id, piece.clone(), at(1), at(500)).await {
                Ok(_) => acknowledged.push(piece),
                Err(error) if error.is_unknown_outcome() => {
                    // Written or not? The chunk list knows, by the key that only this call had.
                    if persist(|| catalog.chunks(id)).await.contains(&piece) {
                        acknowledged.push(piece);
                    }
                }
                Err(error) => assert!(event_schemas::Faulty::is_retryable(&error), "{error:?}"),
            }
        }
        injected += catalog.failed();
        let upload = inner.upload(id).await.unwrap().unwrap();
        assert_eq!((upload.state, upload.offset), (UploadState::Complete, 80), "seed {seed}");
        assert_eq!(inner.chunks(id).await.unwrap(), acknowledged, "seed {seed}");
        assert_eq!(inner.jobs_of_video(upload.video_id).await.unwrap().len(), 1, "seed {seed}");
        assert_eq!(drain(&*inner).await.len(), 2, "seed {seed}");
    }
    assert!(injected > 20, "{injected} failures were injected");
}

/// A worker through failures: one end of the job, one record of it, the segments exactly.
pub async fn a_transcode_through_failures_ends_once(backend: &dyn Backend) {
    let inner = backend.open().await;
    let owner = creator(&*inner, "alice").await;
    for seed in SEEDS {
        let id = uploaded_at(&*inner, &owner, at(0)).await;
        drain(&*inner).await;
        let catalog = FailingCatalog::new(Arc::clone(&inner), plan(seed));
        // A lease whose reply was lost runs out and is taken again under a later epoch.
        let mut now = at(1);
        let job = loop {
            match catalog.lease_job(JobKind::Transcode, "w", now, LEASE).await {
                Ok(Some(job)) => break job,
                Ok(None) => panic!("the job is lost"),
                Err(_) => now = now + LEASE,
            }
        };
        persist(|| catalog.put_rendition(&job, rendition("240p", "a"))).await;
        for number in 0..4 {
            persist(|| async { catalog.put_segments(&job, "240p", &[segment("240p", "a", number)]).await }).await;
        }
        loop {
            match catalog.finish_transcode(&job, result("240p", "a"), now).await {
                Ok(_) => break,
                Err(CatalogError::Fenced) => panic!("finished twice, or lost"),
                Err(error) if error.is_unknown_outcome() => {
                    let jobs = persist(|| catalog.jobs_of_video(id)).await;
                    if jobs[0].state == JobState::Done && jobs[0].epoch == job.epoch {
                        break;
                    }
                }
                Err(_) => {}
            }
        }
        assert_eq!(inner.video(id).await.unwrap().unwrap().playback, PlaybackState::Ready);
        assert_eq!(inner.renditions(id).await.unwrap()[0].segments.len(), 4);
        assert_eq!(drain(&*inner).await.len(), 2, "seed {seed}");
    }
}

/// An error that is not an unknown outcome has changed nothing.
pub async fn a_failure_before_the_call_changes_nothing(backend: &dyn Backend) {
    let inner = backend.open().await;
    let owner = creator(&*inner, "alice").await;
    let job = leased(&*inner, &owner).await;
    let before = (inner.video(job.video_id).await.unwrap(), inner.outbox(10).await.unwrap());
    let catalog = FailingCatalog::new(Arc::clone(&inner), FailurePlan { seed: 1, before: 1.0, after: 0.0 });
    for error in [
        catalog.delete_video(job.video_id, at(1)).await.unwrap_err(),
        catalog.set_progress(&job, 7).await.unwrap_err(),
        catalog.outbox_delivered(&[before.1[0].id]).await.unwrap_err(),
    ] {
        assert!(matches!(error, CatalogError::Database(_)) && !error.is_unknown_outcome(), "{error:?}");
    }
    assert_eq!(catalog.failed(), 3);
    assert_eq!((inner.video(job.video_id).await.unwrap(), inner.outbox(10).await.unwrap()), before);
}
