//! One life of the writer: leases, takeover, then read, fold and commit until something fails or
//! the process shuts down.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arrow::array::RecordBatch;
use catalog::{Catalog, CatalogError};
use event_log::{EventLog, LogError};
use event_schemas::{ByteSize, Clock, Faulty, Millis, OffsetVector, Partition, SessionId, Topic};
use fjall::Database;
use futures::{FutureExt, StreamExt, future::select_all, stream};
use lake_tables::Lake;
use metrics::{counter, gauge, histogram};
use runtime::{
    Letter, Membership, Producer, keep_dead_letter,
    ownership::{Plan, plan},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    LakeHandle, WriterError,
    decide::{Move, Pending, is_due},
    handle::{Board, Committed},
    partition::{Folded, Owned, READ, STREAM, States},
    table::Sink,
};

/// The writer's name as a consumer of the log.
pub const CONSUMER: &str = "lake-writer";

/// How the writer works.
#[derive(Debug, Clone)]
pub struct WriterConfig {
    /// Names this writer among others; unlike any other process's that may run at the same time.
    pub owner: String,
    /// How long rows wait for others to be committed with.
    pub commit_every: Duration,
    /// The memory of waiting rows from which they are committed at once.
    pub max_pending: ByteSize,
    /// How long a lease lasts without renewal.
    pub lease: Millis,
}

impl WriterConfig {
    /// Commits every two seconds or 64 MiB, leases of fifteen seconds.
    #[must_use]
    pub fn new(owner: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            commit_every: Duration::from_secs(2),
            max_pending: ByteSize::mib(64),
            lease: Millis::from_secs(15),
        }
    }
}

/// What the writer works with.
#[derive(Clone)]
pub struct WriterDeps {
    /// The log to read.
    pub log: Arc<dyn EventLog>,
    /// Grants the leases.
    pub catalog: Arc<dyn Catalog>,
    /// Where the tables are.
    pub lake: Lake,
    /// Keeps dead letters.
    pub producer: Arc<Producer>,
    /// Tells the time for leases and dead letters.
    pub clock: Arc<dyn Clock>,
    /// Holds the state that recognises duplicates; the writer's own.
    pub state: Database,
}

/// The writer of the lake's playback events.
pub struct LakeWriter {
    config: WriterConfig,
    deps: WriterDeps,
    board: Arc<Board>,
}

impl LakeWriter {
    /// A writer; nothing happens before [`Self::run`].
    #[must_use]
    pub fn new(config: WriterConfig, deps: WriterDeps) -> Arc<Self> {
        Arc::new(Self { config, deps, board: Arc::default() })
    }

    /// Asks this writer.
    #[must_use]
    pub fn handle(&self) -> LakeHandle {
        LakeHandle { log: self.deps.log.clone(), lake: self.deps.lake.clone(), board: self.board.clone() }
    }

    /// One life: runs until cancelled, then commits what it has read and gives its leases back.
    /// Partitions that another writer holds are taken when their leases run out.
    ///
    /// # Errors
    /// See [`WriterError`]. What was read and not committed is read again by the next life.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) -> Result<(), WriterError> {
        let deps = &self.deps;
        deps.log.register_consumer(CONSUMER, STREAM).await?;
        let partitions = deps.log.partitions(STREAM).await?;
        let group = format!("lake/{}", Topic::Playback);
        let (catalog, clock) = (deps.catalog.clone(), deps.clock.clone());
        let mut life = Life {
            config: &self.config,
            deps,
            membership: Membership::new(catalog, clock, &group, &self.config.owner, self.config.lease),
            board: &self.board,
            states: States::open(deps.state.clone())?,
            sink: Sink::open(deps.lake.clone()).await?,
            all: (0..partitions).map(Partition).collect(),
            owned: BTreeMap::new(),
            rows: Vec::new(),
            pending_bytes: 0,
            pending_since: None,
            next_lease: Instant::now(),
            expiry: (Partition(0), None),
        };
        let outcome = life.run(&cancel).await;
        life.release(outcome.is_ok()).await;
        outcome
    }
}

struct Life<'a> {
    config: &'a WriterConfig,
    deps: &'a WriterDeps,
    membership: Membership,
    board: &'a Board,
    states: States,
    sink: Sink,
    all: BTreeSet<Partition>,
    owned: BTreeMap<Partition, Owned>,
    rows: Vec<RecordBatch>,
    pending_bytes: usize,
    pending_since: Option<Instant>,
    next_lease: Instant,
    /// Where throwing away silent sessions goes on.
    expiry: (Partition, Option<SessionId>),
}

