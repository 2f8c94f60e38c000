//! Partitions are spread over those who offer to work on them, one owner at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use catalog::{
    Catalog, CatalogError,
    sql::{SqlCatalog, SqlOptions, sqlite_url},
};
use event_schemas::{Clock, Millis, Partition, SystemClock};
use parking_lot::Mutex;
use runtime::{Membership, Ownership, Tenancy};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

const PARTITIONS: u32 = 4;
/// Short, since the tests wait for members to be given up.
const TTL: Millis = Millis(600);

async fn open(folder: &tempfile::TempDir) -> Arc<dyn Catalog> {
    SqlCatalog::open(&sqlite_url(&folder.path().join("catalog.db")), SqlOptions::default()).await.unwrap()
}

/// Who works on what, seen by everyone.
#[derive(Default)]
struct Board {
    working: Mutex<BTreeMap<Partition, (&'static str, u64)>>,
    /// The epoch of each partition's owners, one after another.
    epochs: Mutex<BTreeMap<Partition, Vec<u64>>>,
}

impl Board {
    async fn work(self: Arc<Self>, member: &'static str, tenancy: Tenancy) -> Result<(), CatalogError> {
        let before = self.working.lock().insert(tenancy.partition, (member, tenancy.epoch));
        assert_eq!(before, None, "two work on {:?}", tenancy.partition);
        self.epochs.lock().entry(tenancy.partition).or_default().push(tenancy.epoch);
        tenancy.cancel.cancelled().await;
        self.working.lock().remove(&tenancy.partition);
        Ok(())
    }

    fn of(&self, member: &str) -> BTreeSet<Partition> {
        let working = self.working.lock();
        working.iter().filter(|(_, (owner, _))| *owner == member).map(|(partition, _)| *partition).collect()
    }

    /// Waits until each member works on so many partitions.
    async fn until(&self, wanted: &[(&str, usize)]) {
        let reached = async {
            while wanted.iter().any(|(member, count)| self.of(member).len() != *count) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let shown = || self.working.lock().clone();
        tokio::time::timeout(Duration::from_secs(60), reached)
            .await
            .unwrap_or_else(|_| panic!("{wanted:?} was not reached: {:?}", shown()));
    }
}

/// One process.
struct Process {
    board: Arc<Board>,
    member: &'static str,
    cancel: CancellationToken,
    keeper: JoinHandle<Result<(), CatalogError>>,
    work: JoinSet<Result<(), CatalogError>>,
}

impl Process {
    fn start(catalog: &Arc<dyn Catalog>, board: &Arc<Board>, member: &'static str) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ownership = Ownership::new(Membership::new(catalog.clone(), clock, "stage", member, TTL), PARTITIONS);
        let (cancel, mut work) = (CancellationToken::new(), JoinSet::new());
        for partition in (0..PARTITIONS).map(Partition) {
            let (ownership, board, cancel) = (ownership.clone(), board.clone(), cancel.clone());
            work.spawn(async move {
                ownership.with(partition, cancel, |tenancy| board.clone().work(member, tenancy)).await
            });
        }
        let token = cancel.clone();
        let keeper = tokio::spawn(async move { ownership.run(token).await });
        Self { board: board.clone(), member, cancel, keeper, work }
    }

    async fn end(mut self) {
        self.cancel.cancel();
        self.keeper.await.unwrap().unwrap();
        while let Some(done) = self.work.join_next().await {
            done.unwrap().unwrap();
        }
    }

    /// As `kill -9` does: nothing is given back.
    async fn die(mut self) {
        self.keeper.abort();
        self.work.shutdown().await;
        self.board.working.lock().retain(|_, (owner, _)| *owner != self.member);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_follow_the_processes_that_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = open(&folder).await;
    let board = Arc::new(Board::default());
    let first = Process::start(&catalog, &board, "first");
    board.until(&[("first", 4)]).await;
    let kept = board.of("first");

    let second = Process::start(&catalog, &board, "second");
    board.until(&[("first", 2), ("second", 2)]).await;
    assert!(board.of("first").is_subset(&kept), "what stays is not moved");
    let third = Process::start(&catalog, &board, "third");
    board.until(&[("first", 2), ("second", 1), ("third", 1)]).await;

    // One goes in order, one dies.
    second.end().await;
    board.until(&[("first", 2), ("third", 2)]).await;
    first.die().await;
    board.until(&[("third", 4)]).await;
    third.end().await;
    assert!(board.working.lock().is_empty());
    for (partition, epochs) in board.epochs.lock().iter() {
        assert!(epochs.is_sorted_by(|a, b| a < b), "epochs of {partition:?} rise: {epochs:?}");
    }
    let clock = SystemClock;
    assert!(catalog.leases_of("stage/", clock.now()).await.unwrap().is_empty(), "all is given back");
    assert!(catalog.group_members("stage", clock.now()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_fails_is_reported_and_goes_on_when_called_again() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = open(&folder).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ownership = Ownership::new(Membership::new(catalog, clock, "stage", "only", TTL), 1);
    let cancel = CancellationToken::new();
    let keeper = tokio::spawn({
        let (ownership, cancel) = (ownership.clone(), cancel.clone());
        async move { ownership.run(cancel).await }
    });
    let failed = ownership.with(Partition(0), cancel.clone(), async |_| Err("broken")).await;
    assert_eq!(failed, Err("broken"));
    let mut runs = 0;
    let done = ownership.with(Partition(0), cancel.clone(), |tenancy| {
        runs += 1;
        cancel.cancel();
        async move {
            tenancy.cancel.cancelled().await;
            Ok::<_, &str>(())
        }
    });
    assert_eq!(done.await, Ok(()));
    assert_eq!(runs, 1);
    keeper.await.unwrap().unwrap();
}
