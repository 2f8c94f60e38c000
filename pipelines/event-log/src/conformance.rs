//! What every back end of the log must pass. `event_log_conformance!` makes a test of each
//! function here, and `event_log_retention_conformance!` of those in [`retention`], for back ends
//! whose retention waits for the consumers; see `tests/embedded.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test suite")]

pub mod retention;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use event_schemas::{
    ByteSize, Envelope, Millis, Offset, Partition, ProducerId, ProducerStamp, TestClock, Timestamp, Topic,
    rules::{Admission, ProducerGate},
};

use crate::{Appended, EventLog, LogError, ReadLimit, Stream, TopicSpec};

/// A back end under test.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Opens the log: the same one each time. What was opened before has been closed.
    async fn open(&self) -> Arc<dyn EventLog>;

    /// The clock the log was given.
    fn clock(&self) -> &TestClock;
}

/// Makes a `#[tokio::test]` of every function of the suite. Takes an expression that makes a new
/// back end.
#[macro_export]
macro_rules! event_log_conformance {
    ($backend:expr) => {
        $crate::event_log_conformance!(@each $backend;
            records_keep_their_order_and_lie_side_by_side,
            concurrent_appends_leave_no_gap,
            acknowledged_records_survive_reopening,
            waiting_readers_are_woken,
            reading_keeps_to_its_limits,
            positions_never_move_back_and_survive,
            unknown_topics_and_partitions_are_errors,
            a_topic_keeps_its_partitions,
            a_dropped_append_is_not_taken_back,
            closing_drains_and_lets_go,
        );
    };
    (@each $backend:expr; $($name:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let backend = $backend;
                $crate::conformance::$name(&backend).await;
            }
        )+
    };
}

const TOPIC: Stream = Stream::Main(Topic::Playback);
const P0: Partition = Partition(0);
const P1: Partition = Partition(1);
const ALL: ReadLimit = ReadLimit { records: usize::MAX, bytes: usize::MAX };

fn spec(retain_for: Millis, retain_bytes: ByteSize) -> TopicSpec {
    TopicSpec { stream: TOPIC, partitions: 2, retain_for, retain_bytes }
}

fn unlimited() -> TopicSpec {
    spec(Millis::from_days(365), ByteSize::gib(1))
}

fn record(n: u64) -> Bytes {
    Bytes::from(format!("record {n}"))
}

fn kilobyte(n: u64) -> Bytes {
    Bytes::from(format!("{n:01024}"))
}

async fn contents(log: &dyn EventLog, partition: Partition, from: u64) -> Vec<Bytes> {
    let records = log.read(TOPIC, partition, Offset(from), ALL).await.unwrap();
    for (n, record) in records.iter().enumerate() {
        assert_eq!(record.offset, Offset(from + n as u64), "offsets rise by one");
    }
    records.into_iter().map(|r| r.bytes).collect()
}

/// Offsets, order, adjacency, generation and time of what is appended.
pub async fn records_keep_their_order_and_lie_side_by_side(backend: &dyn Backend) {
    let log = backend.open().await;
    log.ensure_topic(&unlimited()).await.unwrap();
    let generation = log.watermarks(TOPIC, P0).await.unwrap().generation;
    let first = log.append(TOPIC, P0, vec![record(0), record(1)]).await.unwrap();
    assert_eq!(first, Appended { generation, first: Offset(0) });
    backend.clock().advance(Millis(5));
    let second = log.append(TOPIC, P0, vec![record(2)]).await.unwrap();
    assert_eq!(second.first, Offset(2));
    assert_eq!(log.append(TOPIC, P1, vec![record(9)]).await.unwrap().first, Offset(0), "partitions count apart");
    assert_eq!(log.append(TOPIC, P0, vec![]).await.unwrap().first, Offset(3), "nothing appended");
    assert_eq!(contents(&*log, P0, 0).await, [record(0), record(1), record(2)]);
    assert_eq!(contents(&*log, P0, 2).await, [record(2)]);
    assert!(contents(&*log, P0, 3).await.is_empty());
    assert_eq!(contents(&*log, P1, 0).await, [record(9)]);
    let read = log.read(TOPIC, P0, Offset(0), ALL).await.unwrap();
    assert!(read.iter().all(|r| r.generation == generation));
    assert_eq!(read[2].appended_at.since(read[1].appended_at), Millis(5));
    log.close().await;
}

