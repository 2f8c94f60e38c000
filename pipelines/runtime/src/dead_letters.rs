//! Records that could not be processed: kept in `<topic>.dlq` with their reason, listed, and sent
//! again once the reason is gone.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use event_log::{Appended, EventLog, LogError, ReadLimit, Stream};
use event_schemas::{
    Envelope, Fault, Faulty, Offset, Partition, Timestamp, Topic,
    envelope::EnvelopeError,
    records::{DeadLetter, JsonRecord, RecordError},
    rules::{Admission, ProducerGate},
};

use crate::producer::{Producer, SendError};

/// A dead letter where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDeadLetter {
    /// Its offset in `<topic>.dlq`: what replaying it asks for.
    pub offset: Offset,
    /// The letter.
    pub letter: DeadLetter,
}

/// Why a dead letter was not replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no dead letter at this offset.
    #[error("topic `{topic}` has no dead letter {offset}")]
    NotFound {
        /// The topic.
        topic: Topic,
        /// What was asked for.
        offset: Offset,
    },
    /// What lies there is not a dead letter.
    #[error("the dead letter can't be read")]
    Letter(#[source] RecordError),
    /// The letter's record is not base64.
    #[error("the record in the dead letter can't be read")]
    Base64(#[from] base64::DecodeError),
    /// The record was never an envelope: there is nothing to send again.
    #[error("the record in the dead letter is not an envelope, so it can't be sent again")]
    Envelope(#[from] EnvelopeError),
    /// The log failed.
    #[error("the log could not be read")]
    Log(#[from] LogError),
    /// The record could not be sent.
    #[error("the record could not be sent again")]
    Send(#[from] SendError),
}

impl Faulty for ReplayError {
    fn fault(&self) -> Fault {
        match self {
            Self::NotFound { .. } | Self::Envelope(_) => Fault::Caller,
            Self::Letter(_) | Self::Base64(_) => Fault::Program,
            Self::Log(error) => error.fault(),
            Self::Send(error) => error.fault(),
        }
    }
}

const DEAD_PARTITION: Partition = Partition(0);

/// A record that could not be processed, and why.
#[derive(Debug, Clone)]
pub struct Letter<'a> {
    /// Where it lies in its partition.
    pub offset: Offset,
    /// The record as stored.
    pub stored: &'a [u8],
    /// Tries made.
    pub attempts: u32,
    /// Why it was given up.
    pub reason: String,
}

/// Keeps a record of `topic` that `stage` could not process in `<topic>.dlq`. Resolves when it is
/// durable; the stage may then pass the record.
///
/// # Errors
/// See [`SendError`].
pub async fn keep_dead_letter(
    producer: &Producer,
    stage: &str,
    topic: Topic,
    partition: Partition,
    letter: &Letter<'_>,
    at: Timestamp,
) -> Result<Appended, SendError> {
    let record = DeadLetter {
        v: 1,
        stage: stage.to_owned(),
        reason: letter.reason.lines().collect::<Vec<_>>().join(" "),
        attempts: letter.attempts,
        partition: partition.0,
        offset: letter.offset.0,
        at,
        record: STANDARD.encode(letter.stored),
    };
    let payload = record.to_payload().map_err(|e| SendError::Record(std::sync::Arc::new(e)))?;
    let records = vec![(Bytes::new(), payload)];
    producer.send(Stream::DeadLetters(topic), DEAD_PARTITION, DeadLetter::SCHEMA as u16, records).await
}

/// The dead letters of a topic from `from` on (or from the first kept), at most `limit`. Asked
/// again after the last one listed, it goes on.
///
/// # Errors
/// [`ReplayError::Log`], or [`ReplayError::Letter`] if something else lies among them.
pub async fn list_dead_letters(
    log: &dyn EventLog,
    topic: Topic,
    from: Offset,
    limit: usize,
) -> Result<Vec<ListedDeadLetter>, ReplayError> {
    let stream = Stream::DeadLetters(topic);
    let ends = log.watermarks(stream, DEAD_PARTITION).await?;
    let mut next = from.max(ends.first);
    let mut gate = ProducerGate::default();
    let mut out = Vec::new();
    while next < ends.next && out.len() < limit {
        let read = ReadLimit { records: limit - out.len(), ..ReadLimit::default() };
        let stored = log.read(stream, DEAD_PARTITION, next, read).await?;
        let Some(last) = stored.last() else { break };
        next = last.offset.next();
        for record in stored {
            let envelope = Envelope::decode(&record.bytes)?;
            if gate.admit_midway(envelope.producer) == Admission::Take {
                let letter = DeadLetter::from_envelope(&envelope).map_err(ReplayError::Letter)?;
                out.push(ListedDeadLetter { offset: record.offset, letter });
            }
        }
    }
    Ok(out)
}

/// Appends the record of the dead letter at `offset` to its topic once more, in its partition,
/// with the key, schema and payload it had and a stamp of `producer`. The letter stays where it
/// is.
///
/// # Errors
/// See [`ReplayError`].
pub async fn replay_dead_letter(
    log: &dyn EventLog,
    producer: &Producer,
    topic: Topic,
    offset: Offset,
) -> Result<Appended, ReplayError> {
    let not_found = || ReplayError::NotFound { topic, offset };
    let one = ReadLimit { records: 1, ..ReadLimit::default() };
    let stored = match log.read(Stream::DeadLetters(topic), DEAD_PARTITION, offset, one).await {
        Err(LogError::OffsetDropped { .. }) => return Err(not_found()),
        other => other?.into_iter().next().ok_or_else(not_found)?,
    };
    let letter = DeadLetter::from_envelope(&Envelope::decode(&stored.bytes)?).map_err(ReplayError::Letter)?;
    let record = Envelope::decode(&Bytes::from(STANDARD.decode(&letter.record)?))?;
    let records = vec![(record.key, record.payload)];
    Ok(producer.send(Stream::Main(topic), Partition(letter.partition), record.schema, records).await?)
}
