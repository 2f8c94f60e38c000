//! Telemetry while the log is away: kept on disk, acknowledged, sent on in order, refused when full.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use event_log::{
    EmbeddedLog, EmbeddedLogOptions, EventLog, ReadLimit, Stream, TopicSpec,
    failing::{FailingLog, FaultPlan},
};
use event_schemas::{
    ByteSize, Clock, Envelope, Millis, Offset, Partition, ProducerId, SessionId, SystemClock, Timestamp, Topic,
    VideoId, ViewerId,
    playback::{self, EventKind, PlaybackEvent},
};
use ingest_api::{Edge, EdgeOptions, Spool};
use runtime::{HealthBoard, Producer};
use tokio_util::sync::CancellationToken;

const STREAM: Stream = Stream::Main(Topic::Playback);
const ONE: Partition = Partition(0);
const AWAY: FaultPlan =
    FaultPlan { seed: 1, append_failed: 0.5, append_lost: 0.5, append_stored: 0.0, read: 0.0, commit: 0.0 };

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

async fn open_log(path: &Path, bytes: ByteSize, retain_for: Millis) -> Arc<dyn EventLog> {
    let mut options = EmbeddedLogOptions::new(path.to_owned(), clock());
    options.free_space_floor = ByteSize(0);
    options.segment_bytes = ByteSize(8 << 10);
    let log = EmbeddedLog::open(options).unwrap();
    log.ensure_topic(&TopicSpec { stream: STREAM, partitions: 1, retain_for, retain_bytes: bytes }).await.unwrap();
    log
}

/// An ingest process before a log that can go away.
struct World {
    folder: tempfile::TempDir,
    far: Arc<dyn EventLog>,
    log: Arc<FailingLog>,
    room: ByteSize,
}

/// One life of the process.
struct Life {
    edge: Edge,
    spool: Spool,
    queue: Arc<dyn EventLog>,
    health: HealthBoard,
    stop: CancellationToken,
    work: Vec<tokio::task::JoinHandle<()>>,
}

impl World {
    async fn new(room: ByteSize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let far = open_log(&folder.path().join("log"), ByteSize::gib(1), Millis::from_days(7)).await;
        let log = FailingLog::new(far.clone(), FaultPlan::default());
        Self { folder, far, log, room }
    }

    async fn start(&self, epoch: u64) -> Life {
        let queue = open_log(&self.folder.path().join("spool"), self.room, Millis(0)).await;
        let spool = Spool::open(queue.clone(), ONE).await.unwrap();
        let producer = Arc::new(Producer::new(self.log.clone(), ProducerId::generate(), epoch, clock()));
        let options = EdgeOptions { patience: Duration::from_millis(50), ..EdgeOptions::default() };
        let (edge, work) = Edge::new(producer.clone(), 1, std::slice::from_ref(&spool), &options);
        let mut work: Vec<_> = work.into_iter().map(tokio::spawn).collect();
        let (stop, health) = (CancellationToken::new(), HealthBoard::new(clock()));
        let (forwarder, handle, cancel) = (spool.clone(), health.register("telemetry spool"), stop.clone());
        work.push(tokio::spawn(async move { forwarder.forward(&producer, handle, cancel).await.unwrap() }));
        Life { edge, spool, queue, health, stop, work }
    }

    /// The numbers of the events in the log, in its order.
    async fn stored(&self) -> Vec<u32> {
        let mut seqs = Vec::new();
        for record in self.far.read(STREAM, ONE, Offset(0), ReadLimit::default()).await.unwrap() {
            let envelope = Envelope::decode(&record.bytes).unwrap();
            let batch = playback::decode(&envelope.payload).unwrap();
            let column = batch.column_by_name("seq").unwrap();
            let column = column.as_any().downcast_ref::<arrow::array::Int64Array>().unwrap();
            seqs.extend(column.values().iter().map(|seq| u32::try_from(*seq).unwrap()));
        }
        seqs
    }

