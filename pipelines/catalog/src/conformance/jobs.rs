//! Jobs: leasing, fencing, their ends.

use std::collections::BTreeMap;

use event_schemas::records::{PlaybackState, TranscodeStep};

use super::*;

/// Sixteen workers, some through a second connection to the store, never get the same job.
pub async fn each_job_is_leased_once(backend: &dyn Backend) {
    let catalogs = [backend.open().await, backend.open().await];
    let owner = creator(&*catalogs[0], "alice").await;
    for _ in 0..24 {
        uploaded_at(&*catalogs[0], &owner, at(0)).await;
    }
    let leases = together(16, |number| {
        let catalog = Arc::clone(&catalogs[number % 2]);
        async move {
            let mut mine = Vec::new();
            let name = format!("worker-{number}");
            while let Some(job) = catalog.lease_job(JobKind::Transcode, &name, at(1), LEASE).await.unwrap() {
                assert_eq!((job.owner.as_deref(), job.state), (Some(name.as_str()), JobState::Leased));
                mine.push(job);
            }
            mine
        }
    })
    .await;
    let mut times = BTreeMap::new();
    for job in leases.into_iter().flatten() {
        assert_eq!((job.epoch, job.attempt, job.leased_until), (1, 1, Some(at(1) + LEASE)));
        *times.entry(job.video_id).or_insert(0) += 1;
    }
    assert_eq!(times.len(), 24);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

/// The oldest first; a released one not before its time; one whose lease has run out again.
pub async fn jobs_are_leased_oldest_first_when_due(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let lease = async |now| catalog.lease_job(JobKind::Transcode, "w", at(now), LEASE).await.unwrap();
    assert_eq!(lease(0).await, None);
    let second = uploaded_at(&*catalog, &owner, at(20)).await;
    let first = uploaded_at(&*catalog, &owner, at(10)).await;
    let job = lease(30).await.unwrap();
    assert_eq!(job.video_id, first);
    catalog.release_job(job.id, job.epoch, at(500)).await.unwrap();
    let other = lease(30).await.unwrap();
    assert_eq!(other.video_id, second);
    assert_eq!(lease(499).await, None);
    let again = lease(500).await.unwrap();
    assert_eq!((again.video_id, again.epoch, again.attempt), (first, 2, 2));
    catalog.heartbeat_job(other.id, other.epoch, at(100_000)).await.unwrap();
    assert_eq!(lease(500 + LEASE.0 - 1).await, None);
    let taken = lease(500 + LEASE.0).await.unwrap();
    assert_eq!((taken.video_id, taken.epoch, taken.attempt), (first, 3, 3));
    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.jobs_of_video(first).await.unwrap(), [taken]);
}

/// Nothing the earlier holder does is written.
pub async fn a_takeover_fences_the_earlier_holder(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let stale = leased(&*catalog, &owner).await;
    let later = at(0) + LEASE;
    let fresh = catalog.lease_job(JobKind::Transcode, "worker-2", later, LEASE).await.unwrap().unwrap();
    assert_eq!((fresh.id, fresh.epoch), (stale.id, stale.epoch + 1));
    put_whole(&*catalog, &fresh, "240p", "new").await;
    drain(&*catalog).await;
    let id = stale.video_id;
    let (video, renditions) = (catalog.video(id).await.unwrap(), catalog.renditions(id).await.unwrap());
    for error in [
        catalog.heartbeat_job(stale.id, stale.epoch, at(900_000)).await.unwrap_err(),
        catalog.release_job(stale.id, stale.epoch, later).await.unwrap_err(),
        catalog.set_source_info(&stale, source(), later).await.unwrap_err(),
        catalog.set_progress(&stale, 50).await.unwrap_err(),
        catalog.put_rendition(&stale, rendition("240p", "old")).await.unwrap_err(),
        catalog.put_segments(&stale, "240p", &[segment("240p", "old", 2)]).await.unwrap_err(),
        catalog.finish_transcode(&stale, result("240p", "old"), later).await.unwrap_err(),
        catalog.fail_transcode(&stale, "no", later).await.unwrap_err(),
    ] {
        assert!(matches!(error, CatalogError::Fenced), "{error:?}");
    }
    assert_eq!(catalog.video(id).await.unwrap(), video);
    assert_eq!(catalog.renditions(id).await.unwrap(), renditions);
    assert_eq!(catalog.jobs_of_video(id).await.unwrap(), std::slice::from_ref(&fresh));
    assert_eq!(catalog.outbox(10).await.unwrap(), []);
    catalog.finish_transcode(&fresh, result("240p", "new"), later).await.unwrap();
    let again = catalog.finish_transcode(&fresh, result("240p", "new"), later).await.unwrap_err();
    assert!(matches!(again, CatalogError::Fenced), "{again:?}");
}

fn source() -> SourceInfo {
    SourceInfo {
        format: "mov,mp4".into(),
        duration: Millis(8123),
        video_codec: Some("h264".into()),
        audio_codec: None,
        width: Some(1920),
        height: Some(1080),
        frame_rate: Some(23.976),
    }
}

