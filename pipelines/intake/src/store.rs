//! Where a consumer keeps the fold's state: two keyspaces of its own fjall database, written in
//! the same durable batch as whatever else the consumer keeps at that offset.
//!
//! Keys of `intake-sessions`: partition (u32, big endian), session (16 bytes). Values: last seen
//! (i64, µs, little endian), then the intervals of numbers taken (pairs of u32, little endian).
//! Keys of `intake-partitions`: partition. Values: JSON.

use std::collections::BTreeSet;

use event_schemas::{
    Fault, Faulty, Millis, Offset, Partition, ProducerId, SessionId, Timestamp,
    rules::{DEDUPLICATION_WINDOW, ProducerGate, SeenSeqs},
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch};
use serde::{Deserialize, Serialize};

use crate::{PartitionIntake, SessionSeen, Sessions};

/// How far server times of one partition may be out of order before a silent session's state is
/// thrown away too early.
const DISORDER: Millis = Millis::from_days(1);

/// The state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The database failed.
    #[error("the state store failed")]
    Store(#[from] fjall::Error),
    /// A stored value is not of the form this program writes.
    #[error("the state store holds an unreadable value: {0}")]
    Corrupt(String),
}

impl Faulty for IntakeError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(_) => Fault::Dependency,
            Self::Corrupt(_) => Fault::Program,
        }
    }
}

/// A partition's state as stored, without its sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPartition {
    /// The version of this shape: 1.
    v: u8,
    /// The next offset to judge.
    pub next: Offset,
    /// The latest server time of all rows taken.
    pub watermark: Timestamp,
    gate: ProducerGate,
    rebuilt: Option<BTreeSet<ProducerId>>,
}

/// The state of all partitions of one consumer. Calls block on the disk.
#[derive(Clone)]
pub struct IntakeStore {
    sessions: Keyspace,
    partitions: Keyspace,
}

/// The sessions of one partition of a store.
#[derive(Clone)]
pub struct PartitionSessions {
    sessions: Keyspace,
    partition: Partition,
}

impl IntakeStore {
    /// The state in `database`, which the consumer may use for more.
    ///
    /// # Errors
    /// The database failed.
    pub fn open(database: &Database) -> Result<Self, IntakeError> {
        Ok(Self {
            sessions: database.keyspace("intake-sessions", KeyspaceCreateOptions::default)?,
            partitions: database.keyspace("intake-partitions", KeyspaceCreateOptions::default)?,
        })
    }

    /// The state of `partition`, ready to go on; none if nothing was ever stored.
    ///
    /// # Errors
    /// The database failed or holds something unreadable.
    pub fn load(&self, partition: Partition) -> Result<Option<PartitionIntake>, IntakeError> {
        let Some(value) = self.partitions.get(partition.0.to_be_bytes())? else { return Ok(None) };
        let saved: SavedPartition =
            serde_json::from_slice(&value).map_err(|error| IntakeError::Corrupt(error.to_string()))?;
        Ok(Some(PartitionIntake {
            next: saved.next,
            watermark: saved.watermark,
            gate: saved.gate,
            rebuilt: saved.rebuilt,
            changed: std::collections::HashMap::new(),
        }))
    }

    /// Where the fold of `partition` looks sessions up.
    #[must_use]
    pub fn sessions(&self, partition: Partition) -> PartitionSessions {
        PartitionSessions { sessions: self.sessions.clone(), partition }
    }

    /// Adds the state's changes to `batch`. Once the batch is durable, the caller tells the state
    /// by [`PartitionIntake::stored`].
    ///
    /// # Errors
    /// Never for a state of this program.
    pub fn stage(
        &self,
        batch: &mut OwnedWriteBatch,
        partition: Partition,
        intake: &PartitionIntake,
    ) -> Result<(), IntakeError> {
        for (session, seen) in intake.changed() {
            batch.insert(&self.sessions, session_key(partition, *session), encode(seen));
        }
        let saved = SavedPartition {
            v: 1,
            next: intake.next,
            watermark: intake.watermark,
            gate: intake.gate.clone(),
            rebuilt: intake.rebuilt.clone(),
        };
        let value = serde_json::to_vec(&saved).map_err(|error| IntakeError::Corrupt(error.to_string()))?;
        batch.insert(&self.partitions, partition.0.to_be_bytes(), value);
        Ok(())
    }

    /// Adds to `batch` that nothing is known of `partition` any more: [`Self::load`] gives none.
    pub fn forget_position(&self, batch: &mut OwnedWriteBatch, partition: Partition) {
        batch.remove(&self.partitions, partition.0.to_be_bytes());
    }

    /// The sessions of all partitions; keys begin with the partition (u32 big endian).
    #[must_use]
    pub const fn sessions_keyspace(&self) -> &Keyspace {
        &self.sessions
    }

