//! The producer's numbering, whatever fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use event_log::{
    EventLog, LogError,
    failing::{FailingLog, FaultPlan},
};
use event_schemas::{
    Envelope, Faulty, Offset, Partition, Topic, UploadId, VideoId,
    records::{JsonRecord, UploadRecord, UploadState},
    rules::{Admission, ProducerGate},
};
use proptest::prelude::*;
use runtime::{Producer, SendError, producer::Resends};
use support::{ALL, Bed, MAIN, P0, bed, producer_id, stored, text};

fn producer(log: Arc<dyn EventLog>, bed: &Bed, epoch: u64) -> Arc<Producer> {
    let resends = Resends { times: 2, first_delay: Duration::from_millis(1) };
    Arc::new(Producer::with_resends(log, producer_id(1), epoch, bed.clock.clone(), resends))
}

/// What a consumer with a gate takes from a partition: the payloads, in order. Anything that
/// overtook another record of its producer fails the test.
async fn taken(log: &dyn EventLog, partition: Partition) -> (Vec<String>, u64) {
    let mut gate = ProducerGate::default();
    let (mut out, mut duplicates) = (Vec::new(), 0);
    for record in stored(log, MAIN, partition).await {
        let envelope = Envelope::decode(&record.bytes).unwrap();
        match gate.admit(envelope.producer) {
            Admission::Take => out.push(String::from_utf8(envelope.payload.to_vec()).unwrap()),
            Admission::Duplicate => duplicates += 1,
            Admission::Gap => panic!("{:?} came before its predecessor", envelope.producer),
        }
    }
    (out, duplicates)
}

const LOST: FaultPlan =
    FaultPlan { seed: 0, append_failed: 0.0, append_lost: 1.0, append_stored: 0.0, read: 0.0, commit: 0.0 };
const STORED: FaultPlan = FaultPlan { append_lost: 0.0, append_stored: 1.0, ..LOST };
const FAILED: FaultPlan = FaultPlan { append_lost: 0.0, append_failed: 1.0, ..LOST };
const FINE: FaultPlan = FaultPlan { append_lost: 0.0, ..LOST };

#[tokio::test]
async fn envelopes_carry_the_stamp_the_key_and_the_time() {
    let bed = bed().await;
    let producer = producer(bed.log.clone(), &bed, 7);
    let appended = producer.send(MAIN, P0, 3, vec![text("a"), text("b")]).await.unwrap();
    assert_eq!(appended.first, Offset(0));
    assert_eq!(producer.send(MAIN, P0, 3, vec![text("c")]).await.unwrap().first, Offset(2));
    producer.send(MAIN, Partition(1), 3, vec![text("d")]).await.unwrap();
    let envelopes: Vec<Envelope> =
        stored(&*bed.log, MAIN, P0).await.iter().map(|r| Envelope::decode(&r.bytes).unwrap()).collect();
    assert_eq!(envelopes.iter().map(|e| e.producer.seq).collect::<Vec<_>>(), [0, 1, 2]);
    let Envelope { schema, producer: stamp, produced_at, key, payload } = envelopes[1].clone();
    assert_eq!((schema, stamp.id, stamp.epoch), (3, producer_id(1), 7));
    assert_eq!(produced_at, event_schemas::Clock::now(&*bed.clock));
    assert_eq!((key, payload), text("b"));
    let other = Envelope::decode(&stored(&*bed.log, MAIN, Partition(1)).await[0].bytes).unwrap();
    assert_eq!(other.producer.seq, 0, "each partition counts by itself");
    bed.log.close().await;
}

#[tokio::test]
async fn a_json_record_goes_to_the_partition_of_its_key() {
    let bed = bed().await;
    let producer = producer(bed.log.clone(), &bed, 1);
    let id = |n| uuid::Uuid::from_u128(n);
    for n in 0..8u128 {
        let video_id = VideoId::from_uuid(id(n));
        let (upload_id, state) = (UploadId::from_uuid(id(n)), UploadState::Complete);
        let at = event_schemas::Timestamp::from_millis(0);
        let record = UploadRecord { v: 1, video_id, upload_id, state, bytes: 9, at };
        let key = video_id.as_uuid().into_bytes();
        let partition = Partition::of_key(&key, 2);
        let appended = producer.send_json(MAIN, &key, &record).await.unwrap();
        let found = bed.log.read(MAIN, partition, appended.first, ALL).await.unwrap();
        let envelope = Envelope::decode(&found[0].bytes).unwrap();
        assert_eq!(UploadRecord::from_envelope(&envelope).unwrap(), record);
        assert_eq!(envelope.key, Bytes::copy_from_slice(&key));
    }
    let nowhere = event_log::Stream::Main(Topic::Views);
    let error = producer.send(nowhere, P0, 1, vec![text("x")]).await.unwrap_err();
    assert!(matches!(error, SendError::NotStored(LogError::UnknownTopic(_))), "{error}");
    bed.log.close().await;
}

