//! The stage's state on disk: one fjall database for all partitions, one durable batch for all
//! that a run of records changes.
//!
//! Besides the keyspaces of `intake`, whose offset they all belong to (keys begin with the
//! partition, u32 big endian):
//! * `sessions`: viewer, video, session (16 bytes each) → [`SessionState`];
//! * `last-views`: viewer, video → event time of the last counted view (i64, µs);
//! * `totals`: video → starts, views, engaged views, watch ms (u64 or i64 each);
//! * `outbox`: offset, number → a counted view not yet known to be in the `views` topic, as JSON.
//!
//! Numbers in values are little endian.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    path::Path,
};

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use event_log::StoredRecord;
use event_schemas::{
    Millis, Offset, Partition, SessionId, Timestamp, VideoId, ViewerId,
    playback::EventKind,
    records::{JsonRecord, ViewRecord},
    rules::{Admission, DEDUPLICATION_WINDOW, RULE_VERSION, VIEW_GAP},
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use intake::{IntakeError, IntakeStore, PartitionIntake, RowKey, Taken, Verdict};
use serving_store::counters::VideoCounters;

use crate::decide::{Row, SessionKey, SessionState, count_view, step};

/// How far server times of a partition may be out of order before state is thrown away too early.
const DISORDER: Millis = Millis::from_days(1);

/// Old entries looked at after each run of records, in each keyspace.
const EXPIRE_AT_ONCE: usize = 256;

/// The state of the stage.
#[derive(Clone)]
pub struct ViewsState {
    pub(crate) database: Database,
    pub(crate) intake: IntakeStore,
    pub(crate) sessions: Keyspace,
    pub(crate) last_views: Keyspace,
    pub(crate) totals: Keyspace,
    pub(crate) outbox: Keyspace,
}

/// What a run of records came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The totals of the videos that changed.
    pub totals: BTreeMap<VideoId, VideoCounters>,
    /// Rows counted or at least looked at.
    pub rows: usize,
    /// Rows taken before.
    pub duplicates: usize,
    /// Records skipped by their producer's numbering.
    pub skipped: usize,
    /// Records that can't be read; the lake writer keeps them as dead letters.
    pub unreadable: usize,
}

/// A counted view waiting to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    key: Vec<u8>,
    /// The view.
    pub view: ViewRecord,
}

/// Where throwing away old entries goes on, in each keyspace.
#[derive(Debug, Clone, Default)]
pub struct Expiry {
    intake: Option<SessionId>,
    sessions: Option<Vec<u8>>,
    last_views: Option<Vec<u8>>,
}

/// The changes of one run of records.
pub(crate) struct Changes<'a> {
    state: &'a ViewsState,
    partition: Partition,
    sessions: HashMap<SessionKey, SessionState>,
    last_views: HashMap<(ViewerId, VideoId), Option<Timestamp>>,
    totals: BTreeMap<VideoId, VideoCounters>,
    counted: Vec<(Offset, ViewRecord)>,
}

impl ViewsState {
    /// Opens the state in `path`, making it if it is absent. Blocks on the disk.
    ///
    /// # Errors
    /// The disk fails, or another process has it open.
    pub fn open(path: &Path) -> Result<Self, IntakeError> {
        Self::in_database(Database::builder(path).open()?)
    }

    /// The state in a database of its own that is open already.
    ///
    /// # Errors
    /// The disk fails.
    pub fn in_database(database: Database) -> Result<Self, IntakeError> {
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        Ok(Self {
            intake: IntakeStore::open(&database)?,
            sessions: keyspace("sessions")?,
            last_views: keyspace("last-views")?,
            totals: keyspace("totals")?,
            outbox: keyspace("outbox")?,
            database,
        })
    }

    /// Where `partition` stands; none if nothing was ever counted.
    pub(crate) fn load(&self, partition: Partition) -> Result<Option<PartitionIntake>, IntakeError> {
        self.intake.load(partition)
    }