/// Many callers at once, over many segments: every append whole, adjacent and once, also after
/// reopening.
pub async fn concurrent_appends_leave_no_gap(backend: &dyn Backend) {
    let log = backend.open().await;
    log.ensure_topic(&unlimited()).await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..64u64 {
        let log = log.clone();
        callers.spawn(async move {
            let mut out = Vec::new();
            for k in 0..4u64 {
                let id = (n * 4 + k) * 10;
                let records = (0..=n % 5).map(|i| kilobyte(id + i)).collect::<Vec<_>>();
                let partition = Partition(u32::try_from(n % 2).unwrap());
                out.push((partition, log.append(TOPIC, partition, records.clone()).await.unwrap().first, records));
            }
            out
        });
    }
    let appended: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    let before = [contents(&*log, P0, 0).await, contents(&*log, P1, 0).await];
    log.close().await;
    let log = backend.open().await;
    for (partition, before) in [P0, P1].into_iter().zip(before) {
        let stored = contents(&*log, partition, 0).await;
        let mut mine: Vec<_> = appended.iter().filter(|(p, ..)| *p == partition).collect();
        mine.sort_by_key(|(_, first, _)| *first);
        let expected: Vec<Bytes> = mine.iter().flat_map(|(.., records)| records.clone()).collect();
        assert!(stored == expected && before == expected, "partition {partition}");
        let mut next = 0;
        for (_, first, records) in mine {
            assert_eq!(first.0, next);
            next += records.len() as u64;
        }
        assert_eq!(log.watermarks(TOPIC, partition).await.unwrap().next, Offset(next));
    }
    log.close().await;
}

/// Records, offsets and generation are the same after closing and opening, many segments long.
pub async fn acknowledged_records_survive_reopening(backend: &dyn Backend) {
    let mut expected = Vec::new();
    let mut generation = None;
    for round in 0..4u64 {
        let log = backend.open().await;
        log.ensure_topic(&unlimited()).await.unwrap();
        let ends = log.watermarks(TOPIC, P0).await.unwrap();
        assert_eq!(*generation.get_or_insert(ends.generation), ends.generation);
        assert_eq!((ends.first, ends.next), (Offset(0), Offset(expected.len() as u64)));
        assert_eq!(contents(&*log, P0, 0).await, expected);
        for n in 0..6 {
            let records = vec![kilobyte(round * 100 + n), record(n)];
            assert_eq!(log.append(TOPIC, P0, records.clone()).await.unwrap().first, Offset(expected.len() as u64));
            expected.extend(records);
        }
        assert_eq!(contents(&*log, P0, 0).await, expected);
        log.close().await;
    }
}

/// `wait` resolves when there is something to read, and not before.
pub async fn waiting_readers_are_woken(backend: &dyn Backend) {
    let log = backend.open().await;
    log.ensure_topic(&unlimited()).await.unwrap();
    let mut waiting = {
        let log = log.clone();
        tokio::spawn(async move {
            log.wait(TOPIC, P0, Offset(1)).await.unwrap();
            contents(&*log, P0, 1).await
        })
    };
    log.append(TOPIC, P0, vec![record(0)]).await.unwrap();
    log.append(TOPIC, P1, vec![record(7), record(8)]).await.unwrap();
    assert!(still_pending(&mut waiting).await, "offset 1 is not there yet");
    log.append(TOPIC, P0, vec![record(1)]).await.unwrap();
    assert_eq!(waiting.await.unwrap(), [record(1)]);
    log.wait(TOPIC, P0, Offset(0)).await.unwrap();
    log.close().await;
}

async fn still_pending<T>(task: &mut tokio::task::JoinHandle<T>) -> bool {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    !task.is_finished()
}

/// A read returns at most its limits, but always something.
pub async fn reading_keeps_to_its_limits(backend: &dyn Backend) {
    let log = backend.open().await;
    log.ensure_topic(&unlimited()).await.unwrap();
    for n in 0..10 {
        log.append(TOPIC, P0, vec![kilobyte(n)]).await.unwrap();
    }
    let read = async |records, bytes| log.read(TOPIC, P0, Offset(0), ReadLimit { records, bytes }).await.unwrap().len();
    assert_eq!(read(3, usize::MAX).await, 3);
    assert_eq!(read(usize::MAX, 4096).await, 4);
    assert_eq!(read(usize::MAX, 4095).await, 3);
    assert_eq!(read(5, 1).await, 1, "at least one record");
    assert_eq!(read(usize::MAX, usize::MAX).await, 10, "across segments");
    log.close().await;
}

