//! The relay, from a catalog in SQLite to a log on disk.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{collections::HashMap, sync::Arc, time::Duration};

use catalog::{
    Catalog, OutboxRow, SqlCatalog, SqlOptions, VideoEdit,
    conformance::{at, creator, start_upload, uploaded_at},
    failing::{FailingCatalog, FailurePlan},
    sqlite_url,
};
use event_log::{
    EventLog, ReadLimit, Stream, TopicSpec,
    embedded::{EmbeddedLog, EmbeddedLogOptions},
    failing::{FailingLog, FaultPlan},
};
use event_schemas::{
    ByteSize, Clock, Envelope, Millis, Offset, Partition, ProducerId, TestClock, Topic, VideoId,
    records::{JsonRecord as _, VideoRecord},
};
use publish_stage::{Relay, RelayConfig, Step};
use runtime::{HealthBoard, Producer, producer::Resends};
use tokio_util::sync::CancellationToken;

const TOPICS: [(Topic, u32); 3] = [(Topic::Uploads, 2), (Topic::Transcodes, 1), (Topic::Videos, 3)];

struct World {
    _dir: tempfile::TempDir,
    catalog: Arc<dyn Catalog>,
    log: Arc<dyn EventLog>,
    clock: Arc<TestClock>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::at(at(0)));
        let catalog = SqlCatalog::open(&sqlite_url(&dir.path().join("c.db")), SqlOptions::default()).await.unwrap();
        let options = EmbeddedLogOptions {
            free_space_floor: ByteSize(0),
            ..EmbeddedLogOptions::new(dir.path().join("log"), clock.clone())
        };
        let log = EmbeddedLog::open(options).unwrap();
        for (topic, partitions) in TOPICS {
            let stream = Stream::Main(topic);
            let (retain_for, retain_bytes) = (Millis::from_days(7), ByteSize::gib(1));
            log.ensure_topic(&TopicSpec { stream, partitions, retain_for, retain_bytes }).await.unwrap();
        }
        Self { _dir: dir, catalog, log, clock }
    }

    fn relay(&self, owner: &str) -> Relay {
        self.relay_between(self.catalog.clone(), self.log.clone(), self.clock.clone(), owner)
    }

    fn relay_between(
        &self,
        catalog: Arc<dyn Catalog>,
        log: Arc<dyn EventLog>,
        clock: Arc<TestClock>,
        owner: &str,
    ) -> Relay {
        let resends = Resends { times: 2, first_delay: Duration::from_millis(1) };
        let producer = Producer::with_resends(log, ProducerId::generate(), 1, clock.clone(), resends);
        let config = RelayConfig { batch: 7, poll: Duration::from_secs(3600), ..RelayConfig::new(owner) };
        Relay::new(catalog, Arc::new(producer), clock, config)
    }

    /// Some videos, each with an upload, edits and perhaps a deletion.
    async fn tell(&self) -> Vec<VideoId> {
        let owner = creator(&*self.catalog, &format!("creator-{}", VideoId::generate())).await;
        let mut ids = Vec::new();
        for number in 0..6 {
            let id = uploaded_at(&*self.catalog, &owner, at(number)).await;
            self.catalog
                .edit_video(id, VideoEdit { title: Some("é\n".into()), ..VideoEdit::default() }, at(9))
                .await
                .unwrap();
            ids.push(id);
        }
        let upload = start_upload(&*self.catalog, &owner, 9).await;
        self.catalog.delete_video(upload.video_id, at(10)).await.unwrap();
        self.catalog.delete_video(ids[2], at(11)).await.unwrap();
        ids
    }

    /// Everything in the log, by partition.
    async fn records(&self) -> Vec<(Topic, Partition, Vec<Envelope>)> {
        let mut all = Vec::new();
        for (topic, partitions) in TOPICS {
            for partition in (0..partitions).map(Partition) {
                let read =
                    self.log.read(Stream::Main(topic), partition, Offset(0), ReadLimit::default()).await.unwrap();
                let envelopes = read.iter().map(|record| Envelope::decode(&record.bytes).unwrap()).collect();
                all.push((topic, partition, envelopes));
            }
        }
        all
    }

    /// Asserts that the log holds `rows`, each key's in order; exactly, or with repetitions.
    async fn assert_holds(&self, rows: &[OutboxRow], exactly: bool) {
        let mut found: HashMap<(Topic, String), Vec<(u16, String)>> = HashMap::new();
        for (topic, partition, envelopes) in self.records().await {
            let count = TOPICS.iter().find(|(known, _)| *known == topic).unwrap().1;
            for envelope in envelopes {
                assert_eq!(Partition::of_key(&envelope.key, count), partition);
                let key = String::from_utf8(envelope.key.to_vec()).unwrap();
                let record = (envelope.schema, String::from_utf8(envelope.payload.to_vec()).unwrap());
                let of_key = found.entry((topic, key)).or_default();
                if exactly || !of_key.contains(&record) {
                    of_key.push(record);
                }
            }
        }
        let mut expected: HashMap<(Topic, String), Vec<(u16, String)>> = HashMap::new();
        for row in rows {
            expected.entry((row.topic, row.key.clone())).or_default().push((row.schema, row.payload.clone()));
        }
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn every_row_arrives_once_in_order_and_is_cleared() {
    let world = World::new().await;
    world.tell().await;
    let rows = world.catalog.outbox(1000).await.unwrap();
    assert!(rows.len() > 14, "more than two batches");
    let relay = world.relay("a");
    let mut tenure = relay.tenure();
    let mut delivered = 0;
    loop {
        let Step::Delivered(count, more) = relay.step(&mut tenure).await.unwrap() else { panic!("not the holder") };
        delivered += count;
        assert_eq!(world.catalog.outbox(1000).await.unwrap(), rows[delivered..]);
        if !more {
            break;
        }
    }
    assert_eq!(delivered, rows.len());
    world.assert_holds(&rows, true).await;
}

#[tokio::test]
async fn through_failures_every_row_arrives_in_the_order_of_its_key() {
    for seed in 0..6 {
        let world = World::new().await;
        world.tell().await;
        let rows = world.catalog.outbox(1000).await.unwrap();
        let plan = FaultPlan { seed, append_failed: 0.2, append_lost: 0.1, append_stored: 0.2, ..FaultPlan::default() };
        let log = FailingLog::new(world.log.clone(), plan);
        let catalog = FailingCatalog::new(world.catalog.clone(), FailurePlan { seed, before: 0.15, after: 0.15 });
        let mut lives = 0;
        'delivered: loop {
            // A new life of the process: another producer, the lease taken anew.
            lives += 1;
            let relay = world.relay_between(catalog.clone(), log.clone(), world.clock.clone(), "a");
            let mut tenure = relay.tenure();
            for _ in 0..4 {
                if let Ok(Step::Delivered(0, false)) = relay.step(&mut tenure).await {
                    break 'delivered;
                }
            }
            assert!(lives < 500, "it never ends");
        }
        assert!(log.injected().append_failed + log.injected().append_stored + catalog.failed() > 0);
        assert_eq!(world.catalog.outbox(1000).await.unwrap(), []);
        world.assert_holds(&rows, false).await;
        // The first arrival of each version comes after those of all lower ones.
        for (topic, _, envelopes) in world.records().await {
            let mut highest: HashMap<VideoId, i64> = HashMap::new();
            let mut seen = std::collections::HashSet::new();
            for envelope in envelopes.iter().filter(|_| topic == Topic::Videos) {
                let record = VideoRecord::from_envelope(envelope).unwrap();
                if seen.insert((record.video_id, record.version)) {
                    let before = highest.insert(record.video_id, record.version);
                    assert!(before.is_none_or(|version| version < record.version), "seed {seed}");
                }
            }
        }
    }
}