    /// Folds `records`, which follow `intake` in offset order, and makes the outcome durable.
    /// Views of records before `sent_before` are in the `views` topic already.
    /// Blocks on the disk. On an error nothing has changed, and `intake` has to be loaded again.
    pub(crate) fn apply(
        &self,
        partition: Partition,
        intake: &mut PartitionIntake,
        records: &[StoredRecord],
        sent_before: Offset,
    ) -> Result<Applied, IntakeError> {
        let mut changes = Changes::new(self, partition);
        let mut applied = Applied::default();
        let lookup = self.intake.sessions(partition);
        for record in records {
            match intake.judge(record, &lookup)? {
                Verdict::Taken(taken) => {
                    applied.rows += taken.keys.len();
                    applied.duplicates += taken.duplicates;
                    changes.rows(&taken)?;
                }
                Verdict::Skipped(Admission::Take | Admission::Duplicate | Admission::Gap) => applied.skipped += 1,
                Verdict::Unreadable(_) => applied.unreadable += 1,
            }
        }
        changes.forget_counted_before(sent_before);
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        self.intake.stage(&mut batch, partition, intake)?;
        applied.totals = changes.stage(&mut batch)?;
        batch.commit()?;
        intake.stored();
        Ok(applied)
    }

    /// The totals of every video of `partition`.
    pub(crate) fn totals(&self, partition: Partition) -> Result<Vec<(VideoId, VideoCounters)>, IntakeError> {
        let prefix = partition.0.to_be_bytes();
        let mut totals = Vec::new();
        for guard in self.totals.prefix(prefix) {
            let (key, value) = guard.into_inner()?;
            let video =
                key.get(4..).and_then(|id| uuid::Uuid::from_slice(id).ok()).ok_or_else(|| corrupt("a video"))?;
            totals.push((VideoId::from_uuid(video), decode_totals(&value)?));
        }
        Ok(totals)
    }

    /// Up to `limit` counted views of `partition` not yet known to be sent, oldest first.
    pub(crate) fn waiting(&self, partition: Partition, limit: usize) -> Result<Vec<Waiting>, IntakeError> {
        let mut waiting = Vec::new();
        for guard in self.outbox.prefix(partition.0.to_be_bytes()).take(limit) {
            let (key, value) = guard.into_inner()?;
            let view = serde_json::from_slice(&value).map_err(|error| corrupt(&error.to_string()))?;
            waiting.push(Waiting { key: key.to_vec(), view });
        }
        Ok(waiting)
    }

    /// Forgets counted views that were sent. Not synced: after a crash they are sent again.
    pub(crate) fn sent(&self, sent: &[Waiting]) -> Result<(), IntakeError> {
        let mut batch = self.database.batch();
        for waiting in sent {
            batch.remove(&self.outbox, waiting.key.as_slice());
        }
        Ok(batch.commit()?)
    }

    /// Looks at some entries of `partition` and throws away those that no row can concern any
    /// more: sessions silent for longer than the deduplication window, and counted views so old
    /// that no event, however late, lies within the gap after them.
    pub(crate) fn expire(
        &self,
        partition: Partition,
        watermark: Timestamp,
        from: &Expiry,
    ) -> Result<Expiry, IntakeError> {
        let mut batch = self.database.batch();
        let silent = watermark - Millis(DEDUPLICATION_WINDOW.0 + DISORDER.0);
        let passed = silent - VIEW_GAP;
        let next = Expiry {
            intake: self.intake.expire(&mut batch, partition, watermark, from.intake, EXPIRE_AT_ONCE)?,
            sessions: sweep(&mut batch, &self.sessions, partition, from.sessions.as_deref(), |value| {
                Ok(decode_session(value)?.last_seen < silent)
            })?,
            last_views: sweep(&mut batch, &self.last_views, partition, from.last_views.as_deref(), |value| {
                Ok(decode_instant(value)? < passed)
            })?,
        };
        batch.commit()?;
        Ok(next)
    }
}

fn sweep(
    batch: &mut OwnedWriteBatch,
    keyspace: &Keyspace,
    partition: Partition,
    from: Option<&[u8]>,
    is_old: impl Fn(&[u8]) -> Result<bool, IntakeError>,
) -> Result<Option<Vec<u8>>, IntakeError> {
    let prefix = partition.0.to_be_bytes();
    let start = from.map_or_else(|| prefix.to_vec(), <[u8]>::to_vec);
    for (n, guard) in keyspace.range(start..).enumerate() {
        let (key, value) = guard.into_inner()?;
        if !key.starts_with(&prefix) {
            break;
        }
        if n >= EXPIRE_AT_ONCE {
            return Ok(Some(key.to_vec()));
        }
        if is_old(&value)? {
            batch.remove(keyspace, key);
        }
    }
    Ok(None)
}