/// A committed position is durable and only rises.
pub async fn positions_never_move_back_and_survive(backend: &dyn Backend) {
    let log = backend.open().await;
    log.ensure_topic(&unlimited()).await.unwrap();
    assert_eq!(log.committed_position("reader", TOPIC, P0).await.unwrap(), Offset(0));
    log.append(TOPIC, P0, (0..9).map(record).collect()).await.unwrap();
    log.commit_position("reader", TOPIC, P0, Offset(5)).await.unwrap();
    log.commit_position("reader", TOPIC, P0, Offset(3)).await.unwrap();
    log.commit_position("other", TOPIC, P0, Offset(1)).await.unwrap();
    assert_eq!(log.committed_position("reader", TOPIC, P0).await.unwrap(), Offset(5));
    log.close().await;
    let log = backend.open().await;
    assert_eq!(log.committed_position("reader", TOPIC, P0).await.unwrap(), Offset(5));
    assert_eq!(log.committed_position("reader", TOPIC, P1).await.unwrap(), Offset(0));
    assert_eq!(log.committed_position("other", TOPIC, P0).await.unwrap(), Offset(1));
    log.commit_position("reader", TOPIC, P0, Offset(4)).await.unwrap();
    assert_eq!(log.committed_position("reader", TOPIC, P0).await.unwrap(), Offset(5));
    log.close().await;
}

/// Every call names the topic or partition that is not there.
pub async fn unknown_topics_and_partitions_are_errors(backend: &dyn Backend) {
    let log = backend.open().await;
    log.ensure_topic(&unlimited()).await.unwrap();
    let nowhere = Stream::Main(Topic::Views);
    let far = Partition(2);
    macro_rules! both {
        ($call:expr) => {
            let call = $call;
            let error = call(nowhere, P0).await.expect_err("no topic");
            assert!(matches!(&error, LogError::UnknownTopic(name) if name == "views"), "{error}");
            let error = call(TOPIC, far).await.expect_err("no partition");
            assert!(matches!(&error, LogError::UnknownPartition { partition: Partition(2), .. }), "{error}");
        };
    }
    both!(async |s, p| log.append(s, p, vec![record(0)]).await.map(|_| ()));
    both!(async |s, p| log.read(s, p, Offset(0), ALL).await.map(|_| ()));
    both!(async |s, p| log.wait(s, p, Offset(0)).await);
    both!(async |s, p| log.watermarks(s, p).await.map(|_| ()));
    both!(async |s, p| log.commit_position("reader", s, p, Offset(1)).await);
    both!(async |s, p| log.committed_position("reader", s, p).await.map(|_| ()));
    assert!(matches!(log.partitions(nowhere).await, Err(LogError::UnknownTopic(_))));
    assert!(matches!(log.register_consumer("reader", nowhere).await, Err(LogError::UnknownTopic(_))));
    log.close().await;
}

/// Asking for a topic again keeps what it holds and refuses another number of partitions.
pub async fn a_topic_keeps_its_partitions(backend: &dyn Backend) {
    let log = backend.open().await;
    log.ensure_topic(&unlimited()).await.unwrap();
    log.ensure_topic(&unlimited()).await.unwrap();
    let wanted = TopicSpec { partitions: 3, ..unlimited() };
    let error = log.ensure_topic(&wanted).await.unwrap_err();
    assert!(matches!(error, LogError::PartitionCount { existing: 2, wanted: 3, .. }), "{error}");
    log.append(TOPIC, P0, (0..8).map(kilobyte).collect()).await.unwrap();
    log.close().await;
    let log = backend.open().await;
    assert_eq!(log.partitions(TOPIC).await.unwrap(), 2);
    assert!(matches!(log.ensure_topic(&wanted).await, Err(LogError::PartitionCount { .. })));
    log.ensure_topic(&unlimited()).await.unwrap();
    assert_eq!(log.append(TOPIC, P0, vec![record(8)]).await.unwrap().first, Offset(8));
    assert_eq!(contents(&*log, P0, 7).await, [kilobyte(7), record(8)]);
    log.close().await;
}

/// Who stops waiting for an append does not undo it.
pub async fn a_dropped_append_is_not_taken_back(backend: &dyn Backend) {
    let log = backend.open().await;
    log.ensure_topic(&unlimited()).await.unwrap();
    {
        let mut append = log.append(TOPIC, P0, vec![record(0)]);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = append.as_mut().poll(&mut cx);
    }
    log.wait(TOPIC, P0, Offset(0)).await.unwrap();
    assert_eq!(contents(&*log, P0, 0).await, [record(0)]);
    log.close().await;
}