#[tokio::test]
async fn one_relay_works_at_a_time() {
    let world = World::new().await;
    let (first, second) = (world.relay("a"), world.relay("b"));
    let (mut mine, mut yours) = (first.tenure(), second.tenure());
    assert_eq!(first.step(&mut mine).await.unwrap(), Step::Delivered(0, false));
    assert_eq!(second.step(&mut yours).await.unwrap(), Step::Standby);
    world.clock.advance(Millis::from_secs(14));
    assert_eq!(first.step(&mut mine).await.unwrap(), Step::Delivered(0, false));
    world.clock.advance(Millis::from_secs(14));
    assert_eq!(second.step(&mut yours).await.unwrap(), Step::Standby, "the first has renewed it");
    world.clock.advance(Millis::from_secs(2));
    world.tell().await;
    assert!(matches!(second.step(&mut yours).await.unwrap(), Step::Delivered(7, true)));
    let before = world.records().await;
    assert_eq!(first.step(&mut mine).await.unwrap(), Step::Standby);
    assert_eq!(world.records().await, before);
}

#[tokio::test]
async fn a_relay_whose_clock_is_late_is_fenced() {
    let world = World::new().await;
    let late = Arc::new(TestClock::at(world.clock.now()));
    let first = world.relay_between(world.catalog.clone(), world.log.clone(), late.clone(), "a");
    let second = world.relay("b");
    let (mut mine, mut yours) = (first.tenure(), second.tenure());
    assert_eq!(first.step(&mut mine).await.unwrap(), Step::Delivered(0, false));
    world.clock.advance(Millis::from_secs(20));
    assert_eq!(second.step(&mut yours).await.unwrap(), Step::Delivered(0, false));
    world.tell().await;
    late.advance(Millis::from_secs(10));
    assert_eq!(first.step(&mut mine).await.unwrap(), Step::Standby, "it learns of the takeover when it renews");
    assert!(world.records().await.iter().all(|(_, _, envelopes)| envelopes.is_empty()));
}