    /// Adds to `batch` the removal of up to `limit` sessions of `partition`, beginning after
    /// `from`, that no row can concern any more. Returns where to go on; none at the end.
    ///
    /// # Errors
    /// The database failed or holds something unreadable.
    pub fn expire(
        &self,
        batch: &mut OwnedWriteBatch,
        partition: Partition,
        watermark: Timestamp,
        from: Option<SessionId>,
        limit: usize,
    ) -> Result<Option<SessionId>, IntakeError> {
        let start = from.map_or_else(|| partition.0.to_be_bytes().to_vec(), |id| session_key(partition, id).to_vec());
        let end = partition.0.checked_add(1).map(u32::to_be_bytes);
        let mut last = None;
        let range: Box<dyn Iterator<Item = fjall::Guard>> = match end {
            Some(end) => Box::new(self.sessions.range(start..end.to_vec())),
            None => Box::new(self.sessions.range(start..)),
        };
        for (n, guard) in range.enumerate() {
            let (key, value) = guard.into_inner()?;
            let id = key.get(4..20).and_then(|id| uuid::Uuid::from_slice(id).ok()).map(SessionId::from_uuid);
            let id = id.ok_or_else(|| IntakeError::Corrupt("a session key".to_owned()))?;
            if n >= limit {
                last = Some(id);
                break;
            }
            if is_expired(decode(&value)?.last_seen, watermark) {
                batch.remove(&self.sessions, key);
            }
        }
        Ok(last)
    }
}

/// True if no row can concern a session last seen then any more, given the latest server time of
/// its partition.
#[must_use]
fn is_expired(last_seen: Timestamp, watermark: Timestamp) -> bool {
    watermark.since(last_seen) > Millis(DEDUPLICATION_WINDOW.0 + DISORDER.0)
}

impl Sessions for PartitionSessions {
    type Error = IntakeError;

    fn session(&self, id: SessionId) -> Result<Option<SessionSeen>, IntakeError> {
        self.sessions.get(session_key(self.partition, id))?.map(|value| decode(&value)).transpose()
    }
}

fn session_key(partition: Partition, session: SessionId) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&partition.0.to_be_bytes());
    key[4..].copy_from_slice(session.as_uuid().as_bytes());
    key
}

fn encode(seen: &SessionSeen) -> Vec<u8> {
    let mut value = Vec::with_capacity(16);
    value.extend(seen.last_seen.as_micros().to_le_bytes());
    for (from, to) in seen.seqs.ranges() {
        value.extend(from.to_le_bytes());
        value.extend(to.to_le_bytes());
    }
    value
}

fn decode(value: &[u8]) -> Result<SessionSeen, IntakeError> {
    let corrupt = || IntakeError::Corrupt("a session".to_owned());
    let (last_seen, rest) = value.split_first_chunk::<8>().ok_or_else(corrupt)?;
    let (pairs, rest) = rest.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(corrupt());
    }
    let mut seqs = SeenSeqs::default();
    for pair in pairs {
        let [a, b, c, d, e, f, g, h] = *pair;
        seqs.insert_range(u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    }
    Ok(SessionSeen { seqs, last_seen: Timestamp::from_micros(i64::from_le_bytes(*last_seen)) })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn seen(day: i64, seqs: &[u32]) -> SessionSeen {
        let mut out = SessionSeen { last_seen: Timestamp::default() + Millis::from_days(day), ..Default::default() };
        for seq in seqs {
            out.seqs.insert(*seq);
        }
        out
    }

    fn id(n: u128) -> SessionId {
        SessionId::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn a_state_reads_back_after_reopening_and_silent_sessions_go() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = HashMap::from([(id(1), seen(1, &[0, 1, 5])), (id(2), seen(20, &[7]))]);
        {
            let database = Database::builder(folder.path()).open().unwrap();
            let store = IntakeStore::open(&database).unwrap();
            assert!(store.load(Partition(3)).unwrap().is_none());
            let intake = PartitionIntake::rebuilt(Offset(12), [], sessions.clone());
            for partition in [Partition(3), Partition(u32::MAX)] {
                let mut batch = database.batch().durability(Some(fjall::PersistMode::SyncData));
                store.stage(&mut batch, partition, &intake).unwrap();
                batch.commit().unwrap();
            }
        }
        let database = Database::builder(folder.path()).open().unwrap();
        let store = IntakeStore::open(&database).unwrap();
        let intake = store.load(Partition(3)).unwrap().unwrap();
        assert_eq!((intake.next, intake.watermark), (Offset(12), seen(20, &[]).last_seen));
        for (id, expected) in &sessions {
            assert_eq!(store.sessions(Partition(3)).session(*id).unwrap().as_ref(), Some(expected));
        }
        assert!(store.sessions(Partition(4)).session(id(1)).unwrap().is_none(), "another partition");

        for partition in [Partition(3), Partition(u32::MAX)] {
            let mut from = None;
            loop {
                let mut batch = database.batch();
                from = store.expire(&mut batch, partition, intake.watermark, from, 1).unwrap();
                batch.commit().unwrap();
                if from.is_none() {
                    break;
                }
            }
            assert!(store.sessions(partition).session(id(1)).unwrap().is_none());
            assert!(store.sessions(partition).session(id(2)).unwrap().is_some());
        }
    }
}
