#![allow(missing_docs, clippy::unwrap_used)]
use std::{sync::Arc, time::Instant};
use bytes::Bytes;
use event_log::*;
use event_schemas::*;
#[tokio::main]
async fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let clock = Arc::new(SystemClock);
    let log = EmbeddedLog::open(EmbeddedLogOptions::new(dir.join("log"), clock.clone())).unwrap();
    let s = Stream::Main(Topic::Playback);
    log.ensure_topic(&TopicSpec { stream: s, partitions: 4, retain_for: Millis::from_days(1), retain_bytes: ByteSize::gib(100) }).await.unwrap();
    let p = Arc::new(runtime::Producer::new(log.clone(), ProducerId::generate(), 1, clock));
    let callers: u32 = std::env::args().nth(2).unwrap().parse().unwrap();
    let total = 40000u32;
    let t = Instant::now();
    let mut js = tokio::task::JoinSet::new();
    let payload = Bytes::from(vec![7u8; 6000]);
    for c in 0..callers { let p = p.clone(); let payload = payload.clone();
        js.spawn(async move { for _ in 0..total / callers { p.send(s, Partition(c % 4), 4, vec![(Bytes::new(), payload.clone())]).await.unwrap(); } }); }
    let mut readers = tokio::task::JoinSet::new();
    for q in 0..4 { let log = log.clone(); readers.spawn(async move {
        let mut r = runtime::PartitionReader::new(log, s, Partition(q), Offset(0), runtime::Gate::FromStart(Default::default()));
        let mut n = 0; while n < (total / callers * (callers / 4)) as usize { n += r.next(ReadLimit::default()).await.unwrap().records.len(); } }); }
    js.join_all().await;
    let w = t.elapsed();
    readers.join_all().await;
    let r = t.elapsed();
    println!("{callers} callers: {:.0} records/s written = {:.0} events/s of 50; read done after {:?} vs {:?}", total as f64 / w.as_secs_f64(), 50.0 * total as f64 / w.as_secs_f64(), r, w);
    let t = Instant::now(); log.close().await; println!("close {:?}", t.elapsed());
    let t = Instant::now();
    let log = EmbeddedLog::open(EmbeddedLogOptions::new(dir.join("log"), Arc::new(SystemClock))).unwrap();
    println!("reopen {:?}", t.elapsed());
    log.close().await;
}
