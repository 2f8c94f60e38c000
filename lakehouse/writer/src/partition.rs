//! One partition of the writer: its fold, and bringing that up to where the table stands.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use catalog::Lease;
use event_log::{EventLog, LogError, ReadLimit, StoredRecord, Stream};
use event_schemas::{Offset, Partition, Topic, rules::Admission};
use fjall::{Database, PersistMode};
use intake::{IntakeStore, PartitionIntake, Verdict};
use lake_tables::Lake;

use crate::{WriterError, rebuild, rows, table::Sink};

pub const STREAM: Stream = Stream::Main(Topic::Playback);

/// What one read asks for; compressed, so that it becomes several times as much in memory.
pub const READ: ReadLimit = ReadLimit { records: 1024, bytes: 2 << 20 };

/// A partition that this life of the writer owns.
pub struct Owned {
    pub lease: Lease,
    pub intake: PartitionIntake,
    /// The next offset in the snapshot that the next commit is built on.
    pub committed: Offset,
}

/// A record that can't be read.
pub struct Unreadable {
    pub record: StoredRecord,
    pub reason: String,
}

/// What a run of records came to.
#[derive(Default)]
pub struct Folded {
    pub rows: Vec<RecordBatch>,
    pub unreadable: Vec<Unreadable>,
    pub duplicate_rows: usize,
    pub skipped_records: usize,
}

/// The store of the folds' states.
#[derive(Clone)]
pub struct States {
    database: Database,
    pub store: IntakeStore,
}

impl States {
    pub fn open(database: Database) -> Result<Self, WriterError> {
        let store = IntakeStore::open(&database)?;
        Ok(Self { database, store })
    }

    /// Folds `records`, which follow the state in offset order.
    pub async fn fold(
        &self,
        partition: Partition,
        mut intake: PartitionIntake,
        records: Vec<StoredRecord>,
        schema: SchemaRef,
    ) -> Result<(PartitionIntake, Folded), WriterError> {
        let sessions = self.store.sessions(partition);
        tokio::task::spawn_blocking(move || {
            let mut folded = Folded::default();
            for record in records {
                match intake.judge(&record, &sessions)? {
                    Verdict::Taken(taken) => {
                        folded.duplicate_rows += taken.duplicates;
                        if taken.rows.num_rows() > 0 {
                            folded.rows.push(rows::to_table(partition, &taken, &schema)?);
                        }
                    }
                    Verdict::Skipped(Admission::Gap) => {
                        tracing::error!(%partition, offset = %record.offset, "records of its producer are missing before a record; it is skipped");
                        folded.skipped_records += 1;
                    }
                    Verdict::Skipped(_) => folded.skipped_records += 1,
                    Verdict::Unreadable(reason) => folded.unreadable.push(Unreadable { record, reason }),
                }
            }
            Ok((intake, folded))
        })
        .await?
    }

    /// Stores the states as they are now, all in one durable batch.
    pub async fn save(
        &self,
        states: Vec<(Partition, PartitionIntake)>,
    ) -> Result<Vec<(Partition, PartitionIntake)>, WriterError> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut states = states;
            let mut batch = this.database.batch().durability(Some(PersistMode::SyncData));
            for (partition, intake) in &states {
                this.store.stage(&mut batch, *partition, intake)?;
            }
            batch.commit()?;
            states.iter_mut().for_each(|(_, intake)| intake.stored());
            Ok(states)
        })
        .await?
    }

    /// Removes some sessions of `partition` that no row can concern any more, beginning after
    /// `from`; tells where to go on.
    pub async fn expire(
        &self,
        partition: Partition,
        watermark: event_schemas::Timestamp,
        from: Option<event_schemas::SessionId>,
    ) -> Result<Option<event_schemas::SessionId>, WriterError> {
        const AT_ONCE: usize = 256;
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut batch = this.database.batch();
            let next = this.store.expire(&mut batch, partition, watermark, from, AT_ONCE)?;
            batch.commit()?;
            Ok(next)
        })
        .await?
    }

    /// The state of `partition` at `committed`, where the table stands.
    pub async fn at(
        &self,
        partition: Partition,
        committed: Offset,
        log: &Arc<dyn EventLog>,
        lake: &Lake,
        sink: &Sink,
    ) -> Result<PartitionIntake, WriterError> {
        let ends = log.watermarks(STREAM, partition).await?;
        if ends.next < committed {
            return Err(WriterError::LogBehind { partition, lake: committed, log: ends.next });
        }
        let saved = self.store.load(partition)?;
        let intake = match saved {
            Some(saved) if saved.next <= committed => match self.catch_up(partition, saved, committed, log, sink).await
            {
                Err(WriterError::Log(LogError::OffsetDropped { .. })) => None,
                other => Some(other?),
            },
            // The table was set back to an earlier state than the store's.
            Some(_) => None,
            None if committed == Offset(0) && ends.first == Offset(0) => Some(PartitionIntake::default()),
            None if committed == Offset(0) => {
                tracing::error!(%partition, first = %ends.first, "the log no longer holds the first records of a new lake");
                Some(PartitionIntake::rebuilt(ends.first, [], std::collections::HashMap::new()))
            }
            None => None,
        };
        if let Some(intake) = intake {
            return Ok(intake);
        }
        tracing::warn!(%partition, %committed, "the duplicate filter is rebuilt from the table");
        let rebuilt = rebuild::from_table(lake, &sink.reread().await?, partition, committed).await?;
        let saved = self.save(vec![(partition, rebuilt)]).await?.pop();
        Ok(saved.map(|(_, intake)| intake).unwrap_or_default())
    }

    /// Folds the records from the state's offset to `committed` once more; their rows are in the
    /// table and their dead letters are kept.
    async fn catch_up(
        &self,
        partition: Partition,
        mut intake: PartitionIntake,
        committed: Offset,
        log: &Arc<dyn EventLog>,
        sink: &Sink,
    ) -> Result<PartitionIntake, WriterError> {
        let behind = intake.next < committed;
        while intake.next < committed {
            let mut records = log.read(STREAM, partition, intake.next, READ).await?;
            records.retain(|record| record.offset < committed);
            if records.is_empty() {
                return Err(WriterError::LogBehind { partition, lake: committed, log: intake.next });
            }
            (intake, _) = self.fold(partition, intake, records, sink.schema().clone()).await?;
        }
        if behind {
            let saved = self.save(vec![(partition, intake)]).await?.pop();
            return Ok(saved.map(|(_, intake)| intake).unwrap_or_default());
        }
        Ok(intake)
    }
}
