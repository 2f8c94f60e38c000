//! One fault at each step in turn.

use std::sync::Arc;

use event_schemas::{Faulty, Partition, Topic};
use lake_tables::{Lake, schema, txn};
use lake_writer::CONSUMER;
use tokio::time::{Duration, timeout};

use crate::{
    faults::{Fault, Trap, TrappedLog, TrappedStore},
    support::{PARTITIONS, PLAYBACK, World, event},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Feeds both partitions: new events over two days, and retries of earlier ones.
async fn feed(world: &World, round: u32) -> i64 {
    for partition in 0..2u32 {
        let session = u128::from(partition) + 1;
        let second = i64::from(round) * 10;
        let first = round * 10;
        world.produce(partition, &[event(session, first, second), event(session, first + 1, second)]).await;
        // A client's retry of the batch before, with one event more.
        world.produce(partition, &[event(session, first + 1, second), event(session, first + 2, second)]).await;
        world.produce(partition, &[event(session + 10, round, 86_400 + second)]).await;
    }
    2 * 4
}

/// Runs a writer that meets `fault` at step `at` and is then replaced, and checks the lake. False
/// if there is no such step.
async fn strike(fault: Fault, at: usize) -> bool {
    let world = World::new().await;
    let mut fed = feed(&world, 0).await;
    world.live().end().await;
    fed += feed(&world, 1).await;

    let trap = Trap::new(fault, at);
    let mut deps = world.deps();
    let objects = TrappedStore { inner: world.objects.clone(), trap: trap.clone(), only: "" };
    deps.lake = Lake::local(Arc::new(objects)).unwrap();
    deps.log = Arc::new(TrappedLog { inner: world.log.clone(), trap: trap.clone() });

    let mut life = world.live_with("one", deps);
    let orderly = async {
        life.handle.flush(None).await.unwrap();
        life.cancel.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = orderly => {}
        () = trap.hanging.notified() => {
            life.task.abort();
            assert!(life.task.await.unwrap_err().is_cancelled());
        }
        // A failure ends the life with an error, or was settled by a look at the table.
        ended = &mut life.task => match ended.unwrap() {
            Ok(()) => world.holds(fed).await,
            Err(error) => assert!(error.is_retryable(), "{fault:?} at {at}: {error:?}"),
        },
    }
    let table = Lake::local(world.objects.clone()).unwrap().open(schema::playback_events()).await.unwrap().unwrap();
    let in_lake = txn::offsets(&table, Topic::Playback, PARTITIONS).await.unwrap();
    for partition in (0..PARTITIONS).map(Partition) {
        let given_up = world.log.committed_position(CONSUMER, PLAYBACK, partition).await.unwrap();
        assert!(given_up <= in_lake.get(partition), "{fault:?} at {at}: the log may drop what is not in the lake");
    }

    fed += feed(&world, 2).await;
    let next = world.live();
    timeout(PATIENCE, next.handle.flush(None)).await.unwrap_or_else(|_| panic!("{fault:?} at {at}")).unwrap();
    world.holds(fed).await;

    // Retries of everything, in the same and in a later life, change nothing.
    for round in 0..3 {
        feed(&world, round).await;
    }
    next.handle.flush(None).await.unwrap();
    next.end().await;
    world.live().end().await;
    world.holds(fed).await;
    trap.struck()
}

async fn strike_everywhere(fault: Fault) {
    let mut at = 0;
    while strike(fault, at).await {
        at += 1;
        assert!(at < 200, "a life has an end");
    }
    assert!(at >= 6, "a takeover, files of two days, a commit and two positions at least: {at}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_each_step() {
    strike_everywhere(Fault::HangBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_each_step() {
    strike_everywhere(Fault::HangAfter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_before_each_step() {
    strike_everywhere(Fault::FailBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_after_each_step() {
    strike_everywhere(Fault::FailAfter).await;
}