    /// Waits until what the log holds is `enough`.
    async fn stored_until(&self, enough: impl Fn(&[u32]) -> bool) -> Vec<u32> {
        loop {
            let ends = self.far.watermarks(STREAM, ONE).await.unwrap();
            let stored = self.stored().await;
            if enough(&stored) {
                return stored;
            }
            let more = self.far.wait(STREAM, ONE, ends.next);
            tokio::time::timeout(Duration::from_secs(60), more).await.expect("more arrives").unwrap();
        }
    }
}

impl Life {
    /// Ends as a process does at an orderly stop.
    async fn end(self) {
        self.stop.cancel();
        drop(self.edge);
        for task in self.work {
            task.await.unwrap();
        }
        self.queue.close().await;
    }

    async fn until(&self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            tokio::task::yield_now().await;
        }
    }
}

fn viewer() -> ViewerId {
    ViewerId::from_bytes([7; 16])
}

fn event(seq: u32) -> PlaybackEvent {
    let at = Timestamp::from_millis(1_800_000_000_000);
    PlaybackEvent {
        session_id: SessionId::from_uuid(uuid::Uuid::from_u128(1)),
        seq,
        viewer_id: viewer(),
        video_id: VideoId::from_uuid(uuid::Uuid::from_u128(2)),
        rendition: None,
        kind: EventKind::Start,
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

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_the_log_is_away_is_acknowledged_and_follows_in_order() {
    let world = World::new(ByteSize::gib(1)).await;
    let life = world.start(1).await;
    life.edge.append(viewer(), vec![event(0)]).await.unwrap();
    assert_eq!(world.stored().await, [0]);

    world.log.set_plan(AWAY);
    for seq in 1..=3 {
        life.edge.append(viewer(), vec![event(seq)]).await.unwrap();
    }
    assert_eq!(world.stored().await, [0]);
    assert_eq!(life.spool.waiting(), 3);
    life.until(|life| !life.health.failing().is_empty()).await;
    life.end().await;

    // A process that starts while records wait sends nothing past them.
    let life = world.start(2).await;
    assert_eq!(life.spool.waiting(), 3);
    life.edge.append(viewer(), vec![event(4)]).await.unwrap();
    world.log.set_plan(FaultPlan::default());
    let stored = world.stored_until(|stored| stored.contains(&4)).await;
    // What the edge gave up may have been stored all the same, and then comes twice.
    let mut firsts: Vec<u32> = Vec::new();
    for seq in &stored {
        if !firsts.contains(seq) {
            firsts.push(*seq);
        }
    }
    assert_eq!(firsts, [0, 1, 2, 3, 4], "{stored:?}");
    life.until(|life| life.spool.waiting() == 0).await;
    life.edge.append(viewer(), vec![event(5)]).await.unwrap();
    assert_eq!(world.stored().await.last(), Some(&5), "straight to the log again");
    life.until(|life| life.health.failing().is_empty()).await;
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_when_to_come_back_and_keeps_what_it_acknowledged() {
    let world = World::new(ByteSize(64 << 10)).await;
    world.log.set_plan(AWAY);
    let life = world.start(1).await;
    let mut taken = 0;
    let refused = loop {
        match life.edge.append(viewer(), vec![event(taken)]).await {
            Ok(()) => taken += 1,
            Err(problem) => break problem,
        }
        assert!(taken < 10_000, "the queue is bounded");
    };
    assert_eq!(refused.status, 429);
    assert!(refused.retry_after.is_some(), "{refused:?}");
    assert!(taken > 3);

    world.log.set_plan(FaultPlan::default());
    let all = |stored: &[u32]| {
        let distinct: BTreeSet<_> = stored.iter().copied().collect();
        (0..taken).all(|seq| distinct.contains(&seq))
    };
    world.stored_until(all).await;
    // And there is room again.
    while life.edge.append(viewer(), vec![event(taken)]).await.is_err() {
        tokio::task::yield_now().await;
    }
    life.end().await;
}
