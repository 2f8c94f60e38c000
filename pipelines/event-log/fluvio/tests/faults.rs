//! The log while servers of its cluster are killed and come back, and while consumers lag. Every
//! test starts a cluster of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use event_log::{EventLog, LogError, ReadLimit, Stream, TopicSpec};
use event_log_fluvio::{FluvioLog, FluvioLogOptions};
use event_schemas::{
    ByteSize, Envelope, Faulty, Millis, Offset, Partition, ProducerId, ProducerStamp, Timestamp, Topic,
    rules::{Admission, ProducerGate},
};
use support::{Cluster, LONG, OnCluster, until};

const STREAM: Stream = Stream::Main(Topic::Playback);
const P0: Partition = Partition(0);
const ALL: ReadLimit = ReadLimit { records: usize::MAX, bytes: usize::MAX };

fn spec(partitions: u32, retain_bytes: ByteSize) -> TopicSpec {
    TopicSpec { stream: STREAM, partitions, retain_for: Millis::from_days(9), retain_bytes }
}

/// A log whose requests give up soon.
async fn impatient(backend: &OnCluster) -> Arc<FluvioLog> {
    let options = FluvioLogOptions { request_timeout: Duration::from_secs(3), ..backend.options() };
    FluvioLog::open(&backend.url(), options).await.unwrap()
}

fn envelope(id: ProducerId, seq: u64) -> Bytes {
    let payload = Bytes::from(format!("{seq} {:0400}", 0));
    let producer = ProducerStamp { id, epoch: 1, seq };
    Envelope { schema: 1, producer, produced_at: Timestamp::from_micros(0), key: Bytes::new(), payload }.encode()
}

