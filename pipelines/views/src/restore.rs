//! Making the state of a partition anew from rows that were taken before. Nothing of it counts
//! until the last step, which stores the offset that all of it belongs to.

use std::collections::HashMap;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type, Schema, TimeUnit, TimestampMicrosecondType},
};
use event_schemas::{
    Millis, Offset, Partition, ProducerId, ProducerStamp, SessionId, Timestamp, rules::DEDUPLICATION_WINDOW,
};
use fjall::{Keyspace, PersistMode};
use intake::{IntakeError, PartitionIntake, RowKey, SessionSeen};

use crate::{
    ViewsState,
    state::{Changes, Columns, corrupt},
};

/// Keys removed in one batch.
const REMOVE_AT_ONCE: usize = 10_000;

/// Rows between two looks for sessions that can be forgotten.
const FORGET_EVERY: usize = 1_000_000;

/// What is gathered while the rows pass.
pub(crate) struct Restoring {
    partition: Partition,
    /// Views of records from here on may not have been sent; they are sent again.
    sent_before: Offset,
    sessions: HashMap<SessionId, SessionSeen>,
    stamps: HashMap<ProducerId, ProducerStamp>,
    watermark: Timestamp,
    rows: usize,
}

impl ViewsState {
    /// Forgets everything about `partition` and begins to make it anew. Blocks on the disk.
    pub(crate) fn begin_restoring(&self, partition: Partition, sent_before: Offset) -> Result<Restoring, IntakeError> {
        // The offset goes first: what is half removed must not look like a state.
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        self.intake.forget_position(&mut batch, partition);
        batch.commit()?;
        for keyspace in [&self.sessions, &self.last_views, &self.totals, &self.outbox] {
            self.remove_all(keyspace, partition)?;
        }
        self.remove_all(self.intake.sessions_keyspace(), partition)?;
        Ok(Restoring {
            partition,
            sent_before,
            sessions: HashMap::new(),
            stamps: HashMap::new(),
            watermark: Timestamp::default(),
            rows: 0,
        })
    }

    fn remove_all(&self, keyspace: &Keyspace, partition: Partition) -> Result<(), IntakeError> {
        loop {
            let mut batch = self.database.batch();
            let mut removed = 0;
            for guard in keyspace.prefix(partition.0.to_be_bytes()).take(REMOVE_AT_ONCE) {
                batch.remove(keyspace, guard.key()?);
                removed += 1;
            }
            batch.commit()?;
            if removed < REMOVE_AT_ONCE {
                return Ok(());
            }
        }
    }

    /// Counts the rows of `batch`, which follow those before. Blocks on the disk.
    pub(crate) fn restore(&self, restoring: &mut Restoring, batch: &RecordBatch) -> Result<(), IntakeError> {
        let rows = in_known_types(batch)?;
        let columns = Columns::of(&rows)?;
        let keys = Keys::of(&rows)?;
        let mut changes = Changes::new(self, restoring.partition);
        for n in 0..rows.num_rows() {
            let key = keys.row(n)?;
            let offset = restoring.note(&keys, n, &key)?;
            changes.row(offset, &columns.row(n, &key))?;
        }
        changes.forget_counted_before(restoring.sent_before);
        let mut batch = self.database.batch();
        changes.stage(&mut batch)?;
        batch.commit()?;
        restoring.forget_silent();
        Ok(())
    }

    /// Stores the offset, and with it makes everything restored valid. Blocks on the disk.
    pub(crate) fn finish_restoring(&self, restoring: Restoring, until: Offset) -> Result<PartitionIntake, IntakeError> {
        let mut restoring = restoring;
        restoring.forget_silent();
        let stamps = restoring.stamps.into_values();
        let mut intake = PartitionIntake::rebuilt(until, stamps, restoring.sessions);
        intake.watermark = intake.watermark.max(restoring.watermark);
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        self.intake.stage(&mut batch, restoring.partition, &intake)?;
        batch.commit()?;
        intake.stored();
        Ok(intake)
    }
}

