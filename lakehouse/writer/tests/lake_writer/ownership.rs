//! Two writers, and one that sleeps through its replacement.

use std::sync::Arc;

use event_schemas::{Clock as _, Millis, Partition};
use fjall::Database;
use lake_tables::Lake;
use lake_writer::{WriterConfig, WriterDeps, WriterError};
use tokio::time::{Duration, timeout};

use crate::{
    faults::{Fault, Trap, TrappedStore},
    support::{World, event},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_wakes_after_a_takeover_commits_nothing() {
    let world = World::new().await;
    // The state of each writer is its own, as on two machines.
    let other_state = fjall::Database::builder(world.folder.path().join("other")).open().unwrap();
    world.produce(0, &[event(1, 0, 0)]).await;
    world.live().end().await;
    world.produce(0, &[event(1, 1, 1), event(1, 2, 2)]).await;

    // Commits: the takeover is the first, the rows the second, before which the writer sleeps.
    let trap = Trap::new(Fault::HangBefore, 1);
    let mut deps = world.deps();
    let objects = TrappedStore { inner: world.objects.clone(), trap: trap.clone(), only: ".json" };
    deps.lake = Lake::local(Arc::new(objects)).unwrap();
    let asleep = world.live_with("one", deps);
    let (handle, task) = (asleep.handle.clone(), asleep.task);
    let waiting = tokio::spawn(async move { handle.flush(None).await });
    trap.hanging.notified().await;

    let mut deps = world.deps();
    deps.state = other_state;
    let other = world.live_with("two", deps.clone());
    // Nobody takes a lease that has not run out.
    let early = timeout(Duration::from_millis(300), other.handle.flush(None)).await;
    assert!(early.is_err(), "the first writer holds its leases");
    other.end().await;
    world.clock.advance(Millis::from_secs(3600));
    let other = world.live_with("two", deps);
    other.handle.flush(None).await.unwrap();
    world.holds(3).await;
    world.produce(0, &[event(1, 3, 3)]).await;
    other.handle.flush(None).await.unwrap();

    trap.release.notify_one();
    let ended = task.await.unwrap();
    assert!(matches!(ended, Err(WriterError::Fenced(Partition(0)))), "{ended:?}");
    world.holds(4).await;
    waiting.abort();
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_given_back_are_taken_at_once() {
    let world = World::new().await;
    for n in 0..4 {
        let owner = if n % 2 == 0 { "one" } else { "two" };
        world.produce(n % 2, &[event(1, n, 0)]).await;
        let life = world.live_with(owner, world.deps());
        life.handle.flush(None).await.unwrap();
        life.end().await;
        world.holds(i64::from(n) + 1).await;
    }
}

/// Who holds the partitions.
async fn owners(world: &World) -> Vec<String> {
    let leases = world.catalog.leases_of("lake/playback/", world.clock.now()).await.unwrap();
    leases.into_iter().map(|lease| lease.owner).collect()
}

async fn until_owned_by(world: &World, wanted: &[&str]) {
    let reached = async {
        loop {
            let mut owners = owners(world).await;
            owners.sort();
            if owners == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached).await.expect("the partitions find their owners");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_share_the_partitions_and_one_flush_waits_for_both() {
    let world = World::new().await;
    let quick = |owner: &str| {
        let mut config = WriterConfig::new(owner);
        (config.commit_every, config.lease) = (Duration::from_secs(3600), Millis(150));
        config
    };
    let first = world.live_as(quick("one"), world.deps());
    for partition in 0..2 {
        world.produce(partition, &[event(u128::from(partition), 0, 0)]).await;
    }
    first.handle.flush(None).await.unwrap();
    until_owned_by(&world, &["one", "one"]).await;

    let state = Database::builder(world.folder.path().join("state of two")).open().unwrap();
    let second = world.live_as(quick("two"), WriterDeps { state, ..world.deps() });
    until_owned_by(&world, &["one", "two"]).await;
    for partition in 0..2 {
        world.produce(partition, &[event(u128::from(partition), 1, 1)]).await;
    }
    let (of_first, of_second) = tokio::join!(first.handle.flush(None), second.handle.flush(None));
    let (of_first, of_second) = (of_first.unwrap(), of_second.unwrap());
    assert_eq!(of_first.committed, of_second.committed, "each knows what the other has committed");
    assert!(of_first.lag.values().chain(of_second.lag.values()).all(|lag| *lag == 0));
    world.holds(4).await;

    // What one leaves in order, the other takes, and recognises what it never read.
    first.end().await;
    until_owned_by(&world, &["two", "two"]).await;
    for partition in 0..2 {
        world.produce(partition, &[event(u128::from(partition), 1, 1), event(u128::from(partition), 2, 2)]).await;
    }
    second.handle.flush(None).await.unwrap();
    world.holds(6).await;
    second.end().await;
    assert!(owners(&world).await.is_empty());
}
