//! The outbox: order, delivery, waking.

use std::{collections::BTreeMap, time::Duration};

use super::*;

/// Ids rise with the transactions and are never used again, not even after all were delivered.
pub async fn rows_come_in_the_order_of_their_transactions(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let videos = [uploaded_at(&*catalog, &owner, at(0)).await, uploaded_at(&*catalog, &owner, at(0)).await];
    let catalog = backend.reopen(catalog).await;
    let rows = catalog.outbox(10).await.unwrap();
    let keys: Vec<_> = rows.iter().map(|row| (row.topic, row.key.clone())).collect();
    let expected: Vec<_> =
        videos.iter().flat_map(|id| [Topic::Uploads, Topic::Videos].map(|topic| (topic, id.to_string()))).collect();
    assert_eq!(keys, expected);
    assert!(rows.is_sorted_by(|a, b| a.id < b.id));
    assert_eq!(catalog.outbox(3).await.unwrap(), rows[..3]);
    catalog.outbox_delivered(&[rows[0].id, rows[2].id]).await.unwrap();
    let left = catalog.outbox(10).await.unwrap();
    assert_eq!(left, [rows[1].clone(), rows[3].clone()]);
    catalog.outbox_delivered(&rows.iter().map(|row| row.id).collect::<Vec<_>>()).await.unwrap();
    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.outbox(10).await.unwrap(), []);
    uploaded_at(&*catalog, &owner, at(1)).await;
    assert!(catalog.outbox(1).await.unwrap()[0].id > rows[3].id);
}

/// A reader that waits is woken, and one that comes late does not miss what was written before.
pub async fn writers_wake_the_reader(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let woken = || tokio::time::timeout(Duration::from_secs(20), catalog.outbox_changed());
    uploaded_at(&*catalog, &owner, at(0)).await;
    woken().await.expect("a row was written before");
    let (waited, _) = tokio::join!(woken(), uploaded_at(&*catalog, &owner, at(0)));
    waited.expect("a row was written meanwhile");
}

/// Of each video every record has a higher version than the one before it.
pub async fn versions_rise_under_concurrent_writers(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let owner = creator(&*catalog, "alice").await;
    let ids = [uploaded_at(&*catalog, &owner, at(0)).await, uploaded_at(&*catalog, &owner, at(0)).await];
    together(8, |number| {
        let catalog = Arc::clone(&catalog);
        async move {
            for _ in 0..4 {
                let edit = VideoEdit { title: Some(format!("by {number}")), ..VideoEdit::default() };
                catalog.edit_video(ids[number % 2], edit, at(1)).await.unwrap();
            }
        }
    })
    .await;
    let mut seen: BTreeMap<VideoId, (i64, String)> = BTreeMap::new();
    for told in drain(&*catalog).await {
        if let Told::Video(record) = told {
            let last = seen.insert(record.video_id, (record.version, record.title.clone()));
            assert!(last.is_none_or(|(version, _)| version < record.version));
        }
    }
    for id in ids {
        let video = catalog.video(id).await.unwrap().unwrap();
        assert_eq!(seen[&id], (video.version, video.title), "the last record is the present state");
    }
}

/// What a reader sees while many write is always the beginning of what there is in the end: no row appears before
/// one that it has read already.
pub async fn a_reader_never_passes_a_row_that_comes_later(backend: &dyn Backend) {
    const EDITS: usize = 6;
    let catalogs = [backend.open().await, backend.open().await];
    let owner = creator(&*catalogs[0], "alice").await;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(uploaded_at(&*catalogs[0], &owner, at(0)).await);
    }
    drain(&*catalogs[0]).await;
    let seen = together(8, |number| {
        let catalog = Arc::clone(&catalogs[number % 2]);
        let id = ids.get(number).copied();
        async move {
            let mut seen = Vec::new();
            if let Some(id) = id {
                for _ in 0..EDITS {
                    catalog.edit_video(id, VideoEdit::default(), at(1)).await.unwrap();
                }
            } else {
                loop {
                    let rows = catalog.outbox(1000).await.unwrap();
                    seen.push(rows.iter().map(|row| row.id).collect::<Vec<_>>());
                    if rows.len() == 7 * EDITS {
                        break;
                    }
                }
            }
            seen
        }
    })
    .await
    .concat();
    let all = seen.last().unwrap();
    for part in &seen {
        assert!(all.starts_with(part), "{part:?} of {all:?}");
    }
}