/// Closing makes durable what was taken, refuses the rest, and lets waiting readers go.
pub async fn closing_drains_and_lets_go(backend: &dyn Backend) {
    let log = backend.open().await;
    log.ensure_topic(&unlimited()).await.unwrap();
    let waiting = {
        let log = log.clone();
        tokio::spawn(async move { log.wait(TOPIC, P1, Offset(0)).await })
    };
    let mut appends = tokio::task::JoinSet::new();
    for n in 0..32 {
        let log = log.clone();
        appends.spawn(async move { (n, log.append(TOPIC, P0, vec![record(n)]).await) });
    }
    log.append(TOPIC, P0, vec![record(99)]).await.unwrap();
    log.close().await;
    assert!(matches!(waiting.await.unwrap(), Err(LogError::Closed)));
    assert!(matches!(log.append(TOPIC, P0, vec![record(0)]).await, Err(LogError::Closed)));
    assert!(matches!(log.check().await, Err(LogError::Closed)));
    log.close().await;
    let mut acknowledged = BTreeMap::from([(99, ())]);
    for (n, outcome) in appends.join_all().await {
        match outcome {
            Ok(_) => drop(acknowledged.insert(n, ())),
            Err(LogError::Closed) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let log = backend.open().await;
    let stored = contents(&*log, P0, 0).await;
    assert_eq!(stored.len(), acknowledged.len(), "what was refused is not there");
    assert!(acknowledged.keys().all(|n| stored.contains(&record(*n))), "what was acknowledged is there");
    log.close().await;
}

/// Producers that resend after failures, and consumers that take the next record of each
/// producer only and keep (offset, gate) with their state: each record is taken once and in
/// order, whatever fails, and whenever a consumer starts again from its state.
pub async fn resending_and_gates_give_each_record_once(log: Arc<dyn EventLog>, producers: u128, records: u64) {
    log.ensure_topic(&unlimited()).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for id in 1..=producers {
        let log = log.clone();
        tasks.spawn(async move {
            let id = ProducerId::from_uuid(uuid_of(id));
            let mut seq = 0;
            while seq < records {
                let end = records.min(seq + 1 + seq % 4);
                let batch: Vec<Bytes> = (seq..end).map(|seq| envelope(id, seq)).collect();
                while let Err(error) = log.append(TOPIC, P0, batch.clone()).await {
                    assert!(matches!(error, LogError::Failed(_) | LogError::Unknown(_)), "{error}");
                }
                seq = end;
            }
        });
    }
    let mut state: (Offset, ProducerGate, BTreeMap<ProducerId, Vec<u64>>) = Default::default();
    let mut duplicates = 0;
    let wanted = usize::try_from(producers * u128::from(records)).unwrap();
    let mut round = 0;
    while state.2.values().map(Vec::len).sum::<usize>() < wanted {
        // Every third round the consumer dies before it stores its state.
        let (mut next, mut gate, mut taken) = state.clone();
        log.wait(TOPIC, P0, next).await.unwrap();
        let Ok(batch) = log.read(TOPIC, P0, next, ReadLimit { records: 7, bytes: 1 << 20 }).await else { continue };
        for record in batch {
            assert_eq!(record.offset, next);
            next = next.next();
            let stamp = Envelope::decode(&record.bytes).unwrap().producer;
            match gate.admit(stamp) {
                Admission::Take => taken.entry(stamp.id).or_default().push(stamp.seq),
                Admission::Duplicate => duplicates += 1,
                Admission::Gap => panic!("a producer overtook its own record: {stamp:?}"),
            }
        }
        round += 1;
        if round % 3 != 0 {
            while log.commit_position("consumer", TOPIC, P0, next).await.is_err() {}
            state = (next, gate, taken);
        }
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    assert_eq!(state.2.len() as u128, producers);
    assert!(state.2.values().all(|seqs| seqs.iter().copied().eq(0..records)), "each once and in order");
    assert!(duplicates > 0, "nothing was sent twice, so nothing was shown");
    assert_eq!(log.committed_position("consumer", TOPIC, P0).await.unwrap(), state.0);
}

fn uuid_of(n: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(n)
}

fn envelope(id: ProducerId, seq: u64) -> Bytes {
    Envelope {
        schema: 1,
        producer: ProducerStamp { id, epoch: 1, seq },
        produced_at: Timestamp::from_micros(0),
        key: Bytes::new(),
        payload: Bytes::from(seq.to_string()),
    }
    .encode()
}
