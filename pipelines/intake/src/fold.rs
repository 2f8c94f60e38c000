//! The fold: record by record, row by row.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use arrow::{
    array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array},
    compute::take_record_batch,
};
use event_log::StoredRecord;
use event_schemas::{
    Envelope, InvalidId, Offset, ProducerId, ProducerStamp, SessionId, Timestamp, VideoId, ViewerId, playback,
    records::SchemaId,
    rules::{Admission, DEDUPLICATION_WINDOW, ProducerGate, SeenSeqs},
};

/// What is remembered of a session's numbering.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionSeen {
    /// The numbers taken.
    pub seqs: SeenSeqs,
    /// The latest server time of the rows taken.
    pub last_seen: Timestamp,
}

/// Where the fold finds sessions that it has not touched since its state was last stored.
pub trait Sessions {
    /// Why a look-up failed.
    type Error;

    /// The session as stored, if it is.
    ///
    /// # Errors
    /// The store failed.
    fn session(&self, id: SessionId) -> Result<Option<SessionSeen>, Self::Error>;
}

/// Sessions kept in memory, for tests and for folding a history from its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemorySessions(pub HashMap<SessionId, SessionSeen>);

impl Sessions for MemorySessions {
    type Error = std::convert::Infallible;

    fn session(&self, id: SessionId) -> Result<Option<SessionSeen>, Self::Error> {
        Ok(self.0.get(&id).cloned())
    }
}

/// Where taken rows lie in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSource {
    /// The life of the log.
    pub generation: u64,
    /// The record.
    pub offset: Offset,
    /// Who produced it.
    pub stamp: ProducerStamp,
}

/// What identifies a row and what it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowKey {
    /// The playback.
    pub session: SessionId,
    /// The row's number in it.
    pub seq: u32,
    /// Who watches.
    pub viewer: ViewerId,
    /// What.
    pub video: VideoId,
    /// When the edge received it.
    pub server_ts: Timestamp,
}

/// The rows of one record that are taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The record.
    pub source: RowSource,
    /// The rows, in their order in the record; there may be none.
    pub rows: RecordBatch,
    /// What identifies each row.
    pub keys: Vec<RowKey>,
    /// The place of each row in the record, from 0.
    pub index: Vec<u32>,
    /// The rows of the record that were taken before.
    pub duplicates: usize,
}

/// What becomes of a record.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Its rows are taken, save those taken before.
    Taken(Taken),
    /// Its producer's numbering says that it was taken before or is out of turn.
    Skipped(Admission),
    /// It can't be read; it belongs among the dead letters. The partition goes on.
    Unreadable(String),
}

/// The state of one partition: which records and rows have been taken before `next`.
#[derive(Debug, Clone, Default)]
pub struct PartitionIntake {
    /// The next offset to judge.
    pub next: Offset,
    /// The latest server time of all rows taken.
    pub watermark: Timestamp,
    pub(crate) gate: ProducerGate,
    /// Producers whose numbering is trusted although the gate was rebuilt; none if it never was.
    pub(crate) rebuilt: Option<BTreeSet<ProducerId>>,
    pub(crate) changed: HashMap<SessionId, SessionSeen>,
}

impl PartitionIntake {
    /// The state rebuilt from what was taken before `next`: the last stamp of each producer as
    /// far as it is known, and the sessions. The first record of each producer is then taken even
    /// if its number shows that others lay between, since records without a single new row leave
    /// no trace in what was stored; rows are recognised all the same.
    pub fn rebuilt(
        next: Offset,
        stamps: impl IntoIterator<Item = ProducerStamp>,
        sessions: HashMap<SessionId, SessionSeen>,
    ) -> Self {
        let mut gate = ProducerGate::default();
        stamps.into_iter().for_each(|stamp| gate.resume(stamp));
        let watermark = sessions.values().map(|seen| seen.last_seen).max().unwrap_or_default();
        Self { next, watermark, gate, rebuilt: Some(BTreeSet::new()), changed: sessions }
    }

    /// The sessions changed since the state was last stored.
    #[must_use]
    pub fn changed(&self) -> &HashMap<SessionId, SessionSeen> {
        &self.changed
    }

    /// Forgets which sessions changed, once they are stored where [`Sessions`] finds them.
    pub fn stored(&mut self) {
        self.changed.clear();
    }