impl Life<'_> {
    async fn run(&mut self, cancel: &CancellationToken) -> Result<(), WriterError> {
        loop {
            if Instant::now() >= self.next_lease {
                self.lease().await?;
            }
            let read = self.read().await?;
            if cancel.is_cancelled() {
                return self.commit().await;
            }
            if is_due(self.pending(), self.config.commit_every, self.max_pending()) {
                self.commit().await?;
            } else if !read {
                self.wait(cancel).await?;
            }
        }
    }

    fn pending(&self) -> Pending {
        Pending {
            waited: self.pending_since.map(|since| since.elapsed()),
            bytes: self.pending_bytes,
            flush: self.board.waiting.load(Ordering::Acquire) > 0,
        }
    }

    fn max_pending(&self) -> usize {
        usize::try_from(self.config.max_pending.0).unwrap_or(usize::MAX)
    }

    /// Renews the leases held, gives back what is more than this writer's share, and takes what is
    /// free as far as the share goes.
    async fn lease(&mut self) -> Result<(), WriterError> {
        let ttl = self.config.lease;
        self.next_lease = Instant::now() + ttl.to_duration() / 3;
        match self.spread().await {
            // The epoch in the table is the fence; without the catalog the writer goes on.
            Err(WriterError::Catalog(error)) if error.is_retryable() => {
                tracing::warn!(error = runtime::describe(&error), "the leases could not be looked after");
                Ok(())
            }
            other => other,
        }
    }

    async fn spread(&mut self) -> Result<(), WriterError> {
        let ttl = self.config.lease;
        for (partition, owned) in &mut self.owned {
            let until = self.deps.clock.now() + ttl;
            match self.deps.catalog.renew_lease(&owned.lease, until).await {
                Ok(()) => owned.lease.until = until,
                Err(CatalogError::Fenced) => return Err(WriterError::Fenced(*partition)),
                Err(error) => return Err(error.into()),
            }
        }
        let share = self.membership.share(self.all.len()).await?;
        let Plan { give_back, take } = plan(share, &self.owned.keys().copied().collect());
        if !give_back.is_empty() {
            self.give_back(&give_back).await?;
        }
        let mut taken = BTreeMap::new();
        for partition in self.all.iter().filter(|partition| !self.owned.contains_key(partition)) {
            if taken.len() >= take {
                break;
            }
            let name = format!("lake/{}/{partition}", Topic::Playback);
            let now = self.deps.clock.now();
            if let Some(lease) = self.deps.catalog.acquire_lease(&name, &self.config.owner, now, ttl).await? {
                taken.insert(*partition, lease);
            }
        }
        if taken.is_empty() { Ok(()) } else { self.take_over(taken).await }
    }

    /// Lets another writer have these partitions, once what was read of them is committed.
    async fn give_back(&mut self, partitions: &[Partition]) -> Result<(), WriterError> {
        self.commit().await?;
        for partition in partitions {
            if let Some(owned) = self.owned.remove(partition) {
                tracing::info!(%partition, "the lake writer gives a partition to another");
                self.deps.catalog.release_lease(&owned.lease).await?;
            }
        }
        self.publish();
        Ok(())
    }

    async fn take_over(&mut self, taken: BTreeMap<Partition, catalog::Lease>) -> Result<(), WriterError> {
        // What was read so far belongs to the snapshot before.
        self.commit().await?;
        let epochs = taken.iter().map(|(partition, lease)| (*partition, lease.epoch)).collect();
        let stands = self.sink.take_over(&epochs).await?;
        for (partition, lease) in taken {
            let committed = stands.get(&partition).copied().unwrap_or_default().next;
            let intake = self.states.at(partition, committed, &self.deps.log, &self.deps.lake, &self.sink).await?;
            if intake.next != committed {
                self.pending_since.get_or_insert_with(Instant::now);
            }
            tracing::info!(%partition, epoch = lease.epoch, %committed, "the lake writer owns a partition");
            self.owned.insert(partition, Owned { lease, intake, committed });
        }
        self.publish();
        Ok(())
    }

    /// Reads and folds what the log holds, as far as memory allows. False if there was nothing.
    async fn read(&mut self) -> Result<bool, WriterError> {
        let mut any = false;
        let max = self.max_pending();
        for (partition, owned) in &mut self.owned {
            if self.pending_bytes >= max {
                break;
            }
            let records = self.deps.log.read(STREAM, *partition, owned.intake.next, READ).await?;
            if records.is_empty() {
                continue;
            }
            any = true;
            self.pending_since.get_or_insert_with(Instant::now);
            let intake = std::mem::take(&mut owned.intake);
            let (intake, folded) = self.states.fold(*partition, intake, records, self.sink.schema().clone()).await?;
            owned.intake = intake;
            put_aside(self.deps, *partition, &folded).await?;
            counter!("millrace_lake_duplicate_rows_total").increment(folded.duplicate_rows as u64);
            counter!("millrace_lake_skipped_records_total").increment(folded.skipped_records as u64);
            for batch in folded.rows {
                self.pending_bytes += batch.get_array_memory_size();
                self.rows.push(batch);
            }
        }
        Ok(any)
    }

    /// Commits everything read, rows and offsets together, and then stores the folds' states.
    async fn commit(&mut self) -> Result<(), WriterError> {
        let moves: BTreeMap<Partition, Move> = self
            .owned
            .iter()
            .filter(|(_, owned)| owned.intake.next != owned.committed)
            .map(|(partition, owned)| {
                let (before, after) = (owned.committed, owned.intake.next);
                (*partition, Move { epoch: owned.lease.epoch, before, after })
            })
            .collect();
        self.pending_since = None;
        self.pending_bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        if moves.is_empty() {
            return Ok(());
        }
        let (began, count) = (Instant::now(), rows.iter().map(RecordBatch::num_rows).sum::<usize>());
        self.sink.commit(rows, &moves).await?;
        counter!("millrace_lake_commits_total").increment(1);
        counter!("millrace_lake_rows_total").increment(count as u64);
        histogram!("millrace_lake_commit_seconds").record(began.elapsed().as_secs_f64());
        for (partition, m) in &moves {
            if let Some(owned) = self.owned.get_mut(partition) {
                owned.committed = m.after;
            }
        }
        self.publish();
        self.store(moves.keys()).await
    }

    /// Stores the states of `partitions`, which stand where the table does, and lets the log know.
    async fn store(&mut self, partitions: impl Iterator<Item = &Partition>) -> Result<(), WriterError> {
        let mut states = Vec::new();
        for partition in partitions {
            if let Some(owned) = self.owned.get_mut(partition) {
                states.push((*partition, std::mem::take(&mut owned.intake)));
            }
        }
        for (partition, intake) in self.states.save(states).await? {
            let next = intake.next;
            if let Some(owned) = self.owned.get_mut(&partition) {
                owned.intake = intake;
            }
            self.deps.log.commit_position(CONSUMER, STREAM, partition, next).await?;
        }
        self.expire().await
    }

    async fn expire(&mut self) -> Result<(), WriterError> {
        let (partition, from) = self.expiry;
        let next = match self.owned.get(&partition) {
            Some(owned) => self.states.expire(partition, owned.intake.watermark, from).await?,
            None => None,
        };
        self.expiry = match next {
            Some(session) => (partition, Some(session)),
            None => (self.owned.range(Partition(partition.0 + 1)..).next().map_or(Partition(0), |(p, _)| *p), None),
        };
        Ok(())
    }

    fn publish(&self) {
        let group = format!("lake/{}", Topic::Playback);
        gauge!("millrace_partitions_owned", "group" => group).set(self.owned.len() as f64);
        let offsets = OffsetVector(self.owned.iter().map(|(partition, owned)| (*partition, owned.committed)).collect());
        for (partition, next) in &offsets.0 {
            gauge!("millrace_lake_next_offset", "partition" => partition.to_string()).set(next.0 as f64);
        }
        self.board.committed.send_replace(Committed { offsets, version: Some(self.sink.version()) });
    }

    /// Until there is something to read or to commit, or a lease to renew.
    async fn wait(&mut self, cancel: &CancellationToken) -> Result<(), WriterError> {
        let mut until = self.next_lease;
        if let Some(since) = self.pending_since {
            until = until.min(since + self.config.commit_every);
        }
        let log = &self.deps.log;
        let readable = self.owned.iter().map(|(p, owned)| log.wait(STREAM, *p, owned.intake.next)).collect::<Vec<_>>();
        let readable = if readable.is_empty() {
            futures::future::pending::<Result<(), LogError>>().boxed()
        } else {
            select_all(readable).map(|(first, _, _)| first).boxed()
        };
        tokio::select! {
            () = cancel.cancelled() => Ok(()),
            () = tokio::time::sleep_until(until) => Ok(()),
            () = self.board.flush.notified() => Ok(()),
            readable = readable => Ok(readable?),
        }
    }

    /// Gives the leases back at an orderly end, so that another writer need not wait.
    async fn release(&mut self, orderly: bool) {
        if !orderly {
            return;
        }
        let catalog = &self.deps.catalog;
        stream::iter(std::mem::take(&mut self.owned))
            .for_each(|(partition, owned)| async move {
                if let Err(error) = catalog.release_lease(&owned.lease).await {
                    tracing::warn!(%partition, error = runtime::describe(&error), "a lease runs out by itself");
                }
            })
            .await;
        self.membership.leave().await;
    }
}

/// Keeps what can't be read among the dead letters, before its offset is committed. After a crash
/// in between the same letter may be there twice, with the same partition and offset.
async fn put_aside(deps: &WriterDeps, partition: Partition, folded: &Folded) -> Result<(), WriterError> {
    for unreadable in &folded.unreadable {
        let offset = unreadable.record.offset;
        tracing::error!(%partition, %offset, reason = unreadable.reason, "a playback record becomes a dead letter");
        let letter =
            Letter { offset, stored: &unreadable.record.bytes, attempts: 1, reason: unreadable.reason.clone() };
        keep_dead_letter(&deps.producer, CONSUMER, Topic::Playback, partition, &letter, deps.clock.now()).await?;
        counter!("millrace_lake_dead_letters_total").increment(1);
    }
    Ok(())
}