async fn first_video_record(world: &World) {
    let waits = (0..3).map(|n| Box::pin(world.log.wait(Stream::Main(Topic::Videos), Partition(n), Offset(0))));
    let (first, _, _) =
        tokio::time::timeout(Duration::from_secs(30), futures::future::select_all(waits)).await.unwrap();
    first.unwrap();
}

#[tokio::test]
async fn a_running_relay_is_woken_and_gives_its_lease_back() {
    let world = World::new().await;
    let (relay, cancel) = (Arc::new(world.relay("a")), CancellationToken::new());
    let board = HealthBoard::new(world.clock.clone());
    let running = tokio::spawn({
        let (relay, cancel, health) = (relay.clone(), cancel.clone(), board.register("relay"));
        async move { relay.run(health, cancel).await }
    });
    // It polls once an hour, so only the wake-up can bring these.
    world.tell().await;
    first_video_record(&world).await;
    cancel.cancel();
    running.await.unwrap();
    let other = world.relay("b");
    assert!(matches!(other.step(&mut other.tenure()).await.unwrap(), Step::Delivered(..)));
}

#[tokio::test]
async fn a_log_that_is_down_is_waited_for() {
    let world = World::new().await;
    let down = FaultPlan { append_failed: 1.0, ..FaultPlan::default() };
    let log = FailingLog::new(world.log.clone(), down);
    let relay = world.relay_between(world.catalog.clone(), log.clone(), world.clock.clone(), "a");
    world.tell().await;
    let rows = world.catalog.outbox(1000).await.unwrap();
    let error = relay.step(&mut relay.tenure()).await.unwrap_err();
    assert!(event_schemas::Faulty::is_retryable(&error), "{error:?}");
    assert_eq!(world.catalog.outbox(1000).await.unwrap(), rows);
    let (relay, cancel) = (Arc::new(relay), CancellationToken::new());
    let board = HealthBoard::new(world.clock.clone());
    let running = tokio::spawn({
        let (relay, cancel, health) = (relay.clone(), cancel.clone(), board.register("relay"));
        async move { relay.run(health, cancel).await }
    });
    log.set_plan(FaultPlan::default());
    first_video_record(&world).await;
    cancel.cancel();
    running.await.unwrap();
    assert!(board.failing().is_empty());
}
