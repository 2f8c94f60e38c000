//! Named leases and counters.

use std::collections::BTreeSet;

use super::*;

/// Held, held again, taken over, fenced, given back.
pub async fn a_lease_has_one_holder(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let take = async |catalog: &dyn Catalog, owner: &str, now| {
        catalog.acquire_lease("relay", owner, at(now), Millis(100)).await.unwrap()
    };
    let first = take(&*catalog, "a", 0).await.unwrap();
    assert_eq!((first.epoch, first.until, first.owner.as_str()), (1, at(100), "a"));
    assert_eq!(take(&*catalog, "b", 99).await, None);
    let again = take(&*catalog, "a", 50).await.unwrap();
    assert_eq!((again.epoch, again.until), (1, at(150)));
    catalog.renew_lease(&again, at(200)).await.unwrap();
    let catalog = backend.reopen(catalog).await;
    assert_eq!(take(&*catalog, "b", 199).await, None);
    let taken = take(&*catalog, "b", 200).await.unwrap();
    assert_eq!(taken.epoch, 2);
    assert!(matches!(catalog.renew_lease(&again, at(900)).await, Err(CatalogError::Fenced)));
    catalog.release_lease(&again).await.unwrap();
    assert_eq!(take(&*catalog, "a", 201).await, None, "releasing a lost lease takes it from nobody");
    catalog.release_lease(&taken).await.unwrap();
    assert!(matches!(catalog.renew_lease(&taken, at(900)).await, Err(CatalogError::Fenced)));
    assert_eq!(take(&*catalog, "b", 202).await.unwrap().epoch, 3, "a lease given back is a new one");
    assert_eq!(take(&*catalog, "b", 900).await.unwrap().epoch, 4, "so is one that had run out");
    let other = catalog.acquire_lease("playback/3", "c", at(0), Millis(100)).await.unwrap().unwrap();
    assert_eq!(other.epoch, 1);
}

/// Also across two connections to the store.
pub async fn one_of_many_takes_a_lease(backend: &dyn Backend) {
    let catalogs = [backend.open().await, backend.open().await];
    for round in 0..4 {
        let taken = together(16, |number| {
            let catalog = Arc::clone(&catalogs[number % 2]);
            async move {
                let owner = format!("process-{number}");
                catalog.acquire_lease("x", &owner, at(round * 1000), Millis(1000)).await.unwrap()
            }
        })
        .await;
        let holders: Vec<_> = taken.into_iter().flatten().collect();
        assert_eq!(holders.len(), 1, "{holders:?}");
        assert_eq!(holders[0].epoch, u64::try_from(round).unwrap() + 1);
    }
}

/// From 1, without a repetition, across processes and restarts.
pub async fn counters_never_repeat(backend: &dyn Backend) {
    let catalogs = [backend.open().await, backend.open().await];
    let values = together(16, |number| {
        let catalog = Arc::clone(&catalogs[number % 2]);
        async move { catalog.next_epoch("producer").await.unwrap() }
    })
    .await;
    assert_eq!(values.into_iter().collect::<BTreeSet<_>>(), (1..=16).collect());
    let [first, second] = catalogs;
    second.close().await;
    let catalog = backend.reopen(first).await;
    assert_eq!(catalog.next_epoch("producer").await.unwrap(), 17);
    assert_eq!(catalog.next_epoch("outbox").await.unwrap(), 1);
}