    /// Judges the record at `next` and moves past it.
    ///
    /// # Errors
    /// A session can't be looked up; the state is then spoilt and has to be loaded again.
    pub fn judge<S: Sessions>(&mut self, record: &StoredRecord, sessions: &S) -> Result<Verdict, S::Error> {
        self.next = record.offset.next();
        let envelope = match Envelope::decode(&record.bytes) {
            Ok(envelope) => envelope,
            Err(error) => return Ok(Verdict::Unreadable(error.to_string())),
        };
        let admission = self.admit(envelope.producer);
        if admission != Admission::Take {
            return Ok(Verdict::Skipped(admission));
        }
        let (batch, all) = match read(&envelope) {
            Ok(read) => read,
            Err(reason) => return Ok(Verdict::Unreadable(reason)),
        };
        let mut index = Vec::with_capacity(all.len());
        let mut keys = Vec::with_capacity(all.len());
        for (n, key) in (0u32..).zip(&all) {
            if self.first_time(key, sessions)? {
                index.push(n);
                keys.push(*key);
            }
        }
        let duplicates = all.len() - index.len();
        let rows = if duplicates == 0 {
            batch
        } else {
            match take_record_batch(&batch, &UInt32Array::from(index.clone())) {
                Ok(batch) => batch,
                Err(error) => return Ok(Verdict::Unreadable(error.to_string())),
            }
        };
        let source = RowSource { generation: record.generation, offset: record.offset, stamp: envelope.producer };
        Ok(Verdict::Taken(Taken { source, rows, keys, index, duplicates }))
    }

    fn admit(&mut self, stamp: ProducerStamp) -> Admission {
        let admission = self.gate.admit(stamp);
        let Some(trusted) = &mut self.rebuilt else { return admission };
        let first_since_rebuilt = trusted.insert(stamp.id);
        if admission == Admission::Gap && first_since_rebuilt {
            self.gate.resume(stamp);
            return Admission::Take;
        }
        if admission == Admission::Duplicate && first_since_rebuilt {
            // Says nothing yet about the records between the last one known and the next.
            trusted.remove(&stamp.id);
        }
        admission
    }

    fn first_time<S: Sessions>(&mut self, key: &RowKey, sessions: &S) -> Result<bool, S::Error> {
        let RowKey { session, seq, server_ts, .. } = *key;
        let seen = match self.changed.entry(session) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unmet) => unmet.insert(sessions.session(session)?.unwrap_or_default()),
        };
        // Only the session's own rows decide, so that it makes no difference when the stored state
        // of a silent session is thrown away.
        if server_ts > seen.last_seen + DEDUPLICATION_WINDOW {
            *seen = SessionSeen::default();
        }
        if !seen.seqs.insert(seq) {
            return Ok(false);
        }
        seen.last_seen = seen.last_seen.max(server_ts);
        self.watermark = self.watermark.max(server_ts);
        Ok(true)
    }
}

