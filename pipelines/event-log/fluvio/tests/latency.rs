//! tmp
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
mod support;
use std::time::Instant;
use bytes::Bytes;
use event_log::{EventLog, Stream, TopicSpec, ReadLimit};
use event_schemas::{ByteSize, Millis, Partition, Topic, Offset};
const STREAM: Stream = Stream::Main(Topic::Playback);
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency() {
    let two = support::cluster("x", 2).await.unwrap();
    for replication in [1, 2, 1] {
        let backend = support::OnCluster::new(two.cluster.address.clone(), replication);
        let log = backend.log().await;
        let t = Instant::now();
        log.ensure_topic(&TopicSpec { stream: STREAM, partitions: 2, retain_for: Millis::from_days(9), retain_bytes: ByteSize::gib(1) }).await.unwrap();
        eprintln!("ensure {:?}", t.elapsed());
        for size in [100] {
            let mut times = vec![];
            for _ in 0..50 {
                let t = Instant::now();
                log.append(STREAM, Partition(0), vec![Bytes::from(vec![0; size])]).await.unwrap();
                times.push(t.elapsed());
            }
            times.sort();
            eprintln!("replication {replication} size {size}: p50 {:?} p90 {:?} max {:?}", times[25], times[45], times[49]);
        }
        let mut times = vec![];
        let mut next = log.watermarks(STREAM, Partition(1)).await.unwrap().next;
        let reader = { let log = log.clone(); let mut next = next; tokio::spawn(async move { let mut out = vec![]; loop {
            log.wait(STREAM, Partition(1), next).await.unwrap();
            let woken = Instant::now();
            let got = log.read(STREAM, Partition(1), next, ReadLimit::default()).await.unwrap();
            out.extend(got.iter().map(|_| (woken, Instant::now())));
            next = Offset(next.0 + got.len() as u64);
            if next.0 >= 50 { return out; }
        }})};
        for _ in 0..50 { let t = Instant::now(); log.append(STREAM, Partition(1), vec![Bytes::from(vec![0; 1000])]).await.unwrap(); times.push((t, Instant::now())); next = Offset(next.0+1); tokio::time::sleep(std::time::Duration::from_millis(20)).await; }
        let seen = reader.await.unwrap();
        let mut after: Vec<_> = times.iter().zip(&seen).map(|((t, _), s)| s.1.duration_since(*t)).collect();
        let mut wok: Vec<_> = times.iter().zip(&seen).map(|((t, _), s)| s.0.duration_since(*t)).collect(); wok.sort();
        let mut ack: Vec<_> = times.iter().map(|(t, a)| a.duration_since(*t)).collect(); ack.sort();
        eprintln!("acked {:?} woken {:?}", ack[25], wok[25]);
        after.sort();
        eprintln!("replication {replication}: append to read p50 {:?} p90 {:?} max {:?}", after[25], after[45], after[49]);
        let t = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..64u32 { let log = log.clone(); tasks.spawn(async move { for _ in 0..4 { log.append(STREAM, Partition(n%2), vec![Bytes::from(vec![0; 1000])]).await.unwrap(); } }); }
        tasks.join_all().await;
        eprintln!("replication {replication}: 256 concurrent {:?}", t.elapsed());
        log.close().await;
    }
}