impl<'a> Changes<'a> {
    pub(crate) fn new(state: &'a ViewsState, partition: Partition) -> Self {
        Self {
            state,
            partition,
            sessions: HashMap::new(),
            last_views: HashMap::new(),
            totals: BTreeMap::new(),
            counted: Vec::new(),
        }
    }

    /// Views of earlier records are in the `views` topic already.
    pub(crate) fn forget_counted_before(&mut self, offset: Offset) {
        self.counted.retain(|(of, _)| *of >= offset);
    }

    fn rows(&mut self, taken: &Taken) -> Result<(), IntakeError> {
        let columns = Columns::of(&taken.rows)?;
        for (n, key) in taken.keys.iter().enumerate() {
            self.row(taken.source.offset, &columns.row(n, key))?;
        }
        Ok(())
    }

    pub(crate) fn row(&mut self, offset: Offset, row: &Row<'_>) -> Result<(), IntakeError> {
        let SessionKey { viewer, video, session } = row.key;
        let before = match self.sessions.get(&row.key) {
            Some(state) => Some(*state),
            None => {
                let stored = self.state.sessions.get(session_key(self.partition, &row.key))?;
                stored.map(|value| decode_session(&value)).transpose()?
            }
        };
        let step = step(before, row);
        self.sessions.insert(row.key, step.session);
        let mut adds = step.adds;
        if step.qualifies {
            let last = match self.last_views.get(&(viewer, video)) {
                Some(last) => *last,
                None => {
                    let stored = self.state.last_views.get(pair_key(self.partition, viewer, video))?;
                    stored.map(|value| decode_instant(&value)).transpose()?
                }
            };
            if count_view(last, row.event_ts) {
                adds.views = 1;
                self.last_views.insert((viewer, video), Some(row.event_ts));
                self.counted.push((
                    offset,
                    ViewRecord {
                        v: 1,
                        rule: RULE_VERSION,
                        video_id: video,
                        viewer_id: viewer,
                        session_id: session,
                        event_ts: row.event_ts,
                        delta: 1,
                    },
                ));
            }
        }
        if adds != VideoCounters::default() {
            let total = match self.totals.entry(video) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unmet) => {
                    let stored = self.state.totals.get(video_key(self.partition, video))?;
                    unmet.insert(stored.map(|value| decode_totals(&value)).transpose()?.unwrap_or_default())
                }
            };
            *total += adds;
        }
        Ok(())
    }

    pub(crate) fn stage(self, batch: &mut OwnedWriteBatch) -> Result<BTreeMap<VideoId, VideoCounters>, IntakeError> {
        let (state, partition) = (self.state, self.partition);
        for (key, session) in &self.sessions {
            batch.insert(&state.sessions, session_key(partition, key), encode_session(session));
        }
        for ((viewer, video), at) in &self.last_views {
            if let Some(at) = at {
                batch.insert(&state.last_views, pair_key(partition, *viewer, *video), at.as_micros().to_le_bytes());
            }
        }
        for (video, total) in &self.totals {
            batch.insert(&state.totals, video_key(partition, *video), encode_totals(total));
        }
        for (number, (offset, view)) in (0u32..).zip(&self.counted) {
            let mut key = partition.0.to_be_bytes().to_vec();
            key.extend(offset.0.to_be_bytes());
            key.extend(number.to_be_bytes());
            let value = view.to_payload().map_err(|error| corrupt(&error.to_string()))?;
            batch.insert(&state.outbox, key, value.as_ref());
        }
        Ok(self.totals)
    }
}

