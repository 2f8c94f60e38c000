//! The loop on the embedded log and the embedded index: what it applies, where it goes on, what
//! it puts aside and how it lives through failures.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use event_log::{
    EmbeddedLog, EmbeddedLogOptions, EventLog, ReadLimit, Stream, TopicSpec,
    failing::{FailingLog, FaultPlan},
};
use event_schemas::{
    AccountId, ByteSize, ChannelId, Clock, Millis, Offset, Partition, ProducerId, SystemClock, Timestamp, Topic,
    VideoId,
    records::{PlaybackState, SchemaId, UploadState, VideoRecord, Visibility},
};
use index_stage::{CONSUMER, history_is_missing, run_partition};
use runtime::{Consumption, HealthBoard, Producer, list_dead_letters};
use search_index::{
    Applied, Change, DenseSpace, EmbeddedIndex, Hit, Position, SearchError, SearchIndex, SearchPage, SearchQuery,
    failing::{FailingIndex, FailurePlan},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PARTITION: Partition = Partition(0);
const VIDEOS: Stream = Stream::Main(Topic::Videos);

/// An index that tells how far it is, so that a test can await it.
struct Watched {
    inner: Arc<dyn SearchIndex>,
    next: watch::Sender<Offset>,
}

#[async_trait]
impl SearchIndex for Watched {
    async fn apply(
        &self,
        changes: Vec<Change>,
        position: Option<(Partition, Position)>,
    ) -> Result<Applied, SearchError> {
        let applied = self.inner.apply(changes, position).await?;
        if let Some((_, position)) = position {
            self.next.send_replace(position.next);
        }
        Ok(applied)
    }
    async fn position(&self, partition: Partition) -> Result<Option<Position>, SearchError> {
        self.inner.position(partition).await
    }
    async fn search(&self, query: &SearchQuery) -> Result<SearchPage, SearchError> {
        self.inner.search(query).await
    }
    async fn similar(&self, video: VideoId, limit: usize) -> Result<Vec<Hit>, SearchError> {
        self.inner.similar(video, limit).await
    }
    async fn similar_to_text(&self, text: &str, limit: usize) -> Result<Vec<Hit>, SearchError> {
        self.inner.similar_to_text(text, limit).await
    }
    async fn document_count(&self) -> Result<u64, SearchError> {
        self.inner.document_count().await
    }
    async fn spaces(&self) -> Result<Vec<DenseSpace>, SearchError> {
        self.inner.spaces().await
    }
    async fn check(&self) -> Result<(), SearchError> {
        self.inner.check().await
    }
}

struct World {
    _dir: tempfile::TempDir,
    log: Arc<dyn EventLog>,
    producer: Arc<Producer>,
    index: Arc<EmbeddedIndex>,
    clock: Arc<dyn Clock>,
}

struct Running {
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), index_stage::IndexStageError>>,
    next: watch::Receiver<Offset>,
}

