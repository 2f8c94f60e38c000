//! Uploads and their chunks.

use event_schemas::records::{PlaybackState, UploadState};

use super::*;

/// Chunks are recorded in order and move the offset and the expiry.
pub async fn chunks_advance_an_upload(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let upload = start_upload(&*catalog, &owner, 100).await;
    assert_eq!(catalog.upload(upload.id).await.unwrap(), Some(upload.clone()));
    let (first, second) = (chunk(upload.id, 0, 30), chunk(upload.id, 30, 40));
    catalog.append_chunk(upload.id, first.clone(), at(1), at(500)).await.unwrap();
    let catalog = backend.reopen(catalog).await;
    let after = catalog.append_chunk(upload.id, second.clone(), at(2), at(600)).await.unwrap();
    assert_eq!(after, Upload { offset: 70, expires_at: at(600), ..upload.clone() });
    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.upload(upload.id).await.unwrap(), Some(after.clone()));
    assert_eq!(catalog.upload_of_video(upload.video_id).await.unwrap(), Some(after.clone()));
    assert_eq!(catalog.chunks(upload.id).await.unwrap(), [first, second]);
    assert_eq!(catalog.unfinished_uploads(owner.id, 10).await.unwrap(), [after]);
    let video = catalog.video(upload.video_id).await.unwrap().unwrap();
    assert_eq!((video.upload, video.playback), (UploadState::Receiving, PlaybackState::None));
    assert_eq!((video.title.as_str(), video.tags.len()), ("A clip", 2));
    assert_eq!(video.description, "of \"quotes\", 'quotes' and 東京");
    assert_eq!(catalog.outbox(10).await.unwrap(), []);

    let again = NewUpload { id: upload.id, ..new_upload(&owner, None, at(0)) };
    assert!(matches!(catalog.create_upload(again).await, Err(CatalogError::Conflict(_))));
    let stranger = NewUpload { owner: event_schemas::AccountId::generate(), ..new_upload(&owner, None, at(0)) };
    assert!(matches!(catalog.create_upload(stranger).await, Err(CatalogError::NotFound("account"))));
}

/// A chunk that does not continue the upload changes nothing, even one that was recorded already.
pub async fn a_chunk_out_of_place_is_refused(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let upload = start_upload(&*catalog, &owner, 100).await;
    let first = chunk(upload.id, 0, 30);
    let before = catalog.append_chunk(upload.id, first.clone(), at(1), at(500)).await.unwrap();
    for wrong in [first.clone(), chunk(upload.id, 29, 10), chunk(upload.id, 31, 10)] {
        let given = wrong.start;
        let error = catalog.append_chunk(upload.id, wrong, at(2), at(900)).await.unwrap_err();
        assert!(matches!(error, CatalogError::OffsetMismatch { actual: 30, given: g } if g == given), "{error:?}");
    }
    for wrong in [chunk(upload.id, 30, 71), chunk(upload.id, 30, 0)] {
        let error = catalog.append_chunk(upload.id, wrong, at(2), at(900)).await.unwrap_err();
        assert!(matches!(error, CatalogError::WrongState(_)), "{error:?}");
    }
    let unknown = catalog.append_chunk(UploadId::generate(), first.clone(), at(2), at(900)).await.unwrap_err();
    assert!(matches!(unknown, CatalogError::NotFound("upload")), "{unknown:?}");
    assert_eq!(catalog.upload(upload.id).await.unwrap(), Some(before));
    assert_eq!(catalog.chunks(upload.id).await.unwrap(), [first]);
}

