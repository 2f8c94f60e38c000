//! Counts are right within moments and stay right whatever is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{Field, Schema},
};
use async_trait::async_trait;
use bytes::Bytes;
use event_log::{
    Appended, EventLog, LogError, ReadLimit, StoredRecord, Stream, TopicSpec, Watermarks,
    embedded::{EmbeddedLog, EmbeddedLogOptions},
};
use event_schemas::{
    ByteSize, Clock, Envelope, Millis, Offset, OffsetVector, Partition, ProducerId, SessionId, TestClock, Timestamp,
    Topic, VideoId, ViewerId,
    playback::{self, EventKind, PlaybackEvent},
    records::{JsonRecord, SchemaId, ViewRecord},
};
use futures::StreamExt;
use intake::{MemorySessions, PartitionIntake, Verdict};
use runtime::Producer;
use serving_store::{
    MemoryStore, ServingStore,
    counters::{CountersAt, VideoCounters},
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Duration, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use views_stage::{History, HistoryError, NoHistory, Past, ViewsDeps, ViewsError, ViewsState, run_partition};

const PLAYBACK: Stream = Stream::Main(Topic::Playback);
const VIEWS: Stream = Stream::Main(Topic::Views);
const ONE: Partition = Partition(0);

fn video() -> VideoId {
    VideoId::from_uuid(Uuid::from_u128(1))
}

fn event(session: u128, seq: u32, second: i64) -> PlaybackEvent {
    let at = Timestamp::from_millis((1_767_571_200 + second) * 1000);
    PlaybackEvent {
        session_id: SessionId::from_uuid(Uuid::from_u128(session)),
        seq,
        viewer_id: ViewerId::from_bytes([u8::try_from(session % 251).unwrap(); 16]),
        video_id: video(),
        rendition: None,
        kind: EventKind::Heartbeat,
        media_from_ms: Some(seq * 10_000),
        media_to_ms: Some(seq * 10_000 + 10_000),
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

struct World {
    _folder: tempfile::TempDir,
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    store: Arc<dyn ServingStore>,
    producer: Arc<Producer>,
    state: ViewsState,
    history: Arc<dyn History>,
    epoch: AtomicUsize,
}

struct Run {
    task: JoinHandle<Result<(), ViewsError>>,
    cancel: CancellationToken,
}

impl Run {
    async fn end(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(TestClock::at(Timestamp::from_millis(0)));
        let mut options = EmbeddedLogOptions::new(folder.path().join("log"), clock.clone());
        options.free_space_floor = ByteSize(0);
        let log: Arc<dyn EventLog> = EmbeddedLog::open(options).unwrap();
        for stream in [PLAYBACK, VIEWS] {
            let (retain_for, retain_bytes) = (Millis::from_days(30), ByteSize::gib(1));
            log.ensure_topic(&TopicSpec { stream, partitions: 1, retain_for, retain_bytes }).await.unwrap();
        }
        let producer = Arc::new(Producer::new(log.clone(), ProducerId::generate(), 1, clock.clone()));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let state = ViewsState::open(&folder.path().join("views")).unwrap();
        Self {
            _folder: folder,
            log,
            clock,
            store,
            producer,
            state,
            history: Arc::new(NoHistory),
            epoch: AtomicUsize::new(2),
        }
    }

    async fn produce(&self, events: &[PlaybackEvent]) -> Offset {
        let payload = playback::encode(&playback::to_batch(events).unwrap()).unwrap();
        let records = vec![(Bytes::new(), payload)];
        let appended = self.producer.send(PLAYBACK, ONE, SchemaId::PlaybackBatch as u16, records).await.unwrap();
        appended.first.next()
    }

    /// A run of the stage with a producer of its own life.
    fn run(&self, log: Arc<dyn EventLog>, store: Arc<dyn ServingStore>) -> Run {
        let epoch = self.epoch.fetch_add(1, Ordering::SeqCst) as u64;
        let id = ProducerId::from_uuid(Uuid::from_u128(77));
        let producer = Arc::new(Producer::new(log.clone(), id, epoch, self.clock.clone()));
        let deps = ViewsDeps { log, producer, store, state: self.state.clone(), history: self.history.clone() };
        let cancel = CancellationToken::new();
        Run { task: tokio::spawn(run_partition(deps, ONE, cancel.clone())), cancel }
    }

    fn start(&self) -> Run {
        self.run(self.log.clone(), self.store.clone())
    }

    /// The counters once they have taken everything before `next` into account.
    async fn counters_at(&self, next: Offset) -> CountersAt {
        let wanted = OffsetVector::single(ONE, next);
        let mut changes = self.store.subscribe(&format!("videos/{}", video())).await.unwrap();
        loop {
            let read = VideoCounters::read_many(self.store.as_ref(), &[video()], 1).await.unwrap().remove(0);
            if read.offsets.covers(&wanted) {
                return read;
            }
            timeout(Duration::from_secs(30), changes.next()).await.expect("the change is announced");
        }
    }

    async fn sent(&self) -> Vec<ViewRecord> {
        let records = self.log.read(VIEWS, ONE, Offset(0), ReadLimit::default()).await.unwrap();
        records
            .iter()
            .map(|record| ViewRecord::from_envelope(&Envelope::decode(&record.bytes).unwrap()).unwrap())
            .collect()
    }
}

fn counters(starts: u64, views: u64, engaged: u64, watch_ms: i64) -> VideoCounters {
    VideoCounters { starts, views, engaged, watch_ms: Millis(watch_ms) }
}

/// A start and so many intervals of ten seconds.
fn session(session: u128, intervals: u32, second: i64) -> Vec<PlaybackEvent> {
    let start =
        PlaybackEvent { kind: EventKind::Start, media_from_ms: None, media_to_ms: None, ..event(session, 0, second) };
    let rest = (1..=intervals).map(|n| event(session, n, second + 10 * i64::from(n)));
    std::iter::once(start).chain(rest).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_show_with_their_offset_and_views_are_sent_on() {
    let world = World::new().await;
    let run = world.start();
    let next = world.produce(&session(1, 2, 0)).await;
    assert_eq!(world.counters_at(next).await.counters, counters(1, 0, 1, 20_000));
    let next = world.produce(&[event(1, 3, 30)]).await;
    let read = world.counters_at(next).await;
    assert_eq!(read.counters, counters(1, 1, 1, 30_000));
    assert_eq!(read.offsets, OffsetVector::single(ONE, next));
    // The same viewer's second playback 10 minutes later is no further view; one after 31 is.
    let again = |session_id, second| {
        let viewer_id = event(1, 0, 0).viewer_id;
        session(session_id, 3, second).into_iter().map(|e| PlaybackEvent { viewer_id, ..e }).collect::<Vec<_>>()
    };
    world.produce(&again(2, 600)).await;
    let next = world.produce(&again(3, 1860)).await;
    assert_eq!(world.counters_at(next).await.counters, counters(3, 2, 3, 90_000));
    run.end().await;
    let sent: Vec<_> = world.sent().await.into_iter().map(|view| (view.session_id, view.delta, view.rule)).collect();
    let id = |n| SessionId::from_uuid(Uuid::from_u128(n));
    assert_eq!(sent, [(id(1), 1, 1), (id(3), 1, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_and_unreadable_records_change_nothing() {
    let world = World::new().await;
    let run = world.start();
    world.produce(&session(1, 3, 0)).await;
    let bad = vec![(Bytes::new(), Bytes::from_static(b"not arrow"))];
    world.producer.send(PLAYBACK, ONE, SchemaId::PlaybackBatch as u16, bad).await.unwrap();
    world.produce(&session(1, 3, 0)).await;
    let next = world.produce(&session(1, 4, 0)).await;
    assert_eq!(world.counters_at(next).await.counters, counters(1, 1, 1, 40_000));
    run.end().await;
    assert_eq!(world.sent().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_serving_store_gets_every_total_at_the_start() {
    let mut world = World::new().await;
    let run = world.start();
    let next = world.produce(&session(1, 3, 0)).await;
    world.counters_at(next).await;
    run.end().await;
    world.store = Arc::new(MemoryStore::new(world.clock.clone()));
    let run = world.start();
    assert_eq!(world.counters_at(next).await.counters, counters(1, 1, 1, 30_000));
    run.end().await;
}

/// Hangs for good at one call that changes the log: before or after it is done.
struct HangingLog {
    inner: Arc<dyn EventLog>,
    at: usize,
    after: bool,
    calls: AtomicUsize,
    hanging: Notify,
}

impl HangingLog {
    async fn step<T>(&self, call: impl Future<Output = Result<T, LogError>>) -> Result<T, LogError> {
        if self.calls.fetch_add(1, Ordering::SeqCst) != self.at {
            return call.await;
        }
        if self.after {
            call.await?;
        }
        self.hanging.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl EventLog for HangingLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.inner.ensure_topic(spec).await
    }
    async fn partitions(&self, stream: Stream) -> Result<u32, LogError> {
        self.inner.partitions(stream).await
    }
    async fn append(&self, stream: Stream, p: Partition, records: Vec<Bytes>) -> Result<Appended, LogError> {
        self.step(self.inner.append(stream, p, records)).await
    }
    async fn read(
        &self,
        stream: Stream,
        p: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<StoredRecord>, LogError> {
        // One record a time, so that there are many steps.
        self.inner.read(stream, p, from, ReadLimit { records: 1, ..limit }).await
    }
    async fn wait(&self, stream: Stream, p: Partition, from: Offset) -> Result<(), LogError> {
        self.inner.wait(stream, p, from).await
    }
    async fn watermarks(&self, stream: Stream, p: Partition) -> Result<Watermarks, LogError> {
        self.inner.watermarks(stream, p).await
    }
    async fn register_consumer(&self, consumer: &str, stream: Stream) -> Result<(), LogError> {
        self.inner.register_consumer(consumer, stream).await
    }
    async fn commit_position(
        &self,
        consumer: &str,
        stream: Stream,
        p: Partition,
        next: Offset,
    ) -> Result<(), LogError> {
        self.step(self.inner.commit_position(consumer, stream, p, next)).await
    }
    async fn committed_position(&self, consumer: &str, stream: Stream, p: Partition) -> Result<Offset, LogError> {
        self.inner.committed_position(consumer, stream, p).await
    }
    async fn check(&self) -> Result<(), LogError> {
        self.inner.check().await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

/// Kills the stage at one step, starts another and checks. False if there is no such step.
async fn killed(at: usize, after: bool) -> bool {
    let world = World::new().await;
    let mut next = Offset(0);
    for n in 1..=3 {
        next = world.produce(&session(n, 3, 0)).await;
        world.produce(&session(n, 2, 0)).await;
    }
    let hanging = Notify::new();
    let log = Arc::new(HangingLog { inner: world.log.clone(), at, after, calls: AtomicUsize::new(0), hanging });
    let run = world.run(log.clone(), world.store.clone());
    let struck = tokio::select! {
        () = log.hanging.notified() => true,
        _read = world.counters_at(next) => false,
    };
    run.task.abort();
    assert!(run.task.await.unwrap_err().is_cancelled());

    let run = world.start();
    let next = world.produce(&session(9, 3, 0)).await;
    assert_eq!(world.counters_at(next).await.counters, counters(4, 4, 4, 120_000), "step {at}, after: {after}");
    run.end().await;
    let sent = world.sent().await;
    let distinct: BTreeSet<_> = sent.iter().map(|view| (view.viewer_id, view.session_id)).collect();
    assert_eq!(distinct.len(), 4, "each counted view is sent");
    assert!(sent.len() <= 5, "and what a kill left unclear at most twice");
    struck
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_it_counts_each_row_once() {
    for after in [false, true] {
        let mut at = 0;
        while killed(at, after).await {
            at += 1;
            assert!(at < 100);
        }
        assert!(at >= 6, "{at}");
    }
}

/// A log that has dropped what lies before an offset.
struct TrimmedLog {
    inner: Arc<dyn EventLog>,
    first: Offset,
}

#[async_trait]
impl EventLog for TrimmedLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.inner.ensure_topic(spec).await
    }
    async fn partitions(&self, stream: Stream) -> Result<u32, LogError> {
        self.inner.partitions(stream).await
    }
    async fn append(&self, stream: Stream, p: Partition, records: Vec<Bytes>) -> Result<Appended, LogError> {
        self.inner.append(stream, p, records).await
    }
    async fn read(
        &self,
        stream: Stream,
        p: Partition,
        from: Offset,
        l: ReadLimit,
    ) -> Result<Vec<StoredRecord>, LogError> {
        if stream == PLAYBACK && from < self.first {
            return Err(LogError::OffsetDropped { topic: stream.to_string(), asked: from, first: self.first });
        }
        self.inner.read(stream, p, from, l).await
    }
    async fn wait(&self, stream: Stream, p: Partition, from: Offset) -> Result<(), LogError> {
        self.inner.wait(stream, p, from).await
    }
    async fn watermarks(&self, stream: Stream, p: Partition) -> Result<Watermarks, LogError> {
        let ends = self.inner.watermarks(stream, p).await?;
        Ok(Watermarks { first: if stream == PLAYBACK { self.first } else { ends.first }, ..ends })
    }
    async fn register_consumer(&self, consumer: &str, stream: Stream) -> Result<(), LogError> {
        self.inner.register_consumer(consumer, stream).await
    }
    async fn commit_position(&self, c: &str, stream: Stream, p: Partition, next: Offset) -> Result<(), LogError> {
        self.inner.commit_position(c, stream, p, next).await
    }
    async fn committed_position(&self, consumer: &str, stream: Stream, p: Partition) -> Result<Offset, LogError> {
        self.inner.committed_position(consumer, stream, p).await
    }
    async fn check(&self) -> Result<(), LogError> {
        self.inner.check().await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

/// What a lake would hold that took the log's records before `until`.
struct FoldedLog {
    log: Arc<dyn EventLog>,
    until: Offset,
}

#[async_trait]
impl History for FoldedLog {
    async fn past(&self, partition: Partition) -> Result<Past, HistoryError> {
        let mut fold = PartitionIntake::default();
        let mut batches = Vec::new();
        let records = self.log.read(PLAYBACK, partition, Offset(0), ReadLimit::default()).await.unwrap();
        for record in records.into_iter().filter(|record| record.offset < self.until) {
            let Verdict::Taken(taken) = fold.judge(&record, &MemorySessions::default()).unwrap() else { continue };
            let rows = taken.rows.num_rows();
            let number =
                |value: u64| -> ArrayRef { Arc::new(Int64Array::from(vec![i64::try_from(value).unwrap(); rows])) };
            let mut fields: Vec<_> = taken.rows.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
            let mut columns = taken.rows.columns().to_vec();
            for (name, column) in [
                ("log_offset", number(taken.source.offset.0)),
                ("producer_epoch", number(taken.source.stamp.epoch)),
                ("producer_seq", number(taken.source.stamp.seq)),
                ("producer", Arc::new(StringArray::from(vec![taken.source.stamp.id.to_string(); rows])) as ArrayRef),
            ] {
                fields.push(Field::new(name, column.data_type().clone(), false));
                columns.push(column);
            }
            batches.push(Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()));
        }
        Ok(Past { until: self.until, rows: futures::stream::iter(batches).boxed() })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_state_comes_back_from_the_lake_and_counting_goes_on() {
    let mut world = World::new().await;
    let run = world.start();
    world.produce(&session(1, 3, 0)).await;
    // Qualifies only with what comes after the loss.
    let counted = world.produce(&session(2, 2, 0)).await;
    world.counters_at(counted).await;
    run.end().await;

    let folder = tempfile::tempdir().unwrap();
    world.state = ViewsState::open(folder.path()).unwrap();
    // The lake has one record less than was counted and the log still has that.
    let trimmed = Arc::new(TrimmedLog { inner: world.log.clone(), first: Offset(1) });
    world.history = Arc::new(FoldedLog { log: world.log.clone(), until: Offset(1) });
    let run = world.run(trimmed.clone(), world.store.clone());
    world.produce(&session(1, 3, 0)).await;
    let next = world.produce(&[event(2, 3, 30)]).await;
    assert_eq!(world.counters_at(next).await.counters, counters(2, 2, 2, 60_000));
    run.end().await;
    let sent: Vec<_> = world.sent().await.into_iter().map(|view| view.session_id).collect();
    assert_eq!(sent, [1, 2].map(|n| SessionId::from_uuid(Uuid::from_u128(n))), "none is sent twice");

    // The restored state is kept: without a lake it goes on.
    world.history = Arc::new(NoHistory);
    let run = world.run(trimmed, world.store.clone());
    let next = world.produce(&session(3, 3, 60)).await;
    assert_eq!(world.counters_at(next).await.counters, counters(3, 3, 3, 90_000));
    run.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_left_behind_catches_up_without_sending_again() {
    let mut world = World::new().await;
    let run = world.start();
    let next = world.produce(&session(1, 3, 0)).await;
    world.counters_at(next).await;
    run.end().await;

    // Another process takes over and counts on.
    let (mine, folder) = (world.state.clone(), tempfile::tempdir().unwrap());
    world.state = ViewsState::open(folder.path()).unwrap();
    let run = world.start();
    let next = world.produce(&session(2, 3, 0)).await;
    world.counters_at(next).await;
    run.end().await;
    assert_eq!(world.sent().await.len(), 2);

    // And the first one has it back: from the log,
    let theirs = std::mem::replace(&mut world.state, mine);
    let run = world.start();
    let next = world.produce(&session(3, 3, 0)).await;
    assert_eq!(world.counters_at(next).await.counters, counters(3, 3, 3, 90_000));
    run.end().await;
    assert_eq!(world.sent().await.len(), 3);

    // or, where the log no longer has it, from the lake.
    world.state = theirs;
    let trimmed = Arc::new(TrimmedLog { inner: world.log.clone(), first: next });
    let run = world.run(trimmed.clone(), world.store.clone());
    let error = run.task.await.unwrap().unwrap_err();
    assert!(matches!(error, ViewsError::StateLost { lake: Offset(0), .. }), "{error}");
    world.history = Arc::new(FoldedLog { log: world.log.clone(), until: next });
    let run = world.run(trimmed, world.store.clone());
    let next = world.produce(&session(4, 3, 0)).await;
    assert_eq!(world.counters_at(next).await.counters, counters(4, 4, 4, 120_000));
    run.end().await;
    assert_eq!(world.sent().await.len(), 4);
}