impl Restoring {
    /// Remembers what recognises the row `n` when it comes again; tells where its record lay.
    fn note(&mut self, keys: &Keys<'_>, n: usize, key: &RowKey) -> Result<Offset, IntakeError> {
        let stamp = keys.stamp(n)?;
        let last = self.stamps.entry(stamp.id).or_insert(stamp);
        if (stamp.epoch, stamp.seq) > (last.epoch, last.seq) {
            *last = stamp;
        }
        let seen = self.sessions.entry(key.session).or_default();
        // As the fold does: a session silent for longer begins anew.
        if key.server_ts > seen.last_seen + DEDUPLICATION_WINDOW {
            *seen = SessionSeen::default();
        }
        seen.seqs.insert(key.seq);
        seen.last_seen = seen.last_seen.max(key.server_ts);
        self.watermark = self.watermark.max(key.server_ts);
        self.rows += 1;
        Ok(keys.offset(n))
    }

    fn forget_silent(&mut self) {
        if self.rows < FORGET_EVERY {
            return;
        }
        self.rows = 0;
        let silent = self.watermark - Millis(DEDUPLICATION_WINDOW.0 + Millis::from_days(1).0);
        self.sessions.retain(|_, seen| seen.last_seen >= silent);
    }
}

/// The columns that identify a row and its record.
struct Keys<'a>(&'a RecordBatch);

impl<'a> Keys<'a> {
    const TEXTS: [&'static str; 4] = ["session_id", "viewer_id", "video_id", "producer"];
    const NUMBERS: [&'static str; 4] = ["seq", "log_offset", "producer_epoch", "producer_seq"];

    fn of(rows: &'a RecordBatch) -> Result<Self, IntakeError> {
        for name in Self::TEXTS.into_iter().chain(Self::NUMBERS).chain(["server_ts"]) {
            let column = rows.column_by_name(name).ok_or_else(|| corrupt(name))?;
            if column.null_count() > 0 {
                return Err(corrupt(name));
            }
        }
        Ok(Self(rows))
    }

    fn text(&self, name: &str, n: usize) -> &'a str {
        self.0.column_by_name(name).map_or("", |column| column.as_string::<i32>().value(n))
    }

    fn number(&self, name: &str, n: usize) -> i64 {
        self.0.column_by_name(name).map_or(0, |column| column.as_primitive::<Int64Type>().value(n))
    }

    fn unsigned(&self, name: &str, n: usize) -> Result<u64, IntakeError> {
        u64::try_from(self.number(name, n)).map_err(|_| corrupt(name))
    }

    fn id<T: std::str::FromStr>(&self, name: &str, n: usize) -> Result<T, IntakeError> {
        self.text(name, n).parse().map_err(|_| corrupt(name))
    }

    fn offset(&self, n: usize) -> Offset {
        Offset(u64::try_from(self.number("log_offset", n)).unwrap_or_default())
    }

    fn stamp(&self, n: usize) -> Result<ProducerStamp, IntakeError> {
        Ok(ProducerStamp {
            id: self.id("producer", n)?,
            epoch: self.unsigned("producer_epoch", n)?,
            seq: self.unsigned("producer_seq", n)?,
        })
    }

    fn row(&self, n: usize) -> Result<RowKey, IntakeError> {
        let server = self.0.column_by_name("server_ts").ok_or_else(|| corrupt("server_ts"))?;
        Ok(RowKey {
            session: self.id("session_id", n)?,
            seq: u32::try_from(self.number("seq", n)).map_err(|_| corrupt("seq"))?,
            viewer: self.id("viewer_id", n)?,
            video: self.id("video_id", n)?,
            server_ts: Timestamp::from_micros(server.as_primitive::<TimestampMicrosecondType>().value(n)),
        })
    }
}

/// Engines hand out views of text and instants with zones; the rules know one type of each.
fn in_known_types(batch: &RecordBatch) -> Result<RecordBatch, IntakeError> {
    let known = |data_type: &DataType| match data_type {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Dictionary(..) => DataType::Utf8,
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, None),
        other => other.clone(),
    };
    let schema = batch.schema();
    let fields: Vec<_> =
        schema.fields().iter().map(|field| field.as_ref().clone().with_data_type(known(field.data_type()))).collect();
    let columns = batch.columns().iter().zip(&fields).map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|error| corrupt(&error.to_string()))?;
    RecordBatch::try_new(std::sync::Arc::new(Schema::new(fields)), columns).map_err(|error| corrupt(&error.to_string()))
}
