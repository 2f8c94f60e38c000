//! The table's side of exactly once: taking partitions over, and commits that carry rows and
//! offsets together.

use std::collections::BTreeMap;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use deltalake::{
    DeltaTable,
    kernel::{
        Action, Transaction,
        transaction::{CommitBuilder, CommitProperties},
    },
    logstore::LogStoreRef,
    protocol::{DeltaOperation, SaveMode},
    table::state::DeltaTableState,
    writer::{DeltaWriter, RecordBatchWriter},
};
use event_schemas::{Partition, Topic};
use lake_tables::{Lake, LakeError, schema, txn};

use crate::{
    WriterError,
    decide::{Move, Outcome, outcome},
};

const TOPIC: Topic = Topic::Playback;

/// How often a takeover is tried against other commits.
const TAKEOVER_TRIES: usize = 10;

/// The table as its writer holds it.
pub struct Sink {
    lake: Lake,
    /// The snapshot that the next commit is built on. It is never moved past a commit that this
    /// writer has not made or looked into, so that a takeover in between is always noticed.
    base: DeltaTableState,
    store: LogStoreRef,
    /// The table as opened, for the form of its files.
    opened: DeltaTable,
    schema: SchemaRef,
}

impl Sink {
    /// Opens the table, making it if it is absent.
    pub async fn open(lake: Lake) -> Result<Self, WriterError> {
        let table = lake.open_or_create(schema::playback_events()).await?;
        let schema = RecordBatchWriter::for_table(&table)?.arrow_schema();
        Ok(Self { lake, base: table.snapshot()?.clone(), store: table.log_store(), opened: table, schema })
    }

    /// The form that rows must have.
    pub const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The version of the snapshot that the next commit is built on.
    pub fn version(&self) -> u64 {
        self.base.version()
    }

    async fn table(&self) -> Result<DeltaTable, WriterError> {
        let table = self.lake.open(schema::playback_events()).await?;
        Ok(table.ok_or(LakeError::Broken { table: schema::playback_events().name, what: "is gone".to_owned() })?)
    }

    /// Makes `epoch` the owner of each partition and tells where each stands. What an earlier owner
    /// still has under way fails from here on, even one of the same epoch in an earlier life.
    ///
    /// # Errors
    /// [`WriterError::Fenced`] if a higher epoch owns a partition already.
    pub async fn take_over(
        &mut self,
        epochs: &BTreeMap<Partition, u64>,
    ) -> Result<BTreeMap<Partition, txn::Progress>, WriterError> {
        let owners = epochs.iter().map(|(partition, epoch)| txn::set_owner(TOPIC, *partition, *epoch));
        let owners: Vec<Transaction> = owners.collect();
        let mut last = None;
        for _ in 0..TAKEOVER_TRIES {
            let table = self.table().await?;
            let shown = progress(&table, epochs.keys()).await?;
            if let Some((partition, _)) =
                epochs.iter().find(|(p, epoch)| shown.get(p).is_some_and(|shown| shown.owner > **epoch))
            {
                return Err(WriterError::Fenced(*partition));
            }
            match commit(table.snapshot()?, &self.store, Vec::new(), owners.clone()).await {
                Ok(state) => {
                    self.base = state;
                    return Ok(shown);
                }
                // Lost against another commit, or its reply was lost: another try does no harm.
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(WriterError::Fenced(Partition::default())))
    }

    /// Commits `rows` together with the new offsets and the owners, and succeeds only if that has
    /// become part of the table.
    ///
    /// # Errors
    /// [`WriterError::Fenced`], [`WriterError::NotCommitted`] and [`WriterError::Diverged`] say that
    /// nothing was committed; after any other error this is unknown. The life ends with each.
    pub async fn commit(
        &mut self,
        rows: Vec<RecordBatch>,
        moves: &BTreeMap<Partition, Move>,
    ) -> Result<(), WriterError> {
        let mut writer = RecordBatchWriter::for_table(&self.opened)?;
        for batch in rows {
            writer.write(batch).await?;
        }
        let files = writer.flush().await?;
        let mut transactions = Vec::with_capacity(moves.len() * 2);
        for (partition, m) in moves {
            transactions.push(txn::set_offset(TOPIC, *partition, m.after));
            transactions.push(txn::set_owner(TOPIC, *partition, m.epoch));
        }
        let files = files.into_iter().map(Action::Add).collect();
        match commit(&self.base, &self.store, files, transactions).await {
            Ok(state) => {
                self.base = state;
                Ok(())
            }
            Err(WriterError::Lake(error)) => self.look(error, moves).await,
            Err(error) => Err(error),
        }
    }

    /// Finds out whether a commit that failed was made all the same.
    async fn look(&mut self, error: LakeError, moves: &BTreeMap<Partition, Move>) -> Result<(), WriterError> {
        let table = self.table().await?;
        let shown = progress(&table, moves.keys()).await?;
        match outcome(moves, &shown) {
            Outcome::Made => {
                tracing::warn!(error = runtime::describe(&error), "a commit was made although it reported a failure");
                self.base = table.snapshot()?.clone();
                Ok(())
            }
            Outcome::NotMade => Err(WriterError::NotCommitted(Box::new(error))),
            Outcome::Fenced(partition) => Err(WriterError::Fenced(partition)),
            Outcome::Diverged(partition, found) => {
                let m = moves.get(&partition);
                let (before, after) = m.map_or((found, found), |m| (m.before, m.after));
                Err(WriterError::Diverged { partition, found, before, after })
            }
        }
    }

    /// The table at the snapshot's version, for reading it back.
    pub async fn reread(&self) -> Result<DeltaTable, WriterError> {
        self.table().await
    }
}

async fn progress(
    table: &DeltaTable,
    partitions: impl Iterator<Item = &Partition>,
) -> Result<BTreeMap<Partition, txn::Progress>, WriterError> {
    let mut shown = BTreeMap::new();
    for partition in partitions {
        shown.insert(*partition, txn::progress(table, TOPIC, *partition).await?);
    }
    Ok(shown)
}

/// One commit on top of `base`. Commits of others that came in between are let pass unless they
/// touch one of the `transactions`.
async fn commit(
    base: &DeltaTableState,
    store: &LogStoreRef,
    files: Vec<Action>,
    transactions: Vec<Transaction>,
) -> Result<DeltaTableState, WriterError> {
    let properties = CommitProperties::default()
        .with_application_transactions(transactions)
        // Log clean-up is the maintenance job's.
        .with_cleanup_expired_logs(Some(false));
    let partition_by = Some(schema::playback_events().partitioned_by.iter().map(|&name| name.to_owned()).collect());
    let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by, predicate: None };
    let done = CommitBuilder::from(properties).with_actions(files).build(Some(base), store.clone(), operation).await?;
    Ok(done.snapshot)
}
