//! What stages rely on: positions, retries, dead letters, and exactly-once state.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use event_log::{
    EventLog, ReadLimit, Stream,
    failing::{FailingLog, FaultPlan},
};
use event_schemas::{
    Envelope, Fault, Faulty, Offset, Partition, ProducerStamp, Timestamp, records::DeadLetter, rules::ProducerGate,
};
use parking_lot::Mutex;
use runtime::{
    Admitted, Consumption, Gate, HealthBoard, ListedDeadLetter, PartitionReader, Producer, ReplayError, Stage,
    StageError, list_dead_letters, replay_dead_letter, run_idempotent,
};
use support::{Bed, MAIN, P0, TOPIC, bed, producer_id, stored, text};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Debug, thiserror::Error)]
#[error("trouble of {0:?}")]
struct Trouble(Fault, bool);

impl Faulty for Trouble {
    fn fault(&self) -> Fault {
        self.0
    }
    fn is_retryable(&self) -> bool {
        self.1
    }
}

/// Takes records, and fails as they say.
struct Recorder {
    down: AtomicBool,
    flaky: Mutex<u32>,
    taken: watch::Sender<Vec<String>>,
}

impl Recorder {
    fn new() -> Arc<Self> {
        Arc::new(Self { down: AtomicBool::new(false), flaky: Mutex::new(2), taken: watch::Sender::default() })
    }

    async fn until(&self, last: &str) -> Vec<String> {
        let mut taken = self.taken.subscribe();
        taken.wait_for(|taken| taken.iter().any(|t| t == last)).await.unwrap().clone()
    }
}

#[async_trait]
impl Stage for Recorder {
    fn name(&self) -> &str {
        "recorder"
    }

    async fn handle(&self, batch: &[Admitted]) -> Result<(), StageError> {
        let texts: Vec<String> =
            batch.iter().map(|r| String::from_utf8(r.envelope.payload.to_vec()).unwrap()).collect();
        for text in &texts {
            match text.as_str() {
                "bad" => return Err(Trouble(Fault::Program, false).into()),
                "panic" => panic!("what is this?"),
                "flaky" if *self.flaky.lock() > 0 => {
                    *self.flaky.lock() -= 1;
                    return Err(Trouble(Fault::Program, true).into());
                }
                "needs the database" if self.down.load(Ordering::SeqCst) => {
                    return Err(Trouble(Fault::Dependency, true).into());
                }
                _ => {}
            }
        }
        self.taken.send_modify(|taken| taken.extend(texts));
        Ok(())
    }
}

struct Running {
    cancel: CancellationToken,
    board: HealthBoard,
    task: tokio::task::JoinHandle<Result<(), event_log::LogError>>,
}

