//! Videos: edits, lists, deletion.

use std::collections::BTreeSet;

use event_schemas::records::UploadState;

use super::*;

/// What is none stays; the version rises by each edit.
pub async fn an_edit_raises_the_version_and_is_told(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let id = uploaded_at(&*catalog, &owner, at(0)).await;
    drain(&*catalog).await;
    let before = catalog.video(id).await.unwrap().unwrap();
    let edit = VideoEdit { expected_version: Some(before.version), title: Some("New".into()), ..VideoEdit::default() };
    let edited = catalog.edit_video(id, edit.clone(), at(5)).await.unwrap();
    assert!(edited.version > before.version);
    assert_eq!(edited, Video { version: edited.version, title: "New".into(), ..before.clone() });
    let stale = catalog.edit_video(id, edit, at(6)).await.unwrap_err();
    assert!(
        matches!(stale, CatalogError::VersionMismatch { actual, given } if (actual, given) == (edited.version, before.version)),
        "{stale:?}"
    );
    let all = VideoEdit {
        expected_version: None,
        title: None,
        description: Some(String::new()),
        tags: Some(vec![]),
        visibility: Some(Visibility::Private),
    };
    let last = catalog.edit_video(id, all, at(7)).await.unwrap();
    assert_eq!((last.title.as_str(), last.description.as_str(), last.tags.len()), ("New", "", 0));
    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.video(id).await.unwrap(), Some(last.clone()));
    let told: Vec<_> = drain(&*catalog).await.into_iter().map(Told::video).collect();
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].version, told[0].title.as_str()), (edited.version, "New"));
    assert_eq!((told[1].version, told[1].visibility), (last.version, Visibility::Private));
    let unknown = catalog.edit_video(VideoId::generate(), VideoEdit::default(), at(8)).await;
    assert!(matches!(unknown, Err(CatalogError::NotFound("video"))), "{unknown:?}");
}

/// Editors who saw the same version do not overwrite each other.
pub async fn one_of_many_edits_of_a_version_wins(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let id = uploaded_at(&*catalog, &owner, at(0)).await;
    let seen = catalog.video(id).await.unwrap().unwrap().version;
    let results = together(8, |number| {
        let catalog = Arc::clone(&catalog);
        let title = Some(format!("title {number}"));
        async move {
            let edit = VideoEdit { expected_version: Some(seen), title, ..VideoEdit::default() };
            catalog.edit_video(id, edit, at(1)).await
        }
    })
    .await;
    let winners: Vec<_> = results.iter().flatten().collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    assert_eq!(catalog.video(id).await.unwrap().unwrap().title, winners[0].title);
}

/// Pages neither skip nor repeat, also among videos of the same microsecond, and hold what the filter says.
pub async fn lists_page_exactly(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let alice = creator(&*catalog, "alice").await;
    let bob = creator(&*catalog, "bob").await;
    let mut listed = BTreeSet::new();
    for number in 0..14 {
        let now = at(0) + Millis(number / 5);
        let owner = if number % 2 == 0 { &alice } else { &bob };
        let id = uploaded_at(&*catalog, owner, now).await;
        let job = catalog.lease_job(JobKind::Transcode, "w", now, LEASE).await.unwrap().unwrap();
        put_whole(&*catalog, &job, "240p", "x").await;
        catalog.finish_transcode(&job, result("240p", "x"), now).await.unwrap();
        let visibility = [Visibility::Public, Visibility::Unlisted, Visibility::Private][usize::from(number >= 12) * 2];
        catalog.edit_video(id, VideoEdit { visibility: Some(visibility), ..VideoEdit::default() }, now).await.unwrap();
        if visibility == Visibility::Public {
            listed.insert(id);
        }
    }
    uploaded_at(&*catalog, &alice, at(9)).await;
    start_upload(&*catalog, &alice, 5).await;

    let pages = async |filter, limit| -> Vec<Video> {
        let mut all: Vec<Video> = Vec::new();
        loop {
            let after = all.last().map(|video| VideoCursor { created_at: video.created_at, id: video.id });
            let page = catalog.list_videos(filter, after, limit).await.unwrap();
            assert!(page.len() <= limit as usize);
            if page.is_empty() {
                break all;
            }
            all.extend(page);
        }
    };
    for limit in [1, 3, 100] {
        let all = pages(VideoFilter::Listed, limit).await;
        assert!(all.is_sorted_by(|a, b| (a.created_at, a.id) > (b.created_at, b.id)));
        assert_eq!(all.iter().map(|video| video.id).collect::<BTreeSet<_>>(), listed);
        assert_eq!(all.len(), listed.len());
    }
    let of_bob = pages(VideoFilter::ListedOfChannel(bob.channel.id), 2).await;
    assert_eq!(of_bob.len(), 6);
    assert!(of_bob.iter().all(|video| video.channel == bob.channel && video.owner == bob.id));
    assert_eq!(pages(VideoFilter::OfOwner(alice.id), 2).await.len(), 9);
}