/// Video, renditions, job and outbox change together.
pub async fn a_finished_job_publishes_its_video(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let job = leased(&*catalog, &owner).await;
    let id = job.video_id;
    drain(&*catalog).await;
    catalog.set_source_info(&job, source(), at(1)).await.unwrap();
    for name in ["audio", "240p", "720p", "1080p"] {
        put_whole(&*catalog, &job, name, "a").await;
    }
    assert_eq!(catalog.list_videos(VideoFilter::Listed, None, 9).await.unwrap(), []);
    let unknown = TranscodeResult { renditions: vec!["240p".into(), "4320p".into()], ..result("240p", "a") };
    let error = catalog.finish_transcode(&job, unknown, at(70)).await.unwrap_err();
    assert!(matches!(error, CatalogError::NotFound("rendition")), "{error:?}");
    assert!(catalog.renditions(id).await.unwrap().iter().all(|rendition| !rendition.complete));

    let made = ["240p", "720p", "audio"].map(String::from).to_vec();
    let done =
        catalog.finish_transcode(&job, TranscodeResult { renditions: made, ..result("", "a") }, at(77)).await.unwrap();
    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.video(id).await.unwrap(), Some(done.clone()));
    assert_eq!((done.playback, done.progress, done.duration), (PlaybackState::Ready, 100, Some(Millis(8000))));
    assert_eq!((done.published_at, done.source), (Some(at(77)), Some(source())));
    assert_eq!(done.poster.as_deref(), Some("a-poster.jpg"));
    assert_eq!(catalog.list_videos(VideoFilter::Listed, None, 9).await.unwrap().len(), 1);
    let renditions = catalog.renditions(id).await.unwrap();
    let names: Vec<_> = renditions.iter().map(|rendition| rendition.info.name.as_str()).collect();
    assert_eq!(names, ["720p", "240p", "audio"]);
    for found in &renditions {
        let name = found.info.name.as_str();
        assert_eq!(found.info, rendition(name, "a"));
        assert!(found.complete);
        assert_eq!(found.segments, [segment(name, "a", 0), segment(name, "a", 1)]);
    }
    let job_now = &catalog.jobs_of_video(id).await.unwrap()[0];
    assert_eq!((job_now.state, job_now.leased_until), (JobState::Done, None));
    let told = drain(&*catalog).await;
    let [Told::Transcode(step), Told::Video(video)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((step.epoch, step.at), (job.epoch, at(77)));
    assert_eq!(step.step, TranscodeStep::Ready { duration: Millis(8000) });
    assert!(video.is_listed() && video.version == done.version && video.published_at == Some(at(77)));
}

/// The owner can read why; nothing of the attempt can be played.
pub async fn a_failed_job_says_why(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let job = leased(&*catalog, &owner).await;
    drain(&*catalog).await;
    put_whole(&*catalog, &job, "240p", "a").await;
    let failed = catalog.fail_transcode(&job, "this is no video", at(5)).await.unwrap();
    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.video(job.video_id).await.unwrap(), Some(failed.clone()));
    assert_eq!((failed.playback, failed.failure.as_deref()), (PlaybackState::Failed, Some("this is no video")));
    assert_eq!(catalog.renditions(job.video_id).await.unwrap(), []);
    assert_eq!(catalog.media_file(job.video_id, "a-240p-0.m4s").await.unwrap(), None);
    assert_eq!(catalog.jobs_of_video(job.video_id).await.unwrap()[0].state, JobState::Failed);
    assert_eq!(catalog.lease_job(JobKind::Transcode, "w", at(1_000_000), LEASE).await.unwrap(), None);
    let told = drain(&*catalog).await;
    let [Told::Transcode(step), Told::Video(video)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(step.step, TranscodeStep::Failed { reason: "this is no video".into() });
    assert_eq!((video.playback, video.version), (PlaybackState::Failed, failed.version));
}

/// Progress is for those who look; it is neither told nor a change of the video.
pub async fn progress_is_no_new_version(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let job = leased(&*catalog, &owner).await;
    drain(&*catalog).await;
    let before = catalog.video(job.video_id).await.unwrap().unwrap();
    for (percent, shown) in [(41, 41), (200, 100)] {
        catalog.set_progress(&job, percent).await.unwrap();
        let video = catalog.video(job.video_id).await.unwrap().unwrap();
        assert_eq!((video.progress, video.version), (shown, before.version));
    }
    assert_eq!(catalog.outbox(10).await.unwrap(), []);
}

/// The end of a job and the deletion of its video at the same moment: the deletion always happens, and its record
/// is the last and has the highest version.
pub async fn an_end_and_a_deletion_do_not_cross(backend: &dyn Backend) {
    let catalogs = [backend.open().await, backend.open().await];
    let owner = creator(&*catalogs[0], "alice").await;
    for round in 0..10 {
        let job = leased(&*catalogs[0], &owner).await;
        put_whole(&*catalogs[0], &job, "240p", "x").await;
        drain(&*catalogs[0]).await;
        let results = together(3, |number| {
            let (catalog, job) = (Arc::clone(&catalogs[number % 2]), job.clone());
            async move {
                match number {
                    0 if round % 2 == 0 => catalog.finish_transcode(&job, result("240p", "x"), at(5)).await.map(|_| ()),
                    0 => catalog.fail_transcode(&job, "no", at(5)).await.map(|_| ()),
                    1 => catalog.delete_video(job.video_id, at(5)).await,
                    _ => catalog.set_progress(&job, 50).await,
                }
            }
        })
        .await;
        results[1].as_ref().unwrap();
        for result in [&results[0], &results[2]] {
            assert!(matches!(result, Ok(()) | Err(CatalogError::Fenced)), "{result:?}");
        }
        assert_eq!(catalogs[0].video(job.video_id).await.unwrap(), None);
        let told = drain(&*catalogs[0]).await;
        assert_eq!(told.len(), if results[0].is_ok() { 3 } else { 1 }, "{told:?}");
        let videos: Vec<_> = told
            .into_iter()
            .filter_map(|told| if let Told::Video(record) = told { Some(record) } else { None })
            .collect();
        assert!(videos.is_sorted_by(|a, b| a.version < b.version), "{videos:?}");
        assert!(videos.last().unwrap().deleted, "{videos:?}");
    }
}
