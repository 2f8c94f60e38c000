//! Two writers, and one that sleeps through its replacement.

use std::sync::Arc;

use event_schemas::{Millis, Partition};
use lake_tables::Lake;
use lake_writer::WriterError;
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