/// Appends in order, each again until it is acknowledged, and counts.
async fn flood(log: Arc<FluvioLog>, id: ProducerId, acknowledged: Arc<AtomicU64>, until: u64) -> BTreeMap<u64, Offset> {
    let mut acked = BTreeMap::new();
    let mut seq = 0;
    while acknowledged.load(Ordering::SeqCst) < until {
        let records = vec![envelope(id, seq), envelope(id, seq + 1)];
        loop {
            match log.append(STREAM, P0, records.clone()).await {
                Ok(appended) => {
                    acked.insert(seq, appended.first);
                    acked.insert(seq + 1, appended.first.next());
                    break;
                }
                Err(error) => {
                    assert!(matches!(error, LogError::Failed(_) | LogError::Unknown(_)), "{error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        acknowledged.fetch_add(2, Ordering::SeqCst);
        seq += 2;
    }
    acked
}

/// Floods one partition with four producers while `disturb` works, and finds every acknowledged
/// record at its offset, each producer's numbers without a gap, and each taken once by the gate.
async fn nothing_acknowledged_is_lost(
    cluster: &Cluster,
    replication: u32,
    enough: u64,
    disturb: impl AsyncFnOnce(&Cluster, &str, &AtomicU64),
) {
    let backend = OnCluster::new(cluster.address.clone(), replication);
    let log = impatient(&backend).await;
    log.ensure_topic(&spec(1, ByteSize::gib(1))).await.unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let ids: Vec<ProducerId> = (0..4).map(|_| ProducerId::generate()).collect();
    let tasks: Vec<_> =
        ids.iter().map(|id| tokio::spawn(flood(log.clone(), *id, acknowledged.clone(), enough))).collect();
    disturb(cluster, &format!("{}-playback", backend.prefix), &acknowledged).await;
    let mut acked = Vec::new();
    for (id, task) in ids.iter().zip(tasks) {
        acked.push((*id, tokio::time::timeout(LONG, task).await.unwrap().unwrap()));
    }
    let next = log.watermarks(STREAM, P0).await.unwrap().next;
    let stored = log.read(STREAM, P0, Offset(0), ALL).await.unwrap();
    assert_eq!(stored.len() as u64, next.0, "everything is read");
    let mut gate = ProducerGate::default();
    let mut taken: BTreeMap<ProducerId, u64> = BTreeMap::new();
    let mut duplicates = 0;
    for (n, record) in stored.iter().enumerate() {
        assert_eq!(record.offset.0, n as u64, "no gap");
        let stamp = Envelope::decode(&record.bytes).unwrap().producer;
        match gate.admit(stamp) {
            Admission::Take => *taken.entry(stamp.id).or_default() += 1,
            Admission::Duplicate => duplicates += 1,
            Admission::Gap => panic!("{stamp:?} overtook one of its own at offset {n}"),
        }
    }
    let mut count = 0;
    for (id, acked) in acked {
        for (seq, offset) in &acked {
            let at = usize::try_from(offset.0).unwrap();
            assert_eq!(stored[at].bytes, envelope(id, *seq), "acknowledged at {offset}");
        }
        assert_eq!(taken[&id], acked.len() as u64, "each once");
        count += acked.len();
    }
    assert!(count as u64 >= enough);
    eprintln!("{count} acknowledged, {} stored, {duplicates} recognised as sent again", stored.len());
    log.close().await;
}

async fn reaches(acknowledged: &AtomicU64, count: u64) {
    until("records are acknowledged", async || acknowledged.load(Ordering::SeqCst) >= count).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_loses_nothing_it_acknowledged() {
    let Some(one) = support::cluster("Fluvio's broker under kill -9", 1).await else { return };
    nothing_acknowledged_is_lost(&one.cluster, 1, 6000, async |cluster, _, acknowledged| {
        for round in 1..=3 {
            reaches(acknowledged, round * 1200).await;
            cluster.kill_broker(0);
            cluster.start_broker(0);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_loses_nothing_it_acknowledged() {
    let Some(two) = support::cluster("Fluvio's replicas under kill -9", 2).await else { return };
    // Replicas take their time: some tens of milliseconds an append, and seconds to find each other.
    nothing_acknowledged_is_lost(&two.cluster, 2, 800, async |cluster, topic, acknowledged| {
        reaches(acknowledged, 200).await;
        let leader = cluster.leader(topic).await;
        cluster.kill_broker(leader);
        cluster.start_broker(leader);
        reaches(acknowledged, 500).await;
        let follower = 1 - cluster.leader(topic).await;
        cluster.kill_broker(follower);
        cluster.start_broker(follower);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_fail_in_time_while_the_broker_is_away_and_heal() {
    let Some(one) = support::cluster("Fluvio's broker away for a while", 1).await else { return };
    let backend = OnCluster::new(one.cluster.address.clone(), 1);
    let log = impatient(&backend).await;
    log.ensure_topic(&spec(1, ByteSize::gib(1))).await.unwrap();
    log.append(STREAM, P0, vec![Bytes::from_static(b"before")]).await.unwrap();
    log.commit_position("reader", STREAM, P0, Offset(1)).await.unwrap();
    let waiting = {
        let log = log.clone();
        tokio::spawn(async move { log.wait(STREAM, P0, Offset(1)).await })
    };
    log.check().await.unwrap();
    one.cluster.kill_broker(0);
    let append = log.append(STREAM, P0, vec![Bytes::from_static(b"meanwhile")]);
    let errors = [
        tokio::time::timeout(LONG, append).await.unwrap().map(drop).unwrap_err(),
        tokio::time::timeout(LONG, log.read(STREAM, P0, Offset(0), ALL)).await.unwrap().map(drop).unwrap_err(),
        tokio::time::timeout(LONG, log.watermarks(STREAM, P0)).await.unwrap().map(drop).unwrap_err(),
        tokio::time::timeout(LONG, log.commit_position("reader", STREAM, P0, Offset(2))).await.unwrap().unwrap_err(),
        tokio::time::timeout(LONG, log.check()).await.unwrap().unwrap_err(),
    ];
    assert!(
        errors.iter().all(|e| matches!(e, LogError::Failed(_) | LogError::Unknown(_)) && e.is_retryable()),
        "{errors:?}"
    );
    assert!(!waiting.is_finished());
    one.cluster.start_broker(0);
    until("the log heals", async || log.check().await.is_ok()).await;
    until("appends are taken", async || log.append(STREAM, P0, vec![Bytes::from_static(b"after")]).await.is_ok()).await;
    tokio::time::timeout(LONG, waiting).await.unwrap().unwrap().unwrap();
    let read = log.read(STREAM, P0, Offset(0), ALL).await.unwrap();
    assert_eq!(read.first().unwrap().bytes, "before");
    assert_eq!(read.last().unwrap().bytes, "after");
    assert_eq!(log.committed_position("reader", STREAM, P0).await.unwrap().0.max(1), 1);
    // Without the controller what is known goes on.
    one.cluster.kill_controller();
    log.append(STREAM, P0, vec![Bytes::from_static(b"without a controller")]).await.unwrap();
    assert_eq!(log.read(STREAM, P0, Offset(0), ALL).await.unwrap().last().unwrap().bytes, "without a controller");
    one.cluster.start_controller();
    until("the controller is back", async || one.cluster.online().await == 1).await;
    log.ensure_topic(&spec(1, ByteSize::gib(1))).await.unwrap();
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intake_stops_for_a_consumer_that_lags_and_goes_on() {
    let Some(one) = support::cluster("Fluvio's lagging consumers", 1).await else { return };
    let backend = OnCluster::new(one.cluster.address.clone(), 1);
    let options = FluvioLogOptions { lag_interval: Duration::ZERO, ..backend.options() };
    let log = FluvioLog::open(&backend.url(), options).await.unwrap();
    log.ensure_topic(&spec(2, ByteSize::mib(32))).await.unwrap();
    log.register_consumer("slow", STREAM).await.unwrap();
    log.register_consumer("slow", STREAM).await.unwrap();
    let record = Bytes::from(vec![7u8; 1 << 10]);
    log.append(STREAM, P0, vec![record.clone()]).await.unwrap();
    // By age: half of nine days.
    backend.clock.advance(Millis::from_days(5));
    let refused = async || log.append(STREAM, P0, vec![record.clone()]).await;
    let mut full = None;
    until("intake stops", async || {
        full = refused().await.err();
        full.is_some()
    })
    .await;
    let full = full.unwrap();
    assert!(matches!(&full, LogError::Full(why) if why.contains("old")), "{full}");
    log.append(STREAM, Partition(1), vec![record.clone()]).await.unwrap();
    let ends = log.watermarks(STREAM, P0).await.unwrap();
    log.commit_position("slow", STREAM, P0, ends.next).await.unwrap();
    until("intake goes on", async || refused().await.is_ok()).await;
    // By size: three quarters of 16 MiB, random bytes that do not compress.
    let mut noise = 0x2545_f491_4f6c_dd1du64;
    let mut appended = 0;
    let full = loop {
        let bytes: Vec<u8> = (0..8192)
            .flat_map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise.to_le_bytes()
            })
            .collect();
        match log.append(STREAM, P0, vec![Bytes::from(bytes)]).await {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
        assert!(appended < 256, "never refused, with 16 MiB");
    };
    assert!(matches!(&full, LogError::Full(why) if why.contains("not read")), "{full}");
    assert!(appended > 128, "refused at {appended} of 256 parts");
    assert_eq!(log.watermarks(STREAM, P0).await.unwrap().first, Offset(0), "nothing is lost");
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_has_the_next_generation() {
    let Some(one) = support::cluster("Fluvio's topics made anew", 1).await else { return };
    let backend = OnCluster::new(one.cluster.address.clone(), 1);
    let log = backend.log().await;
    log.ensure_topic(&spec(1, ByteSize::gib(1))).await.unwrap();
    let first = log.append(STREAM, P0, vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")]).await.unwrap();
    assert_eq!((first.generation, first.first), (1, Offset(0)));
    log.commit_position("reader", STREAM, P0, Offset(2)).await.unwrap();
    let waiting = {
        let log = log.clone();
        tokio::spawn(async move { log.wait(STREAM, P0, Offset(2)).await })
    };
    support::delete_topic(&one.cluster.address, &format!("{}-playback", backend.prefix)).await;
    let gone = tokio::time::timeout(LONG, waiting).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(&gone, LogError::UnknownTopic(name) if name == "playback"), "{gone}");
    log.ensure_topic(&spec(1, ByteSize::gib(1))).await.unwrap();
    let again = log.append(STREAM, P0, vec![Bytes::from_static(b"three")]).await.unwrap();
    assert_eq!((again.generation, again.first), (2, Offset(0)));
    assert_eq!(log.read(STREAM, P0, Offset(0), ALL).await.unwrap()[0].generation, 2);
    assert_eq!(log.committed_position("reader", STREAM, P0).await.unwrap(), Offset(0));
    log.close().await;
}

#[tokio::test]
async fn settings_the_cluster_can_not_meet_are_named() {
    let Some(one) = support::cluster("Fluvio's settings", 1).await else { return };
    let backend = OnCluster::new(one.cluster.address.clone(), 2);
    let options = FluvioLogOptions { provision_timeout: Duration::from_millis(300), ..backend.options() };
    let log = FluvioLog::open(&backend.url(), options).await.unwrap();
    let error = log.ensure_topic(&spec(1, ByteSize::gib(1))).await.unwrap_err();
    assert!(matches!(&error, LogError::Configuration(why) if why.contains("`replication=1`")), "{error}");
    log.close().await;
    // Topics with one copy, asked for two.
    let single = OnCluster { replication: 1, ..backend };
    let log = single.log().await;
    log.ensure_topic(&spec(1, ByteSize::mib(1))).await.unwrap();
    let large = log.append(STREAM, P0, vec![Bytes::from(vec![0; 1 << 20])]).await.unwrap_err();
    assert!(matches!(&large, LogError::Configuration(why) if why.contains("takes, ")), "{large}");
    log.close().await;
    let double = OnCluster { replication: 2, ..single };
    let error = double.log().await.ensure_topic(&spec(1, ByteSize::mib(1))).await.unwrap_err();
    assert!(matches!(&error, LogError::Configuration(why) if why.contains("prefix")), "{error}");
}