impl Running {
    fn start(stage: &Arc<Recorder>, log: Arc<dyn EventLog>, bed: &Bed, producer: &Arc<Producer>) -> Self {
        let (cancel, board) = (CancellationToken::new(), HealthBoard::new(bed.clock.clone()));
        let consumption = Consumption {
            log,
            producer: producer.clone(),
            clock: bed.clock.clone(),
            topic: TOPIC,
            partition: P0,
            limit: ReadLimit { records: 4, bytes: 1 << 20 },
            health: board.register("recorder"),
            cancel: cancel.clone(),
        };
        let stage = stage.clone();
        let task = tokio::spawn(async move { run_idempotent(&*stage, consumption).await });
        Self { cancel, board, task }
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn producer(bed: &Bed, id: u128) -> Arc<Producer> {
    Arc::new(Producer::new(bed.log.clone(), producer_id(id), 1, bed.clock.clone()))
}

async fn committed(log: &dyn EventLog, next: u64) {
    while log.committed_position("recorder", MAIN, P0).await.unwrap() != Offset(next) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn bad_records_become_dead_letters_and_their_neighbours_are_taken() {
    let bed = bed().await;
    let producer = producer(&bed, 1);
    let texts = ["a", "bad", "b", "flaky", "panic", "c"];
    for text in texts {
        producer.send(MAIN, P0, 1, vec![support::text(text)]).await.unwrap();
    }
    bed.log.append(MAIN, P0, vec![Bytes::from_static(b"\x09nonsense")]).await.unwrap();
    producer.send(MAIN, P0, 1, vec![text("end")]).await.unwrap();
    let stage = Recorder::new();
    let running = Running::start(&stage, bed.log.clone(), &bed, &producer);
    assert_eq!(stage.until("end").await, ["a", "b", "flaky", "c", "end"]);
    committed(&*bed.log, 8).await;
    running.stop().await;
    let letters = list_dead_letters(&*bed.log, TOPIC, Offset(0), 10).await.unwrap();
    let seen: Vec<_> = letters
        .iter()
        .map(|l| (l.letter.offset, l.letter.attempts, l.letter.stage.as_str(), l.letter.reason.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (1, 1, "recorder", "trouble of Program"),
            (6, 0, "recorder", "envelope version 9 is unknown: this program reads version 1"),
            (4, 1, "recorder", "the stage panicked: what is this?"),
        ]
    );
    let page = list_dead_letters(&*bed.log, TOPIC, letters[0].offset.next(), 1).await.unwrap();
    assert_eq!(page, letters[1..2]);
    bed.log.close().await;
}

#[tokio::test]
async fn a_replayed_dead_letter_is_its_record_with_a_new_stamp() {
    let bed = bed().await;
    let producer = producer(&bed, 1);
    producer.send(MAIN, P0, 1, vec![text("a"), text("bad")]).await.unwrap();
    bed.log.append(MAIN, P0, vec![Bytes::from_static(b"\x09nonsense")]).await.unwrap();
    let stage = Recorder::new();
    let running = Running::start(&stage, bed.log.clone(), &bed, &producer);
    committed(&*bed.log, 3).await;
    running.stop().await;
    let letters = list_dead_letters(&*bed.log, TOPIC, Offset(0), 10).await.unwrap();
    let of = |offset| letters.iter().find(|l: &&ListedDeadLetter| l.letter.offset == offset).unwrap().offset;
    let operator = self::producer(&bed, 2);
    let appended = replay_dead_letter(&*bed.log, &operator, TOPIC, of(1)).await.unwrap();
    assert_eq!(appended.first, Offset(3));
    let records = stored(&*bed.log, MAIN, P0).await;
    let (old, new) = (Envelope::decode(&records[1].bytes).unwrap(), Envelope::decode(&records[3].bytes).unwrap());
    assert_eq!((new.schema, &new.key, &new.payload), (old.schema, &old.key, &old.payload));
    assert_eq!(new.producer, ProducerStamp { id: producer_id(2), epoch: 1, seq: 0 });
    let error = replay_dead_letter(&*bed.log, &operator, TOPIC, of(2)).await.unwrap_err();
    assert!(matches!(error, ReplayError::Envelope(_)), "{error}");
    let error = replay_dead_letter(&*bed.log, &operator, TOPIC, Offset(9)).await.unwrap_err();
    assert!(matches!(error, ReplayError::NotFound { .. }) && error.fault() == Fault::Caller, "{error}");
    bed.log.close().await;
}

#[tokio::test]
async fn a_dependency_is_waited_for_and_shown() {
    let bed = bed().await;
    let producer = producer(&bed, 1);
    let stage = Recorder::new();
    stage.down.store(true, Ordering::SeqCst);
    let running = Running::start(&stage, bed.log.clone(), &bed, &producer);
    producer.send(MAIN, P0, 1, vec![text("needs the database"), text("next")]).await.unwrap();
    while running.board.failing().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(stage.taken.borrow().is_empty(), "nothing passes what waits");
    stage.down.store(false, Ordering::SeqCst);
    assert_eq!(stage.until("next").await, ["needs the database", "next"]);
    committed(&*bed.log, 2).await;
    while !running.board.failing().is_empty() {
        tokio::task::yield_now().await;
    }
    stage.down.store(true, Ordering::SeqCst);
    producer.send(MAIN, P0, 1, vec![text("needs the database")]).await.unwrap();
    while running.board.failing().is_empty() {
        tokio::task::yield_now().await;
    }
    running.stop().await;
    assert_eq!(bed.log.committed_position("recorder", MAIN, P0).await.unwrap(), Offset(2), "cancelled: not passed");
    assert!(list_dead_letters(&*bed.log, TOPIC, Offset(0), 9).await.unwrap().is_empty());
    bed.log.close().await;
}

#[tokio::test]
async fn a_stage_goes_on_at_its_position_and_skips_what_was_sent_twice() {
    let bed = bed().await;
    let producer = producer(&bed, 1);
    producer.send(MAIN, P0, 1, vec![text("a"), text("b")]).await.unwrap();
    let stage = Recorder::new();
    let running = Running::start(&stage, bed.log.clone(), &bed, &producer);
    stage.until("b").await;
    committed(&*bed.log, 2).await;
    running.stop().await;
    // Sent twice while the stage was away.
    let record = |seq| {
        let producer = ProducerStamp { id: producer_id(1), epoch: 1, seq };
        let produced_at = Timestamp::from_micros(0);
        let payload = Bytes::from(format!("seq {seq}"));
        Envelope { schema: 1, producer, produced_at, key: Bytes::new(), payload }.encode()
    };
    bed.log.append(MAIN, P0, vec![record(2), record(3), record(2), record(3), record(4)]).await.unwrap();
    let failing =
        FailingLog::new(bed.log.clone(), FaultPlan { seed: 1, read: 0.5, commit: 0.5, ..FaultPlan::default() });
    let running = Running::start(&stage, failing.clone(), &bed, &producer);
    assert_eq!(stage.until("seq 4").await, ["a", "b", "seq 2", "seq 3", "seq 4"]);
    committed(&*bed.log, 7).await;
    running.stop().await;
    bed.log.close().await;
}

#[tokio::test]
async fn a_closing_log_ends_the_loop_and_an_unknown_topic_fails_it() {
    let bed = bed().await;
    let producer = producer(&bed, 1);
    let stage = Recorder::new();
    let running = Running::start(&stage, bed.log.clone(), &bed, &producer);
    producer.send(MAIN, P0, 1, vec![text("a")]).await.unwrap();
    stage.until("a").await;
    bed.log.close().await;
    running.task.await.unwrap().unwrap();
    let bed = support::bed().await;
    let consumption = Consumption {
        log: bed.log.clone(),
        producer: producer.clone(),
        clock: bed.clock.clone(),
        topic: event_schemas::Topic::Views,
        partition: P0,
        limit: ReadLimit::default(),
        health: running.board.register("other"),
        cancel: CancellationToken::new(),
    };
    let error = run_idempotent(&*stage, consumption).await.unwrap_err();
    assert!(matches!(error, event_log::LogError::UnknownTopic(_)), "{error}");
    bed.log.close().await;
}

/// A stage with a store of its own: it keeps offset, gate and effect together, and dies at any
/// moment.
#[tokio::test]
async fn state_kept_with_offset_and_gate_takes_each_record_once() {
    let bed = bed().await;
    let plan = FaultPlan { seed: 3, append_failed: 0.1, append_lost: 0.2, append_stored: 0.3, read: 0.2, commit: 0.0 };
    let failing = FailingLog::new(bed.log.clone(), plan);
    let sending = {
        let producers = [1, 2].map(|id| {
            let resends = runtime::producer::Resends { times: 2, first_delay: std::time::Duration::from_millis(1) };
            Producer::with_resends(failing.clone(), producer_id(id), 1, bed.clock.clone(), resends)
        });
        tokio::spawn(async move {
            for n in 0..40 {
                for producer in &producers {
                    // What is not stored is sent again; what is unsettled the producer sends itself.
                    while let Err(error) = producer.send(MAIN, P0, 1, vec![text(&n.to_string())]).await {
                        if error.is_unknown_outcome() {
                            break;
                        }
                    }
                }
            }
            failing.set_plan(FaultPlan::default());
            for producer in &producers {
                producer.send(MAIN, P0, 1, vec![text("40")]).await.unwrap();
            }
            failing
        })
    };
    type Store = (Offset, Gate, BTreeMap<ProducerStampId, Vec<String>>);
    let mut store: Store = (Offset(0), Gate::FromStart(ProducerGate::default()), BTreeMap::new());
    let (mut round, mut duplicates) = (0, 0);
    while store.2.len() < 2 || store.2.values().any(|taken| taken.last().is_none_or(|last| last != "40")) {
        let mut reader = PartitionReader::new(bed.log.clone(), MAIN, P0, store.0, store.1.clone());
        let delivery = reader.next(ReadLimit { records: 5, bytes: 1 << 20 }).await.unwrap();
        let mut effects = store.2.clone();
        for record in &delivery.records {
            let payload = String::from_utf8(record.envelope.payload.to_vec()).unwrap();
            effects.entry(record.envelope.producer.id).or_default().push(payload);
        }
        assert_eq!(delivery.next, reader.offset());
        assert_eq!(delivery.gaps, 0);
        round += 1;
        if round % 3 != 0 {
            duplicates += delivery.duplicates;
            store = (reader.offset(), reader.gate().clone(), effects);
        }
    }
    sending.await.unwrap();
    for taken in store.2.values() {
        assert!(taken.iter().eq((0..=40).map(|n| n.to_string()).collect::<Vec<_>>().iter()), "{taken:?}");
    }
    assert!(duplicates > 0, "nothing was sent twice, so nothing was shown");
    bed.log.close().await;
}

type ProducerStampId = event_schemas::ProducerId;

#[tokio::test]
async fn a_dead_letter_is_pinned() {
    let bed = bed().await;
    let producer = producer(&bed, 1);
    let letter = runtime::Letter { offset: Offset(4), stored: b"abc", attempts: 2, reason: "two\nlines".into() };
    let at = Timestamp::from_micros(5);
    runtime::keep_dead_letter(&producer, "views", TOPIC, Partition(1), &letter, at).await.unwrap();
    let expected = DeadLetter {
        v: 1,
        stage: "views".into(),
        reason: "two lines".into(),
        attempts: 2,
        partition: 1,
        offset: 4,
        at,
        record: "YWJj".into(),
    };
    let listed = list_dead_letters(&*bed.log, TOPIC, Offset(0), 1).await.unwrap();
    assert_eq!(listed, [ListedDeadLetter { offset: Offset(0), letter: expected }]);
    assert_eq!(stored(&*bed.log, Stream::DeadLetters(TOPIC), P0).await.len(), 1);
    bed.log.close().await;
}
