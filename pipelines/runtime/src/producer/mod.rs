//! Appends records so that consumers can take each of them exactly once.
//!
//! Every record carries this producer's id, epoch and a number that rises without gaps in its
//! partition. One request per partition is in flight; what callers send meanwhile goes together
//! into the next one. After an unknown outcome the same records are sent again before any newer.

mod lane;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use event_log::{Appended, EventLog, LogError, Stream};
use event_schemas::{
    Clock, Fault, Faulty, Partition, ProducerId,
    records::{JsonRecord, RecordError},
};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use self::lane::{Lane, Waiting};

/// The bytes that may wait to be sent; callers beyond it wait their turn.
const ROOM: u32 = 64 << 20;

/// Why records were not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// None of the records was stored, and none will be: the caller may send them again.
    #[error("the records were not stored")]
    NotStored(#[source] LogError),
    /// They may have been stored. They are sent again before any newer record of their partition
    /// for as long as this producer lives; a caller who sends them too stores them twice.
    #[error("it is unknown whether the records were stored")]
    Unresolved(#[source] LogError),
    /// The outcome of earlier records of the partition is still unknown; none of these was sent.
    #[error("earlier records of the partition could not be sent")]
    Blocked(#[source] LogError),
    /// The record can't be encoded.
    #[error("the record can't be encoded")]
    Record(#[source] Arc<RecordError>),
}

impl SendError {
    /// True if the records may be stored all the same.
    #[must_use]
    pub const fn is_unknown_outcome(&self) -> bool {
        matches!(self, Self::Unresolved(_))
    }
}

impl Faulty for SendError {
    fn fault(&self) -> Fault {
        match self {
            Self::NotStored(error) => error.fault(),
            Self::Unresolved(_) | Self::Blocked(_) => Fault::Dependency,
            Self::Record(_) => Fault::Program,
        }
    }
}

/// How often and how long an append of unknown outcome is tried again before its caller is told.
#[derive(Debug, Clone, Copy)]
pub struct Resends {
    /// Tries after the first.
    pub times: usize,
    /// The delay before the first of them; it doubles.
    pub first_delay: Duration,
}

impl Default for Resends {
    fn default() -> Self {
        Self { times: 6, first_delay: Duration::from_millis(50) }
    }
}

struct Shared {
    log: Arc<dyn EventLog>,
    id: ProducerId,
    epoch: u64,
    clock: Arc<dyn Clock>,
    resends: Resends,
}

/// A producer of log records. One value per process and epoch: two with the same id and epoch
/// would number their records alike.
pub struct Producer {
    shared: Arc<Shared>,
    lanes: Mutex<HashMap<(Stream, Partition), Arc<Lane>>>,
    partitions: Mutex<HashMap<Stream, u32>>,
    room: Arc<Semaphore>,
}

impl Producer {
    /// A producer that writes to `log`. `epoch` must be higher than that of every earlier
    /// producer with this id.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>, producer_id: ProducerId, epoch: u64, clock: Arc<dyn Clock>) -> Self {
        Self::with_resends(log, producer_id, epoch, clock, Resends::default())
    }

    /// The same, with other limits on resending.
    #[must_use]
    pub fn with_resends(
        log: Arc<dyn EventLog>,
        id: ProducerId,
        epoch: u64,
        clock: Arc<dyn Clock>,
        resends: Resends,
    ) -> Self {
        Self {
            shared: Arc::new(Shared { log, id, epoch, clock, resends }),
            lanes: Mutex::default(),
            partitions: Mutex::default(),
            room: Arc::new(Semaphore::new(ROOM as usize)),
        }
    }

    /// Appends `records`, each a key and a payload of `schema`, side by side and in order, and
    /// resolves when they are durable. After an unknown outcome that a resend settled, the offset
    /// is that of the last copy: consumers have taken the records at it or before.
    ///
    /// Dropping the future does not take the records back.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(
        &self,
        stream: Stream,
        partition: Partition,
        schema: u16,
        records: Vec<(Bytes, Bytes)>,
    ) -> Result<Appended, SendError> {
        let bytes: usize = records.iter().map(|(key, payload)| key.len() + payload.len()).sum();
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX).min(ROOM);
        let closed = || SendError::NotStored(LogError::Closed);
        let room = self.room.clone().acquire_many_owned(permits).await.map_err(|_| closed())?;
        let lane = self.lanes.lock().entry((stream, partition)).or_default().clone();
        let (reply, answer) = oneshot::channel();
        lane.send(&self.shared, stream, partition, Waiting { schema, records, bytes, reply, _room: room });
        let stopped = || SendError::Unresolved(LogError::Unknown("the producer stopped".to_owned()));
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Appends one JSON record to the partition of `key`.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_json<R: JsonRecord>(
        &self,
        stream: Stream,
        key: &[u8],
        record: &R,
    ) -> Result<Appended, SendError> {
        let payload = record.to_payload().map_err(|e| SendError::Record(Arc::new(e)))?;
        let partition = Partition::of_key(key, self.partitions(stream).await.map_err(SendError::NotStored)?);
        self.send(stream, partition, R::SCHEMA as u16, vec![(Bytes::copy_from_slice(key), payload)]).await
    }

    /// The number of partitions of a stream; asked once.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`].
    pub async fn partitions(&self, stream: Stream) -> Result<u32, LogError> {
        if let Some(count) = self.partitions.lock().get(&stream) {
            return Ok(*count);
        }
        let count = self.shared.log.partitions(stream).await?;
        self.partitions.lock().insert(stream, count);
        Ok(count)
    }
}