/// Upload, video, job and outbox, all or nothing.
pub async fn the_last_chunk_completes_everything_at_once(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let upload = start_upload(&*catalog, &owner, 100).await;
    catalog.append_chunk(upload.id, chunk(upload.id, 0, 60), at(1), at(500)).await.unwrap();
    assert_eq!(catalog.jobs_of_video(upload.video_id).await.unwrap(), []);
    let done = catalog.append_chunk(upload.id, chunk(upload.id, 60, 40), at(7), at(500)).await.unwrap();
    assert_eq!((done.state, done.offset), (UploadState::Complete, 100));

    let catalog = backend.reopen(catalog).await;
    let jobs = catalog.jobs_of_video(upload.video_id).await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!((jobs[0].state, jobs[0].epoch, jobs[0].attempt), (JobState::Queued, 0, 0));
    let video = catalog.video(upload.video_id).await.unwrap().unwrap();
    assert_eq!((video.upload, video.playback), (UploadState::Complete, PlaybackState::None));
    let told = drain(&*catalog).await;
    let [Told::Upload(first), Told::Video(second)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((first.state, first.bytes, first.at), (UploadState::Complete, 100, at(7)));
    assert_eq!((first.upload_id, first.video_id), (upload.id, upload.video_id));
    assert_eq!((second.upload, second.version, second.deleted), (UploadState::Complete, video.version, false));
    assert_eq!((second.title.as_str(), second.owner), ("A clip", owner.id));

    for again in [chunk(upload.id, 60, 40), chunk(upload.id, 100, 1)] {
        let error = catalog.append_chunk(upload.id, again, at(8), at(900)).await.unwrap_err();
        assert!(matches!(error, CatalogError::WrongState(_)), "{error:?}");
    }
    assert!(matches!(catalog.abort_upload(upload.id, at(9)).await, Err(CatalogError::WrongState(_))));
    assert!(matches!(catalog.forget_upload(upload.id).await, Err(CatalogError::WrongState(_))));
    assert_eq!(catalog.outbox(10).await.unwrap(), []);
    assert_eq!(catalog.unfinished_uploads(owner.id, 10).await.unwrap(), []);
}

/// An upload of unknown length takes bytes and is completed by its length.
pub async fn a_deferred_length_is_declared_later(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let upload = catalog.create_upload(new_upload(&owner, None, at(0))).await.unwrap();
    catalog.append_chunk(upload.id, chunk(upload.id, 0, 30), at(1), at(500)).await.unwrap();
    assert!(matches!(catalog.set_upload_length(upload.id, 29, at(2)).await, Err(CatalogError::WrongState(_))));
    for _ in 0..2 {
        let declared = catalog.set_upload_length(upload.id, 50, at(2)).await.unwrap();
        assert_eq!((declared.length, declared.state), (Some(50), UploadState::Receiving));
    }
    assert!(matches!(catalog.set_upload_length(upload.id, 60, at(2)).await, Err(CatalogError::WrongState(_))));
    assert_eq!(catalog.outbox(10).await.unwrap(), []);
    let done = catalog.append_chunk(upload.id, chunk(upload.id, 30, 20), at(3), at(500)).await.unwrap();
    assert_eq!(done.state, UploadState::Complete);
    assert_eq!(drain(&*catalog).await.len(), 2);

    let other = catalog.create_upload(new_upload(&owner, None, at(0))).await.unwrap();
    catalog.append_chunk(other.id, chunk(other.id, 0, 30), at(1), at(500)).await.unwrap();
    let done = catalog.set_upload_length(other.id, 30, at(4)).await.unwrap();
    assert_eq!((done.state, done.length), (UploadState::Complete, Some(30)));
    assert_eq!(catalog.jobs_of_video(other.video_id).await.unwrap().len(), 1);
    assert_eq!(drain(&*catalog).await.len(), 2);
}

/// Aborting is told once; the rows stay until they are forgotten.
pub async fn an_aborted_upload_is_told_of_and_forgotten(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let upload = start_upload(&*catalog, &owner, 100).await;
    let first = chunk(upload.id, 0, 30);
    catalog.append_chunk(upload.id, first.clone(), at(1), at(500)).await.unwrap();
    assert!(matches!(catalog.forget_upload(upload.id).await, Err(CatalogError::WrongState(_))));
    let aborted = catalog.abort_upload(upload.id, at(50)).await.unwrap();
    assert_eq!((aborted.state, aborted.expires_at), (UploadState::Aborted, at(50)));
    assert_eq!(catalog.abort_upload(upload.id, at(60)).await.unwrap(), aborted);

    let catalog = backend.reopen(catalog).await;
    let told = drain(&*catalog).await;
    let [Told::Upload(record), Told::Video(video)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((record.state, record.bytes, record.at), (UploadState::Aborted, 30, at(50)));
    assert_eq!((video.upload, video.deleted), (UploadState::Aborted, true));
    let error = catalog.append_chunk(upload.id, chunk(upload.id, 30, 10), at(51), at(900)).await.unwrap_err();
    assert!(matches!(error, CatalogError::WrongState(_)), "{error:?}");
    assert_eq!(catalog.aborted_uploads(10).await.unwrap(), [aborted]);
    assert_eq!(catalog.chunks(upload.id).await.unwrap(), [first]);
    assert_eq!(catalog.list_videos(VideoFilter::OfOwner(owner.id), None, 10).await.unwrap(), []);

    catalog.forget_upload(upload.id).await.unwrap();
    catalog.forget_upload(upload.id).await.unwrap();
    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.upload(upload.id).await.unwrap(), None);
    assert_eq!(catalog.video(upload.video_id).await.unwrap(), None);
    assert_eq!(catalog.chunks(upload.id).await.unwrap(), []);
    assert_eq!(catalog.aborted_uploads(10).await.unwrap(), []);
    assert!(matches!(catalog.abort_upload(upload.id, at(70)).await, Err(CatalogError::NotFound("upload"))));
}

/// Expiry is exact and moves with each chunk.
pub async fn expired_uploads_come_oldest_first(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let mut ids = Vec::new();
    for expiry in [300, 100, 200] {
        let upload = start_upload(&*catalog, &owner, 100).await;
        catalog.append_chunk(upload.id, chunk(upload.id, 0, 30), at(1), at(expiry)).await.unwrap();
        ids.push(upload.id);
    }
    let expired = async |now, limit| -> Vec<UploadId> {
        let found = catalog.expired_uploads(at(now), limit).await.unwrap();
        found.into_iter().map(|upload| upload.id).collect()
    };
    assert_eq!(expired(99, 10).await, []);
    assert_eq!(expired(200, 10).await, [ids[1], ids[2]]);
    assert_eq!(expired(900, 2).await, [ids[1], ids[2]]);
    catalog.append_chunk(ids[1], chunk(ids[1], 30, 30), at(150), at(1000)).await.unwrap();
    catalog.abort_upload(ids[2], at(201)).await.unwrap();
    assert_eq!(expired(900, 10).await, [ids[0]]);

    // A chunk that came after the list was read saves its upload.
    assert!(!catalog.expire_upload(ids[1], at(999)).await.unwrap());
    assert!(!catalog.expire_upload(UploadId::generate(), at(999)).await.unwrap());
    drain(&*catalog).await;
    assert!(catalog.expire_upload(ids[0], at(900)).await.unwrap());
    assert!(!catalog.expire_upload(ids[0], at(900)).await.unwrap());
    let upload = catalog.upload(ids[0]).await.unwrap().unwrap();
    assert_eq!((upload.state, upload.expires_at), (UploadState::Aborted, at(900)));
    let told = drain(&*catalog).await;
    let [Told::Upload(record), Told::Video(video)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((record.state, record.at, video.deleted), (UploadState::Aborted, at(900), true));
}

/// Of many chunks at one offset exactly one is recorded.
pub async fn one_of_many_writers_at_an_offset_wins(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let upload = start_upload(&*catalog, &owner, 40).await;
    for round in 0..4 {
        let start = round * 10;
        let results = together(16, |_| {
            let (catalog, chunk) = (Arc::clone(&catalog), chunk(upload.id, start, 10));
            async move {
                let key = chunk.key.clone();
                (key, catalog.append_chunk(upload.id, chunk, at(1), at(500)).await)
            }
        })
        .await;
        let winners: Vec<_> = results.iter().filter(|(_, result)| result.is_ok()).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        for (_, result) in &results {
            let refused = matches!(result, Err(CatalogError::OffsetMismatch { .. } | CatalogError::WrongState(_)));
            assert!(result.is_ok() || refused, "{result:?}");
        }
        assert_eq!(catalog.chunks(upload.id).await.unwrap().last().unwrap().key, winners[0].0);
    }
    assert_eq!(catalog.jobs_of_video(upload.video_id).await.unwrap().len(), 1);
    assert_eq!(drain(&*catalog).await.len(), 2);
}

/// From a byte on, up to a limit, of a live and of a deleted video.
pub async fn chunks_page_exactly(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let upload = start_upload(&*catalog, &owner, 1000).await;
    let mut all = Vec::new();
    for start in [0, 5, 9, 30, 31] {
        let end = [5, 9, 30, 31, 40][all.len()];
        let piece = chunk(upload.id, start, end - start);
        catalog.append_chunk(upload.id, piece.clone(), at(1), at(500)).await.unwrap();
        all.push(piece);
    }
    let page = async |from, limit| catalog.chunks_from(upload.id, from, limit).await.unwrap();
    assert_eq!(page(0, 2).await, all[..2]);
    assert_eq!(page(9, 2).await, all[2..4]);
    assert_eq!(page(10, 9).await, all[3..]);
    assert_eq!(page(40, 9).await, []);
    assert_eq!(catalog.chunks(upload.id).await.unwrap(), all);
    catalog.delete_video(upload.video_id, at(2)).await.unwrap();
    assert_eq!(catalog.deleted_video_chunks_from(upload.video_id, 9, 2).await.unwrap(), all[2..4]);
    assert_eq!(catalog.deleted_video_chunks(upload.video_id).await.unwrap(), all);
}

/// A chunk — the last one or not — and the deletion of its video at the same moment: one comes before the
/// other, and what is told is what is there.
pub async fn a_chunk_and_a_deletion_do_not_cross(backend: &dyn Backend) {
    let catalogs = [backend.open().await, backend.open().await];
    let owner = creator(&*catalogs[0], "alice").await;
    for round in 0..12_u64 {
        let upload = start_upload(&*catalogs[0], &owner, 20).await;
        catalogs[0].append_chunk(upload.id, chunk(upload.id, 0, 5), at(1), at(500)).await.unwrap();
        let results = together(2, |number| {
            let catalog = Arc::clone(&catalogs[number]);
            let piece = chunk(upload.id, 5, if round % 2 == 0 { 15 } else { 5 });
            async move {
                if number == 0 {
                    catalog.append_chunk(upload.id, piece, at(2), at(500)).await.map(|_| ())
                } else {
                    catalog.delete_video(upload.video_id, at(2)).await
                }
            }
        })
        .await;
        results[1].as_ref().unwrap();
        let appended = match &results[0] {
            Ok(()) => true,
            Err(CatalogError::WrongState(_)) => false,
            Err(error) => panic!("{error:?}"),
        };
        let after = catalogs[1].upload(upload.id).await.unwrap().unwrap();
        let is_whole = appended && round % 2 == 0;
        let expected = match (appended, is_whole) {
            (true, true) => (UploadState::Complete, 20),
            (true, false) => (UploadState::Aborted, 10),
            (false, _) => (UploadState::Aborted, 5),
        };
        assert_eq!((after.state, after.offset), expected);
        assert_eq!(catalogs[1].lease_job(JobKind::Transcode, "w", at(9), LEASE).await.unwrap(), None);
        let told = drain(&*catalogs[1]).await;
        let ends: Vec<_> = told
            .iter()
            .filter_map(|told| if let Told::Upload(record) = told { Some((record.state, record.bytes)) } else { None })
            .collect();
        assert_eq!(ends, [expected], "{told:?}");
        let last = told.last().unwrap().clone().video();
        assert!(last.deleted && last.upload == expected.0, "{told:?}");
    }
}