/// The columns that the rules see.
pub(crate) struct Columns<'a> {
    kind: &'a StringArray,
    from: &'a Int64Array,
    to: &'a Int64Array,
    granted: &'a BooleanArray,
    dropped_by: &'a StringArray,
    source: &'a StringArray,
    duration: &'a Int64Array,
    event_ts: &'a arrow::array::TimestampMicrosecondArray,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(rows: &'a RecordBatch) -> Result<Self, IntakeError> {
        let column = |name: &str| rows.column_by_name(name).ok_or_else(|| corrupt(name));
        Ok(Self {
            kind: column("kind")?.as_string::<i32>(),
            from: column("media_from_ms")?.as_primitive::<Int64Type>(),
            to: column("media_to_ms")?.as_primitive::<Int64Type>(),
            granted: column("granted")?.as_boolean(),
            dropped_by: column("dropped_by")?.as_string::<i32>(),
            source: column("source")?.as_string::<i32>(),
            duration: column("video_duration_ms")?.as_primitive::<Int64Type>(),
            event_ts: column("event_ts")?.as_primitive::<TimestampMicrosecondType>(),
        })
    }

    pub(crate) fn row(&self, n: usize, key: &RowKey) -> Row<'a> {
        let number = |column: &Int64Array| column.is_valid(n).then(|| column.value(n));
        Row {
            key: SessionKey { viewer: key.viewer, video: key.video, session: key.session },
            is_start: self.kind.value(n) == EventKind::Start.as_str(),
            interval: number(self.from).zip(number(self.to)),
            granted: self.granted.value(n),
            dropped: self.dropped_by.is_valid(n),
            source: self.source.is_valid(n).then(|| self.source.value(n)),
            duration: number(self.duration).map(Millis),
            server_ts: key.server_ts,
            event_ts: Timestamp::from_micros(self.event_ts.value(n)),
        }
    }
}

pub(crate) fn corrupt(what: &str) -> IntakeError {
    IntakeError::Corrupt(what.to_owned())
}

fn session_key(partition: Partition, key: &SessionKey) -> Vec<u8> {
    let mut out = pair_key(partition, key.viewer, key.video);
    out.extend(key.session.as_uuid().as_bytes());
    out
}

fn pair_key(partition: Partition, viewer: ViewerId, video: VideoId) -> Vec<u8> {
    let mut out = Vec::with_capacity(52);
    out.extend(partition.0.to_be_bytes());
    out.extend(viewer.as_bytes());
    out.extend(video.as_uuid().as_bytes());
    out
}

fn video_key(partition: Partition, video: VideoId) -> Vec<u8> {
    let mut out = partition.0.to_be_bytes().to_vec();
    out.extend(video.as_uuid().as_bytes());
    out
}

fn encode_session(session: &SessionState) -> Vec<u8> {
    let mut out = Vec::with_capacity(17);
    out.extend(session.last_seen.as_micros().to_le_bytes());
    out.extend(session.watched.0.to_le_bytes());
    out.push(u8::from(session.started) | u8::from(session.qualified) << 1 | u8::from(session.engaged) << 2);
    out
}

fn decode_session(value: &[u8]) -> Result<SessionState, IntakeError> {
    let value: &[u8; 17] = value.try_into().map_err(|_| corrupt("a session"))?;
    let (last_seen, rest) = value.split_first_chunk::<8>().ok_or_else(|| corrupt("a session"))?;
    let (watched, flags) = rest.split_first_chunk::<8>().ok_or_else(|| corrupt("a session"))?;
    let flag = |bit: u8| flags.first().is_some_and(|flags| flags & (1 << bit) != 0);
    Ok(SessionState {
        last_seen: Timestamp::from_micros(i64::from_le_bytes(*last_seen)),
        watched: Millis(i64::from_le_bytes(*watched)),
        started: flag(0),
        qualified: flag(1),
        engaged: flag(2),
    })
}

fn decode_instant(value: &[u8]) -> Result<Timestamp, IntakeError> {
    let value: [u8; 8] = value.try_into().map_err(|_| corrupt("an instant"))?;
    Ok(Timestamp::from_micros(i64::from_le_bytes(value)))
}

fn encode_totals(total: &VideoCounters) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    for number in [total.starts, total.views, total.engaged] {
        out.extend(number.to_le_bytes());
    }
    out.extend(total.watch_ms.0.to_le_bytes());
    out
}

fn decode_totals(value: &[u8]) -> Result<VideoCounters, IntakeError> {
    let (numbers, rest) = value.as_chunks::<8>();
    let ([starts, views, engaged, watch_ms], []) = (numbers, rest) else { return Err(corrupt("a video's totals")) };
    Ok(VideoCounters {
        starts: u64::from_le_bytes(*starts),
        views: u64::from_le_bytes(*views),
        engaged: u64::from_le_bytes(*engaged),
        watch_ms: Millis(i64::from_le_bytes(*watch_ms)),
    })
}