/// The payload's rows and what identifies each; a payload with a single malformed key is refused
/// whole, before any of its rows is taken.
fn read(envelope: &Envelope) -> Result<(RecordBatch, Vec<RowKey>), String> {
    match SchemaId::try_from(envelope.schema) {
        Ok(SchemaId::PlaybackBatch) => {}
        Ok(other) => return Err(format!("schema {other:?} in the playback topic")),
        Err(error) => return Err(error.to_string()),
    }
    let batch = playback::decode(&envelope.payload).map_err(|error| error.to_string())?;
    let sessions: &StringArray = column(&batch, "session_id")?;
    let seqs: &Int64Array = column(&batch, "seq")?;
    let viewers: &StringArray = column(&batch, "viewer_id")?;
    let videos: &StringArray = column(&batch, "video_id")?;
    let server: &TimestampMicrosecondArray = column(&batch, "server_ts")?;
    let keys = (0..batch.num_rows())
        .map(|row| {
            Ok(RowKey {
                session: id(sessions.value(row))?,
                seq: u32::try_from(seqs.value(row)).map_err(|_| format!("event number {}", seqs.value(row)))?,
                viewer: id(viewers.value(row))?,
                video: id(videos.value(row))?,
                server_ts: Timestamp::from_micros(server.value(row)),
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    Ok((batch, keys))
}

fn id<T: std::str::FromStr<Err = InvalidId>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: InvalidId| error.to_string())
}

fn column<'a, T: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T, String> {
    batch
        .column_by_name(name)
        .map(ArrayRef::as_any)
        .and_then(|any| any.downcast_ref())
        .ok_or_else(|| format!("column {name} is absent or of another type"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use event_schemas::{
        Millis,
        playback::{EventKind, PlaybackEvent},
    };
    use uuid::Uuid;

    use super::*;

    fn event(session: u128, seq: u32, server_day: i64) -> PlaybackEvent {
        let at = Timestamp::from_millis(0) + Millis::from_days(server_day);
        PlaybackEvent {
            session_id: SessionId::from_uuid(Uuid::from_u128(session)),
            seq,
            viewer_id: ViewerId::from_bytes([1; 16]),
            video_id: VideoId::from_uuid(Uuid::from_u128(9)),
            rendition: None,
            kind: EventKind::Attempt,
            media_from_ms: None,
            media_to_ms: None,
            speed: None,
            client_ts: at,
            server_ts: at,
            event_ts: at,
            startup_ms: None,
            stall_ms: None,
            dropped_frames: None,
            bitrate_kbps: None,
            error_code: None,
            source: None,
            referrer_host: None,
            experiment: None,
            country: None,
            device: None,
            os: None,
            browser: None,
            player: None,
            granted: true,
            video_duration_ms: None,
            cmcd: None,
            dropped_by: None,
        }
    }

    fn record(offset: u64, epoch: u64, seq: u64, events: &[PlaybackEvent]) -> StoredRecord {
        let payload = playback::encode(&playback::to_batch(events).unwrap()).unwrap();
        stored(offset, epoch, seq, SchemaId::PlaybackBatch as u16, payload)
    }

    fn stored(offset: u64, epoch: u64, seq: u64, schema: u16, payload: Bytes) -> StoredRecord {
        let envelope = Envelope {
            schema,
            producer: ProducerStamp { id: ProducerId::from_uuid(Uuid::from_u128(5)), epoch, seq },
            produced_at: Timestamp::default(),
            key: Bytes::new(),
            payload,
        };
        StoredRecord {
            generation: 1,
            offset: Offset(offset),
            appended_at: Timestamp::default(),
            bytes: envelope.encode(),
        }
    }

    fn rows(verdict: Verdict) -> Vec<u32> {
        match verdict {
            Verdict::Taken(taken) => {
                assert_eq!(taken.rows.num_rows(), taken.index.len());
                taken.index
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn records_and_rows_are_taken_once() {
        let none = MemorySessions::default();
        let mut intake = PartitionIntake::default();
        let first = record(0, 1, 0, &[event(1, 0, 1), event(1, 1, 1), event(1, 1, 1)]);
        assert_eq!(rows(intake.judge(&first, &none).unwrap()), [0, 1], "a number twice in one record");
        let resent = StoredRecord { offset: Offset(1), ..first };
        assert!(matches!(intake.judge(&resent, &none).unwrap(), Verdict::Skipped(Admission::Duplicate)));
        let overlapping = record(2, 1, 1, &[event(1, 1, 1), event(1, 2, 1), event(2, 1, 1)]);
        assert_eq!(rows(intake.judge(&overlapping, &none).unwrap()), [1, 2]);
        let gap = record(3, 1, 3, &[event(3, 0, 1)]);
        assert!(matches!(intake.judge(&gap, &none).unwrap(), Verdict::Skipped(Admission::Gap)));
        assert_eq!(intake.next, Offset(4));
    }

    #[test]
    fn an_unreadable_record_takes_its_number_and_the_partition_goes_on() {
        let none = MemorySessions::default();
        let mut intake = PartitionIntake::default();
        let bad = [
            stored(0, 1, 0, SchemaId::PlaybackBatch as u16, Bytes::from_static(b"nonsense")),
            stored(1, 1, 1, SchemaId::Video as u16, Bytes::from_static(b"{}")),
            stored(2, 1, 2, 999, Bytes::new()),
        ];
        for record in bad {
            assert!(matches!(intake.judge(&record, &none).unwrap(), Verdict::Unreadable(_)));
        }
        assert_eq!(rows(intake.judge(&record(3, 1, 3, &[event(1, 0, 1)]), &none).unwrap()), [0]);
    }

    #[test]
    fn a_session_is_remembered_for_seven_days_after_its_last_row() {
        let none = MemorySessions::default();
        let mut intake = PartitionIntake::default();
        let days = [(1, true), (6, false), (7, false), (8, false), (9, true), (10, false)];
        for (n, (day, taken)) in (0u64..).zip(days) {
            let verdict = intake.judge(&record(n, 1, n, &[event(1, 0, day)]), &none).unwrap();
            assert_eq!(!rows(verdict).is_empty(), taken, "day {day}");
        }
    }

    #[test]
    fn a_rebuilt_state_goes_on_after_records_that_left_no_rows() {
        let none = MemorySessions::default();
        let mut before = PartitionIntake::default();
        for n in 0..3 {
            before.judge(&record(n, 1, n, &[event(1, 0, 1)]), &none).unwrap();
        }
        // The table knows the stamp of the first record alone: the others held duplicates.
        let known = ProducerStamp { id: ProducerId::from_uuid(Uuid::from_u128(5)), epoch: 1, seq: 0 };
        let mut after = PartitionIntake::rebuilt(Offset(3), [known], before.changed.clone());
        let resent = record(3, 1, 0, &[event(1, 0, 1)]);
        assert!(matches!(after.judge(&resent, &none).unwrap(), Verdict::Skipped(Admission::Duplicate)));
        assert_eq!(rows(after.judge(&record(4, 1, 3, &[event(1, 0, 1), event(1, 1, 1)]), &none).unwrap()), [1]);
        let gap = record(5, 1, 5, &[event(1, 2, 1)]);
        assert!(matches!(after.judge(&gap, &none).unwrap(), Verdict::Skipped(Admission::Gap)), "only once");
    }
}