#[tokio::test]
async fn a_known_failure_uses_no_number_and_an_unknown_one_is_settled_first() {
    let bed = bed().await;
    let failing = FailingLog::new(bed.log.clone(), FAILED);
    let producer = producer(failing.clone(), &bed, 1);
    let refused = producer.send(MAIN, P0, 1, vec![text("refused")]).await.unwrap_err();
    assert!(matches!(refused, SendError::NotStored(LogError::Failed(_))) && refused.is_retryable(), "{refused}");
    failing.set_plan(STORED);
    let unknown = producer.send(MAIN, P0, 1, vec![text("first"), text("second")]).await.unwrap_err();
    assert!(matches!(unknown, SendError::Unresolved(_)) && unknown.is_unknown_outcome(), "{unknown}");
    assert_eq!(failing.injected().append_stored, 3, "sent once and twice more");
    // A known failure of a resend says nothing about the first try.
    failing.set_plan(FAILED);
    let blocked = producer.send(MAIN, P0, 1, vec![text("blocked")]).await.unwrap_err();
    assert!(matches!(blocked, SendError::Blocked(_)) && !blocked.is_unknown_outcome(), "{blocked}");
    producer.send(MAIN, Partition(1), 1, vec![text("elsewhere")]).await.unwrap_err();
    failing.set_plan(FINE);
    producer.send(MAIN, Partition(1), 1, vec![text("elsewhere")]).await.unwrap();
    producer.send(MAIN, P0, 1, vec![text("third")]).await.unwrap();
    assert_eq!(taken(&*bed.log, P0).await, (vec!["first".into(), "second".into(), "third".into()], 6));
    assert_eq!(taken(&*bed.log, Partition(1)).await, (vec!["elsewhere".into()], 0));
    bed.log.close().await;
}

#[tokio::test]
async fn a_lost_append_is_sent_again_before_its_caller_hears_of_it() {
    let bed = bed().await;
    let plan = FaultPlan { seed: 5, append_lost: 0.5, ..FINE };
    let failing = FailingLog::new(bed.log.clone(), plan);
    let resends = Resends { times: 50, first_delay: Duration::from_micros(1) };
    let producer = Producer::with_resends(failing.clone(), producer_id(1), 1, bed.clock.clone(), resends);
    for n in 0..20u64 {
        let appended = producer.send(MAIN, P0, 1, vec![text(&n.to_string())]).await.unwrap();
        assert_eq!(appended.first, Offset(n));
    }
    assert!(failing.injected().append_lost > 0);
    bed.log.close().await;
}

#[derive(Debug, Clone)]
struct Call {
    partition: u32,
    records: usize,
    /// Goes without waiting for the answer.
    drops: bool,
    /// Waits until all calls before it are answered.
    waits: bool,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = (0u32..2, 1usize..4, proptest::bool::weighted(0.2), any::<bool>())
        .prop_map(|(partition, records, drops, waits)| Call { partition, records, drops, waits });
    proptest::collection::vec(call, 1..30)
}

fn plans() -> impl Strategy<Value = FaultPlan> {
    (any::<u64>(), 0.0..0.3f64, 0.0..0.3f64, 0.0..0.3f64).prop_map(
        |(seed, append_failed, append_lost, append_stored)| FaultPlan {
            seed,
            append_failed,
            append_lost,
            append_stored,
            ..FaultPlan::default()
        },
    )
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Told {
    Stored,
    NotStored,
    Unknown,
    Nothing,
}

async fn play(calls: Vec<Call>, plan: FaultPlan) {
    let bed = bed().await;
    let failing = FailingLog::new(bed.log.clone(), plan);
    let producer = producer(failing.clone(), &bed, 1);
    let mut told: BTreeMap<usize, (Call, Told)> = BTreeMap::new();
    let mut open = tokio::task::JoinSet::new();
    for (n, call) in calls.into_iter().enumerate() {
        if call.waits {
            while let Some(done) = open.join_next().await {
                let (n, call, outcome) = done.unwrap();
                told.insert(n, (call, outcome));
            }
        }
        let records = (0..call.records).map(|k| text(&format!("{n}.{k}"))).collect();
        let producer = producer.clone();
        if call.drops {
            let mut send = Box::pin(async move { producer.send(MAIN, Partition(call.partition), 1, records).await });
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = send.as_mut().poll(&mut cx);
            told.insert(n, (call, Told::Nothing));
            continue;
        }
        open.spawn(async move {
            let outcome = match producer.send(MAIN, Partition(call.partition), 1, records).await {
                Ok(_) => Told::Stored,
                Err(SendError::NotStored(_) | SendError::Blocked(_)) => Told::NotStored,
                Err(SendError::Unresolved(_)) => Told::Unknown,
                Err(error) => panic!("{error}"),
            };
            (n, call, outcome)
        });
    }
    while let Some(done) = open.join_next().await {
        let (n, call, outcome) = done.unwrap();
        told.insert(n, (call, outcome));
    }
    // Once the log is well again the next record settles what is left.
    failing.set_plan(FINE);
    for partition in 0..2 {
        while producer.send(MAIN, Partition(partition), 1, vec![text("last")]).await.is_err() {}
    }
    for partition in 0..2 {
        let (taken, _) = taken(&*bed.log, Partition(partition)).await;
        assert_eq!(taken.last().map(String::as_str), Some("last"));
        for (n, (call, told)) in told.iter().filter(|(_, (call, _))| call.partition == partition) {
            let first = taken.iter().position(|payload| *payload == format!("{n}.0"));
            let count = taken.iter().filter(|payload| payload.starts_with(&format!("{n}."))).count();
            match told {
                Told::Stored | Told::Unknown => assert_eq!(count, call.records, "{n} {told:?}"),
                Told::NotStored => assert_eq!(count, 0, "{n}"),
                Told::Nothing => assert!(count == 0 || count == call.records, "{n}"),
            }
            if let Some(first) = first {
                for k in 0..call.records {
                    assert_eq!(taken[first + k], format!("{n}.{k}"), "side by side and in order");
                }
            }
        }
    }
    bed.log.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, ..ProptestConfig::default() })]
    #[test]
    fn every_record_is_taken_as_its_caller_was_told(calls in calls(), plan in plans()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(play(calls, plan));
    }
}
