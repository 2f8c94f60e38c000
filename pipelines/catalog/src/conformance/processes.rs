//! What the processes of one instance share: secrets, groups, and who holds which lease.

use std::collections::BTreeSet;

use super::*;
use crate::failing::{FailingCatalog, FailurePlan};

/// Whoever asks, at the same moment or after a restart, gets the first one.
pub async fn a_secret_is_the_first_proposed(backend: &dyn Backend) {
    let catalogs = [backend.open().await, backend.open().await];
    let given = together(8, |number| {
        let catalog = Arc::clone(&catalogs[number % 2]);
        async move { catalog.instance_secret("signing", &[0, 255, u8::try_from(number).unwrap()]).await.unwrap() }
    })
    .await;
    let kept = given[0].clone();
    assert!(kept.len() == 3 && kept[..2] == [0, 255] && kept[2] < 8, "{kept:?}");
    assert!(given.iter().all(|value| *value == kept), "{given:?}");
    let [first, second] = catalogs;
    second.close().await;
    let catalog = backend.reopen(first).await;
    assert_eq!(catalog.instance_secret("signing", b"late").await.unwrap(), kept);
    assert_eq!(catalog.instance_secret("operator", b"").await.unwrap(), b"");
    assert_eq!(catalog.instance_secret("operator", b"another").await.unwrap(), b"");
}

/// Who asks again after an unknown outcome gets what everybody has.
pub async fn a_secret_through_failures_is_one(backend: &dyn Backend) {
    let inner = backend.open().await;
    let mut injected = 0;
    for seed in 0..24 {
        let name = format!("secret-{seed}");
        let catalog = FailingCatalog::new(Arc::clone(&inner), FailurePlan { seed, before: 0.3, after: 0.3 });
        let mut proposed = 0_u8;
        let value = loop {
            proposed += 1;
            match catalog.instance_secret(&name, &[proposed]).await {
                Ok(value) => break value,
                Err(error) => assert!(event_schemas::Faulty::is_retryable(&error), "{error:?}"),
            }
        };
        injected += catalog.failed();
        assert_eq!(inner.instance_secret(&name, &[0]).await.unwrap(), value, "seed {seed}");
    }
    assert!(injected > 10, "{injected} failures were injected");
}

/// There from joining until leaving or running out, in each process's eyes.
pub async fn members_come_and_go(backend: &dyn Backend) {
    let catalog = backend.open().await;
    let members = async |catalog: &dyn Catalog, group: &str, now| catalog.group_members(group, at(now)).await.unwrap();
    assert!(members(&*catalog, "views", 0).await.is_empty());
    for (member, now) in [("b", 0), ("B", 0), ("a", 10), ("é", 20)] {
        catalog.join_group("views", member, at(now), Millis(100)).await.unwrap();
    }
    catalog.join_group("lake", "a", at(0), Millis(100)).await.unwrap();
    assert_eq!(members(&*catalog, "views", 99).await, ["B", "a", "b", "é"]);
    assert_eq!(members(&*catalog, "views", 100).await, ["a", "é"]);
    catalog.join_group("views", "b", at(60), Millis(100)).await.unwrap();
    let catalog = backend.reopen(catalog).await;
    assert_eq!(members(&*catalog, "views", 159).await, ["b"]);
    catalog.leave_group("views", "b").await.unwrap();
    catalog.leave_group("views", "b").await.unwrap();
    assert!(members(&*catalog, "views", 0).await.iter().all(|member| member != "b"));
    assert_eq!(members(&*catalog, "lake", 99).await, ["a"]);
    // Long after, those who ran out are forgotten; the one who comes back is there.
    catalog.join_group("views", "a", at(1000), Millis(100)).await.unwrap();
    assert_eq!(members(&*catalog, "views", 0).await, ["a"]);
}

/// Many join, renew and leave at the same time, nobody is lost.
pub async fn many_join_at_once(backend: &dyn Backend) {
    let catalogs = [backend.open().await, backend.open().await];
    for number in 0..8 {
        // Each finds all of these to forget.
        catalogs[0].join_group("views", &format!("old-{number}"), at(0), Millis(1)).await.unwrap();
    }
    together(16, |number| {
        let catalog = Arc::clone(&catalogs[number % 2]);
        async move {
            let name = format!("process-{number}");
            for round in 0..4 {
                catalog.join_group("views", &name, at(1000 + round), Millis(100)).await.unwrap();
            }
            if number % 4 == 0 {
                catalog.leave_group("views", &name).await.unwrap();
            }
        }
    })
    .await;
    let expected: BTreeSet<_> =
        (0..16).filter(|number| number % 4 != 0).map(|number| format!("process-{number}")).collect();
    for catalog in &catalogs {
        let found = catalog.group_members("views", at(1003)).await.unwrap();
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

/// A counter is read without being moved.
pub async fn a_counter_is_what_was_last_given(backend: &dyn Backend) {
    let catalog = backend.open().await;
    assert_eq!(catalog.counter("producer").await.unwrap(), 0);
    for value in 1..=3 {
        assert_eq!(catalog.next_epoch("producer").await.unwrap(), value);
        assert_eq!(catalog.counter("producer").await.unwrap(), value);
    }
    let catalog = backend.reopen(catalog).await;
    assert_eq!(catalog.counter("producer").await.unwrap(), 3);
    assert_eq!(catalog.counter("outbox").await.unwrap(), 0, "another name than the outbox's own");
}

/// Held now, by the names that begin so, bytewise.
pub async fn leases_of_a_prefix_are_told(backend: &dyn Backend) {
    let catalog = backend.open().await;
    for (name, owner, ttl) in [
        ("playback/10", "a", 100),
        ("playback/2", "b", 200),
        ("playback/é", "c", 200),
        ("playback", "d", 200),
        ("playbac%/1", "e", 200),
        ("uploads/1", "f", 200),
    ] {
        catalog.acquire_lease(name, owner, at(0), Millis(ttl)).await.unwrap().unwrap();
    }
    let names = async |prefix: &str, now| -> Vec<String> {
        let leases = catalog.leases_of(prefix, at(now)).await.unwrap();
        leases.into_iter().map(|lease| lease.name).collect()
    };
    assert_eq!(names("playback/", 99).await, ["playback/10", "playback/2", "playback/é"]);
    assert_eq!(names("playback/", 100).await, ["playback/2", "playback/é"]);
    assert_eq!(names("playbac%", 0).await, ["playbac%/1"]);
    assert_eq!(names("", 0).await.len(), 6);
    assert_eq!(names("views", 0).await, Vec::<String>::new());
    let taken = catalog.acquire_lease("playback/10", "g", at(100), Millis(300)).await.unwrap().unwrap();
    assert_eq!(catalog.leases_of("playback/1", at(250)).await.unwrap(), std::slice::from_ref(&taken));
    catalog.release_lease(&taken).await.unwrap();
    assert_eq!(catalog.leases_of("playback/1", at(250)).await.unwrap(), []);
}
