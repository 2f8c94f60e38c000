//! A log in a temporary directory for the tests of this crate.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;

use bytes::Bytes;
use event_log::{EmbeddedLog, EmbeddedLogOptions, EventLog, ReadLimit, StoredRecord, Stream, TopicSpec};
use event_schemas::{ByteSize, Millis, Offset, Partition, ProducerId, TestClock, Timestamp, Topic};

pub const TOPIC: Topic = Topic::Uploads;
pub const MAIN: Stream = Stream::Main(TOPIC);
pub const P0: Partition = Partition(0);
pub const ALL: ReadLimit = ReadLimit { records: usize::MAX, bytes: usize::MAX };

pub struct Bed {
    pub log: Arc<dyn EventLog>,
    pub clock: Arc<TestClock>,
    _directory: tempfile::TempDir,
}

pub async fn bed() -> Bed {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_700_000_000_000)));
    let mut options = EmbeddedLogOptions::new(directory.path().join("log"), clock.clone());
    options.free_space_floor = ByteSize(0);
    let log = EmbeddedLog::open(options).unwrap();
    for (stream, partitions) in [(MAIN, 2), (Stream::DeadLetters(TOPIC), 1)] {
        let (retain_for, retain_bytes) = (Millis::from_days(1), ByteSize::gib(1));
        log.ensure_topic(&TopicSpec { stream, partitions, retain_for, retain_bytes }).await.unwrap();
    }
    Bed { log, clock, _directory: directory }
}

pub fn producer_id(n: u128) -> ProducerId {
    ProducerId::from_uuid(uuid::Uuid::from_u128(n))
}

pub fn text(text: &str) -> (Bytes, Bytes) {
    (Bytes::from_static(b"key"), Bytes::copy_from_slice(text.as_bytes()))
}

pub async fn stored(log: &dyn EventLog, stream: Stream, partition: Partition) -> Vec<StoredRecord> {
    log.read(stream, partition, Offset(0), ALL).await.unwrap()
}