impl Running {
    async fn has_applied(&mut self, next: u64) {
        self.next.wait_for(|at| at.0 >= next).await.unwrap();
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl World {
    async fn new() -> Self {
        Self::keeping(ByteSize::gib(1)).await
    }

    /// A world whose log keeps so much.
    async fn keeping(retain_bytes: ByteSize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let options = EmbeddedLogOptions::new(dir.path().join("log"), Arc::clone(&clock));
        let segment_bytes = options.segment_bytes.min(retain_bytes);
        let log = EmbeddedLog::open(EmbeddedLogOptions { segment_bytes, ..options }).unwrap();
        for stream in [VIDEOS, Stream::DeadLetters(Topic::Videos)] {
            let spec = TopicSpec { stream, partitions: 1, retain_for: Millis::from_days(7), retain_bytes };
            log.ensure_topic(&spec).await.unwrap();
        }
        let (index, _) = EmbeddedIndex::open(dir.path().join("index")).await.unwrap();
        let producer = Producer::new(log.clone(), ProducerId::generate(), 1, Arc::clone(&clock));
        Self { _dir: dir, log, producer: Arc::new(producer), index: Arc::new(index), clock }
    }

    fn start(&self) -> Running {
        self.start_with(self.log.clone(), self.index.clone())
    }

    fn start_with(&self, log: Arc<dyn EventLog>, index: Arc<dyn SearchIndex>) -> Running {
        let cancel = CancellationToken::new();
        let (sender, next) = watch::channel(Offset(0));
        let index = Arc::new(Watched { inner: index, next: sender });
        let work = Consumption {
            log,
            producer: Arc::clone(&self.producer),
            clock: Arc::clone(&self.clock),
            topic: Topic::Videos,
            partition: PARTITION,
            limit: ReadLimit { records: 4, bytes: 1 << 20 },
            health: HealthBoard::new(Arc::clone(&self.clock)).register(CONSUMER),
            cancel: cancel.clone(),
        };
        Running { cancel, task: tokio::spawn(run_partition(index, work)), next }
    }

    async fn publish(&self, record: &VideoRecord) {
        self.producer.send_json(VIDEOS, record.video_id.as_uuid().as_bytes(), record).await.unwrap();
    }

    async fn found(&self, text: &str) -> Vec<VideoId> {
        let query = SearchQuery { text: text.into(), limit: 100, ..Default::default() };
        self.index.search(&query).await.unwrap().hits.iter().map(|hit| hit.video).collect()
    }
}

fn video(title: &str, version: i64) -> VideoRecord {
    VideoRecord {
        v: 1,
        video_id: VideoId::generate(),
        version,
        deleted: false,
        owner: AccountId::generate(),
        channel_id: ChannelId::generate(),
        channel_name: "channel".into(),
        title: title.into(),
        description: String::new(),
        tags: Vec::new(),
        visibility: Visibility::Public,
        upload: UploadState::Complete,
        playback: PlaybackState::Ready,
        duration: None,
        created_at: Timestamp::from_millis(1),
        published_at: Some(Timestamp::from_millis(2)),
    }
}

#[tokio::test]
async fn the_index_follows_the_topic() {
    let world = World::new().await;
    let mut running = world.start();
    let first = video("mountains", 1);
    world.publish(&first).await;
    running.has_applied(1).await;
    assert_eq!(world.found("mountains").await, [first.video_id]);

    let renamed = VideoRecord { title: "rivers".into(), version: 3, ..first.clone() };
    world.publish(&renamed).await;
    world.publish(&VideoRecord { title: "valleys".into(), version: 2, ..first.clone() }).await;
    running.has_applied(3).await;
    assert_eq!(world.found("rivers").await, [first.video_id]);
    assert!(world.found("valleys mountains").await.is_empty(), "an older version was applied");

    world.publish(&VideoRecord { visibility: Visibility::Private, version: 4, ..renamed.clone() }).await;
    running.has_applied(4).await;
    assert!(world.found("rivers").await.is_empty());
    world.publish(&VideoRecord { version: 5, ..renamed.clone() }).await;
    world.publish(&VideoRecord { deleted: true, version: 6, ..renamed }).await;
    running.has_applied(6).await;
    assert_eq!(world.index.document_count().await.unwrap(), 0);
    running.stop().await;
    assert_eq!(world.log.committed_position(CONSUMER, VIDEOS, PARTITION).await.unwrap(), Offset(6));
}

#[tokio::test]
async fn a_restart_goes_on_where_the_index_stands() {
    let world = World::new().await;
    let mut running = world.start();
    world.publish(&video("before", 1)).await;
    running.has_applied(1).await;
    running.stop().await;
    let generation = world.log.watermarks(VIDEOS, PARTITION).await.unwrap().generation;
    // The index is ahead of the log's hint by one record that it never saw.
    let ahead = Position { generation, next: Offset(2) };
    for title in ["skipped", "taken"] {
        world.publish(&video(title, 1)).await;
    }
    world.index.apply(vec![], Some((PARTITION, ahead))).await.unwrap();
    let mut running = world.start();
    running.has_applied(3).await;
    running.stop().await;
    assert_eq!(world.found("taken").await.len(), 1);
    assert!(world.found("skipped").await.is_empty(), "read from the log's position instead of the index's");
}

#[tokio::test]
async fn an_index_of_another_log_or_a_fresh_one_is_filled_from_the_beginning() {
    let world = World::new().await;
    for title in ["one", "two", "three"] {
        world.publish(&video(title, 1)).await;
    }
    // The log's hint says that all was taken; the index knows better.
    world.log.register_consumer(CONSUMER, VIDEOS).await.unwrap();
    world.log.commit_position(CONSUMER, VIDEOS, PARTITION, Offset(3)).await.unwrap();
    let mut running = world.start();
    running.has_applied(3).await;
    running.stop().await;
    assert_eq!(world.index.document_count().await.unwrap(), 3);
    assert!(!history_is_missing(&*world.log, &*world.index).await.unwrap());

    let generation = world.log.watermarks(VIDEOS, PARTITION).await.unwrap().generation;
    for strange in [Position { generation: generation + 1, next: Offset(1) }, Position { generation, next: Offset(99) }]
    {
        let dir = tempfile::tempdir().unwrap();
        let (other, _) = EmbeddedIndex::open(dir.path()).await.unwrap();
        other.apply(vec![], Some((PARTITION, strange))).await.unwrap();
        let other = Arc::new(other);
        let mut running = world.start_with(world.log.clone(), other.clone());
        running.has_applied(3).await;
        running.stop().await;
        assert_eq!(other.document_count().await.unwrap(), 3, "{strange:?}");
    }
}

#[tokio::test]
async fn a_bad_record_becomes_a_dead_letter_and_stops_nothing() {
    let world = World::new().await;
    let bad = vec![(Bytes::from_static(b"key"), Bytes::from_static(b"{\"v\":1}"))];
    world.publish(&video("before", 1)).await;
    world.producer.send(VIDEOS, PARTITION, SchemaId::Video as u16, bad).await.unwrap();
    world.log.append(VIDEOS, PARTITION, vec![Bytes::from_static(b"no envelope")]).await.unwrap();
    world.publish(&video("after", 1)).await;
    let mut running = world.start();
    running.has_applied(4).await;
    running.stop().await;
    assert_eq!(world.found("before after").await.len(), 2);
    let letters = list_dead_letters(&*world.log, Topic::Videos, Offset(0), 10).await.unwrap();
    let told: Vec<_> = letters.iter().map(|l| (l.letter.offset, l.letter.stage.as_str())).collect();
    assert_eq!(told, [(1, CONSUMER), (2, CONSUMER)]);
    assert!(letters[0].letter.reason.contains("missing field"), "{}", letters[0].letter.reason);
}

#[tokio::test]
async fn failures_of_log_and_index_delay_and_lose_nothing() {
    let world = World::new().await;
    let mut wanted: Vec<VideoId> = Vec::new();
    for n in 0..24 {
        let record = video("survivor", n);
        wanted.push(record.video_id);
        world.publish(&record).await;
    }
    let bad = vec![(Bytes::new(), Bytes::from_static(b"{}"))];
    world.producer.send(VIDEOS, PARTITION, SchemaId::Video as u16, bad).await.unwrap();
    let log = FailingLog::new(world.log.clone(), FaultPlan { seed: 11, read: 0.3, commit: 0.5, ..Default::default() });
    let plan = FailurePlan { seed: 12, before: 0.3, after: 0.3 };
    let index = Arc::new(FailingIndex::new(world.index.clone(), plan));
    let mut running = world.start_with(log.clone(), index);
    running.has_applied(25).await;
    running.stop().await;
    assert!(log.injected().read > 0, "no failure was met");
    let mut found = world.found("survivor").await;
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    assert_eq!(list_dead_letters(&*world.log, Topic::Videos, Offset(0), 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn it_is_told_when_the_log_can_no_longer_fill_the_index() {
    let world = World::keeping(ByteSize(4 << 10)).await;
    let mut running = world.start();
    for n in 1..=200 {
        world.publish(&video("passing", 1)).await;
        running.has_applied(n).await;
        if world.log.watermarks(VIDEOS, PARTITION).await.unwrap().first > Offset(0) {
            break;
        }
    }
    running.stop().await;
    assert!(world.log.watermarks(VIDEOS, PARTITION).await.unwrap().first > Offset(0), "nothing was dropped");
    assert!(!history_is_missing(&*world.log, &*world.index).await.unwrap(), "the index has it all");
    let dir = tempfile::tempdir().unwrap();
    let (fresh, _) = EmbeddedIndex::open(dir.path()).await.unwrap();
    assert!(history_is_missing(&*world.log, &fresh).await.unwrap());
}

#[tokio::test]
async fn a_closing_log_ends_the_loop() {
    let world = World::new().await;
    let mut running = world.start();
    world.publish(&video("last", 1)).await;
    running.has_applied(1).await;
    world.log.close().await;
    running.task.await.unwrap().unwrap();
}