/// The order asked for, without those that are gone, whatever their number.
pub async fn videos_come_in_the_order_asked(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(start_upload(&*catalog, &owner, 5).await.video_id);
    }
    catalog.delete_video(ids[3], at(1)).await.unwrap();
    ids.reverse();
    let mut asked = ids.clone();
    asked.insert(7, VideoId::generate());
    asked.push(asked[0]);
    let found: Vec<_> = catalog.videos(&asked).await.unwrap().into_iter().map(|video| video.id).collect();
    let mut expected = ids.clone();
    expected.retain(|id| *id != ids[36]);
    expected.push(ids[0]);
    assert_eq!(found, expected);
    assert_eq!(catalog.videos(&[]).await.unwrap(), []);
}

/// From its deletion on no method finds a video; its objects stay listed until it is forgotten.
pub async fn a_deleted_video_is_found_nowhere(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let job = leased(&*catalog, &owner).await;
    let id = job.video_id;
    put_whole(&*catalog, &job, "240p", "x").await;
    let upload = catalog.upload_of_video(id).await.unwrap().unwrap();
    let version = catalog.video(id).await.unwrap().unwrap().version;
    drain(&*catalog).await;
    assert!(matches!(catalog.forget_video(id).await, Err(CatalogError::WrongState(_))));
    assert_eq!(catalog.deleted_video_chunks(id).await.unwrap(), []);
    catalog.delete_video(id, at(40)).await.unwrap();

    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.video(id).await.unwrap(), None);
    assert_eq!(catalog.videos(&[id]).await.unwrap(), []);
    assert_eq!(catalog.renditions(id).await.unwrap(), []);
    assert_eq!(catalog.media_file(id, "x-240p-0.m4s").await.unwrap(), None);
    assert_eq!(catalog.jobs_of_video(id).await.unwrap(), []);
    assert_eq!(catalog.list_videos(VideoFilter::OfOwner(owner.id), None, 9).await.unwrap(), []);
    for error in [
        catalog.put_rendition(&job, rendition("360p", "x")).await.unwrap_err(),
        catalog.heartbeat_job(job.id, job.epoch, at(90)).await.unwrap_err(),
        catalog.finish_transcode(&job, result("240p", "x"), at(41)).await.unwrap_err(),
    ] {
        assert!(matches!(error, CatalogError::Fenced), "{error:?}");
    }
    assert_eq!(catalog.lease_job(JobKind::Transcode, "w", at(1_000_000), LEASE).await.unwrap(), None);
    for error in [
        catalog.delete_video(id, at(42)).await.unwrap_err(),
        catalog.edit_video(id, VideoEdit::default(), at(42)).await.unwrap_err(),
    ] {
        assert!(matches!(error, CatalogError::NotFound("video")), "{error:?}");
    }
    let told: Vec<_> = drain(&*catalog).await.into_iter().map(Told::video).collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].deleted && told[0].version > version && told[0].title == "A clip");

    let deleted = DeletedVideo { id, upload_id: upload.id, deleted_at: at(40) };
    assert_eq!(catalog.deleted_videos(10).await.unwrap(), [deleted]);
    assert_eq!(catalog.deleted_video_chunks(id).await.unwrap().len(), 1);
    catalog.forget_video(id).await.unwrap();
    catalog.forget_video(id).await.unwrap();
    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.deleted_videos(10).await.unwrap(), []);
    assert_eq!(catalog.upload(upload.id).await.unwrap(), None);
    assert_eq!(catalog.chunks(upload.id).await.unwrap(), []);
}

/// A PATCH after the deletion is refused, and both topics hear of it.
pub async fn deleting_a_receiving_video_aborts_its_upload(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let upload = start_upload(&*catalog, &owner, 100).await;
    catalog.append_chunk(upload.id, chunk(upload.id, 0, 30), at(1), at(500)).await.unwrap();
    catalog.delete_video(upload.video_id, at(2)).await.unwrap();
    let error = catalog.append_chunk(upload.id, chunk(upload.id, 30, 70), at(3), at(500)).await.unwrap_err();
    assert!(matches!(error, CatalogError::WrongState(_)), "{error:?}");
    let told = drain(&*catalog).await;
    let [Told::Upload(record), Told::Video(video)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((record.state, video.deleted, video.upload), (UploadState::Aborted, true, UploadState::Aborted));
    assert_eq!(catalog.aborted_uploads(10).await.unwrap(), []);
    assert_eq!(catalog.expired_uploads(at(1_000_000), 10).await.unwrap(), []);
    assert_eq!(catalog.deleted_video_chunks(upload.video_id).await.unwrap().len(), 1);
}
