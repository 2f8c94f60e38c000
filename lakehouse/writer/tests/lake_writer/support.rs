//! A log, a catalog, a lake and producers of events in one temporary folder.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use catalog::{
    Catalog,
    sql::{SqlCatalog, SqlOptions, sqlite_url},
};
use event_log::{
    EventLog, Stream, TopicSpec,
    embedded::{EmbeddedLog, EmbeddedLogOptions},
};
use event_schemas::{
    ByteSize, Clock, Millis, Partition, ProducerId, SessionId, TestClock, Timestamp, Topic, VideoId, ViewerId,
    playback::{self, EventKind, PlaybackEvent},
    records::SchemaId,
};
use fjall::Database;
use lake_sql::{SqlEngine, bigints};
use lake_tables::Lake;
use lake_writer::{LakeHandle, LakeWriter, WriterConfig, WriterDeps, WriterError};
use object_store::{ObjectStore, local::LocalFileSystem};
use runtime::Producer;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const PARTITIONS: u32 = 2;
pub const PLAYBACK: Stream = Stream::Main(Topic::Playback);

/// 2026-01-05 00:00 UTC.
pub const DAY_ZERO: Timestamp = Timestamp::from_millis(20_458 * 86_400_000);

pub struct World {
    pub folder: tempfile::TempDir,
    pub log: Arc<dyn EventLog>,
    pub catalog: Arc<dyn Catalog>,
    pub objects: Arc<dyn ObjectStore>,
    pub clock: Arc<TestClock>,
    pub producer: Arc<Producer>,
    pub state: Database,
}

/// A life of a writer, under way.
pub struct Life {
    pub handle: LakeHandle,
    pub task: JoinHandle<Result<(), WriterError>>,
    pub cancel: CancellationToken,
}

impl Life {
    /// Ends it in order.
    pub async fn end(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }
}

pub fn event(session: u128, seq: u32, second: i64) -> PlaybackEvent {
    let at = DAY_ZERO + Millis::from_secs(second);
    PlaybackEvent {
        session_id: SessionId::from_uuid(uuid::Uuid::from_u128(session)),
        seq,
        viewer_id: ViewerId::from_bytes([u8::try_from(session % 251).unwrap(); 16]),
        video_id: VideoId::from_uuid(uuid::Uuid::from_u128(1)),
        rendition: None,
        kind: EventKind::Heartbeat,
        media_from_ms: Some(0),
        media_to_ms: Some(10_000),
        speed: Some(1.0),
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
        video_duration_ms: Some(100_000),
        cmcd: None,
        dropped_by: None,
    }
}

pub fn payload(events: &[PlaybackEvent]) -> Bytes {
    playback::encode(&playback::to_batch(events).unwrap()).unwrap()
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::at(DAY_ZERO));
        let time: Arc<dyn Clock> = clock.clone();
        let mut options = EmbeddedLogOptions::new(folder.path().join("log"), time.clone());
        options.free_space_floor = ByteSize(0);
        let log: Arc<dyn EventLog> = EmbeddedLog::open(options).unwrap();
        for (stream, partitions) in [(PLAYBACK, PARTITIONS), (Stream::DeadLetters(Topic::Playback), 1)] {
            let spec =
                TopicSpec { stream, partitions, retain_for: Millis::from_days(30), retain_bytes: ByteSize::gib(1) };
            log.ensure_topic(&spec).await.unwrap();
        }
        let catalog =
            SqlCatalog::open(&sqlite_url(&folder.path().join("catalog.db")), SqlOptions::default()).await.unwrap();
        let objects = folder.path().join("objects");
        std::fs::create_dir(&objects).unwrap();
        let state = Database::builder(folder.path().join("state")).open().unwrap();
        let producer = Arc::new(Producer::new(log.clone(), ProducerId::generate(), 1, time));
        Self {
            log,
            catalog,
            objects: Arc::new(LocalFileSystem::new_with_prefix(&objects).unwrap()),
            clock,
            producer,
            state,
            folder,
        }
    }

    /// Appends one record of `events`.
    pub async fn produce(&self, partition: u32, events: &[PlaybackEvent]) {
        let records = vec![(Bytes::new(), payload(events))];
        self.producer.send(PLAYBACK, Partition(partition), SchemaId::PlaybackBatch as u16, records).await.unwrap();
    }

    pub fn deps(&self) -> WriterDeps {
        WriterDeps {
            log: self.log.clone(),
            catalog: self.catalog.clone(),
            lake: Lake::local(self.objects.clone()).unwrap(),
            producer: self.producer.clone(),
            clock: self.clock.clone(),
            state: self.state.clone(),
        }
    }

    /// Begins a life of a writer that commits only when asked to or when it ends.
    pub fn live(&self) -> Life {
        self.live_with("one", self.deps())
    }

    pub fn live_with(&self, owner: &str, deps: WriterDeps) -> Life {
        let mut config = WriterConfig::new(owner);
        config.commit_every = Duration::from_secs(3600);
        self.live_as(config, deps)
    }

    pub fn live_as(&self, config: WriterConfig, deps: WriterDeps) -> Life {
        let writer = LakeWriter::new(config, deps);
        let cancel = CancellationToken::new();
        Life { handle: writer.handle(), task: tokio::spawn(writer.run(cancel.clone())), cancel }
    }

    pub fn engine(&self) -> SqlEngine {
        SqlEngine::open(Lake::local(self.objects.clone()).unwrap(), lake_sql::SqlOptions::default()).unwrap()
    }

    pub async fn number(&self, sql: &str) -> i64 {
        let rows = self.engine().query(sql).await.unwrap().into_one().unwrap();
        bigints(&rows, "n").unwrap().value(0)
    }

    /// Asserts that the lake holds so many events, each once.
    pub async fn holds(&self, events: i64) {
        let sql = "select count(*) as n from playback_events";
        assert_eq!(self.number(sql).await, events, "events");
        let sql = "select count(distinct event_id) as n from playback_events";
        assert_eq!(self.number(sql).await, events, "distinct events");
    }
}
