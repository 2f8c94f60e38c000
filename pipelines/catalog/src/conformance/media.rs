//! Renditions, segments, and what of them can be asked for.

use super::*;

/// A second attempt starts afresh; what is repeated within one is left as it is.
pub async fn an_earlier_attempt_is_replaced(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let first = leased(&*catalog, &owner).await;
    let id = first.video_id;
    put_whole(&*catalog, &first, "240p", "one").await;
    put_whole(&*catalog, &first, "360p", "one").await;
    catalog.put_segments(&first, "240p", &[segment("240p", "other", 1), segment("240p", "one", 2)]).await.unwrap();
    catalog.put_rendition(&first, rendition("240p", "one")).await.unwrap();
    let before = catalog.renditions(id).await.unwrap();
    let expected: Vec<_> = (0..3).map(|number| segment("240p", "one", number)).collect();
    assert_eq!(before[1].segments, expected, "segments recorded already stay as they are");

    let second = catalog.lease_job(JobKind::Transcode, "w2", at(0) + LEASE, LEASE).await.unwrap().unwrap();
    assert_eq!(catalog.renditions(id).await.unwrap(), [], "the earlier attempt's are no longer current");
    let error = catalog.put_segments(&second, "240p", &[segment("240p", "two", 0)]).await.unwrap_err();
    assert!(matches!(error, CatalogError::NotFound("rendition")), "{error:?}");
    catalog.put_rendition(&second, rendition("240p", "two")).await.unwrap();
    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.renditions(id).await.unwrap()[0].segments, []);
    catalog.put_segments(&second, "240p", &[segment("240p", "two", 0)]).await.unwrap();
    catalog.finish_transcode(&second, result("240p", "two"), at(9)).await.unwrap();
    let renditions = catalog.renditions(id).await.unwrap();
    assert_eq!(renditions.len(), 1);
    assert_eq!(renditions[0].info, rendition("240p", "two"));
    assert_eq!(renditions[0].segments, [segment("240p", "two", 0)]);
}

/// Segments, init segments and the poster; nothing of earlier attempts or other videos.
pub async fn only_current_files_are_found(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let first = leased(&*catalog, &owner).await;
    let id = first.video_id;
    put_whole(&*catalog, &first, "240p", "one").await;
    let found = async |name: &str| catalog.media_file(id, name).await.unwrap().map(|file| file.bytes);
    assert_eq!(found("one-240p-1.m4s").await, Some(1001));
    let second = catalog.lease_job(JobKind::Transcode, "w2", at(0) + LEASE, LEASE).await.unwrap().unwrap();
    put_whole(&*catalog, &second, "240p", "two").await;
    assert_eq!(found("two-poster.jpg").await, None);
    catalog.finish_transcode(&second, result("240p", "two"), at(9)).await.unwrap();
    for (name, bytes) in [
        ("two-240p-0.m4s", Some(1000)),
        ("two-240p-1.m4s", Some(1001)),
        ("two-init-240p.mp4", Some(800)),
        ("two-poster.jpg", Some(5000)),
        ("one-240p-1.m4s", None),
        ("one-init-240p.mp4", None),
        ("two-240p-%.m4s", None),
        ("", None),
    ] {
        assert_eq!(found(name).await, bytes, "{name}");
    }
    let other = uploaded_at(&*catalog, &owner, at(10)).await;
    assert_eq!(catalog.media_file(other, "two-240p-0.m4s").await.unwrap(), None);
}

/// A video is listed for sweeping from the end of its job until it was swept.
pub async fn ended_jobs_are_swept_once(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let done = leased(&*catalog, &owner).await;
    assert_eq!(catalog.unswept_videos(at(1_000_000), 10).await.unwrap(), []);
    put_whole(&*catalog, &done, "240p", "a").await;
    catalog.finish_transcode(&done, result("240p", "a"), at(50)).await.unwrap();
    let failed = leased(&*catalog, &owner).await;
    catalog.fail_transcode(&failed, "no", at(40)).await.unwrap();
    let deleted = leased(&*catalog, &owner).await;
    catalog.fail_transcode(&deleted, "no", at(30)).await.unwrap();
    catalog.delete_video(deleted.video_id, at(31)).await.unwrap();
    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.unswept_videos(at(49), 10).await.unwrap(), [failed.video_id]);
    assert_eq!(catalog.unswept_videos(at(50), 10).await.unwrap(), [failed.video_id, done.video_id]);
    assert_eq!(catalog.unswept_videos(at(50), 1).await.unwrap(), [failed.video_id]);
    catalog.mark_swept(failed.video_id).await.unwrap();
    assert_eq!(catalog.unswept_videos(at(50), 10).await.unwrap(), [done.video_id]);
}
