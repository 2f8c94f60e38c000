//! The project's own back ends, used as a stage uses them: through `runtime::Producer` and
//! `runtime::PartitionReader`.

use std::sync::Arc;

use anyhow::ensure;
use async_trait::async_trait;
use bytes::Bytes;
use event_log::{EventLog, ReadLimit, Stream, TopicSpec};
use event_schemas::{
    ByteSize, Millis, Offset, Partition, ProducerId, SystemClock, Topic, records::SchemaId, rules::ProducerGate,
};
use runtime::{
    Producer,
    reader::{Gate, PartitionReader},
};

use super::{Log, PARTITIONS};

const STREAM: Stream = Stream::Main(Topic::Playback);

/// A log behind the seam.
pub struct Ours {
    log: Arc<dyn EventLog>,
    producer: Producer,
}

impl Ours {
    /// Makes the topic, with limits that a measurement does not reach.
    pub async fn new(log: Arc<dyn EventLog>) -> anyhow::Result<Self> {
        let spec = TopicSpec {
            stream: STREAM,
            partitions: PARTITIONS,
            retain_for: Millis::from_days(7),
            retain_bytes: ByteSize::gib(20),
        };
        log.ensure_topic(&spec).await?;
        let producer = Producer::new(log.clone(), ProducerId::generate(), 1, Arc::new(SystemClock));
        Ok(Self { log, producer })
    }
}

#[async_trait]
impl Log for Ours {
    async fn append(&self, partition: u32, record: Bytes) -> anyhow::Result<()> {
        let records = vec![(Bytes::new(), record)];
        self.producer.send(STREAM, Partition(partition), SchemaId::PlaybackBatch as u16, records).await?;
        Ok(())
    }

    async fn read(&self, partition: u32, records: u64) -> anyhow::Result<u64> {
        let gate = Gate::FromStart(ProducerGate::default());
        let mut reader = PartitionReader::new(self.log.clone(), STREAM, Partition(partition), Offset(0), gate);
        let (mut seen, mut bytes) = (0, 0);
        while seen < records {
            let delivery = reader.next(ReadLimit::default()).await?;
            ensure!(delivery.undecodable.is_empty() && delivery.gaps == 0, "the log gave back other records");
            seen += delivery.records.len() as u64;
            bytes += delivery.records.iter().map(|record| record.envelope.payload.len() as u64).sum::<u64>();
        }
        Ok(bytes)
    }

    async fn close(&self) {
        self.log.close().await;
    }
}
