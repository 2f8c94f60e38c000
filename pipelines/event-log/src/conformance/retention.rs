//! For logs that hold records back until every registered consumer has passed them, on a disk of
//! their own. A log whose brokers drop by age and size alone shows in its own tests how intake
//! stops for its consumers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test suite")]

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use event_schemas::{ByteSize, Millis, Offset, Topic};

use super::{ALL, Backend, P0, P1, TOPIC, contents, kilobyte, record, spec, unlimited};
use crate::{LogError, Stream, TopicSpec, space::SpaceProbe};

/// A back end whose retention waits. Its segments hold at most 4 KiB, so that there is something
/// to drop.
pub trait HoldingBackend: Backend {
    /// Fills the disk, or makes room again.
    fn fill_disk(&self, full: bool);
}

/// A disk that a test can fill.
#[derive(Debug, Default)]
pub struct TestSpace(AtomicBool);

impl TestSpace {
    /// Fills the disk, or makes room again.
    pub fn fill(&self, full: bool) {
        self.0.store(full, Ordering::SeqCst);
    }
}

impl SpaceProbe for TestSpace {
    fn available(&self, _: &Path) -> io::Result<ByteSize> {
        Ok(if self.0.load(Ordering::SeqCst) { ByteSize(0) } else { ByteSize::gib(1000) })
    }
}

/// Makes a `#[tokio::test]` of every function of this part. Takes an expression that makes a new
/// back end.
#[macro_export]
macro_rules! event_log_retention_conformance {
    ($backend:expr) => {
        $crate::event_log_retention_conformance!(@each $backend;
            retention_waits_for_every_registered_consumer,
            old_records_are_dropped,
            a_full_topic_refuses_and_resumes,
            a_full_disk_refuses_and_resumes,
            another_limit_holds_from_the_next_append_on,
        );
    };
    (@each $backend:expr; $($name:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let backend = $backend;
                $crate::conformance::retention::$name(&backend).await;
            }
        )+
    };
}

/// Over its size a topic drops what every registered consumer has passed, oldest first, and says
/// so to who asks for it.
pub async fn retention_waits_for_every_registered_consumer(backend: &dyn HoldingBackend) {
    let log = backend.open().await;
    log.ensure_topic(&spec(Millis::from_days(365), ByteSize(16 << 10))).await.unwrap();
    log.register_consumer("slow", TOPIC).await.unwrap();
    log.register_consumer("fast", TOPIC).await.unwrap();
    log.register_consumer("fast", TOPIC).await.unwrap();
    for n in 0..12 {
        log.append(TOPIC, P0, vec![kilobyte(n)]).await.unwrap();
    }
    log.commit_position("fast", TOPIC, P0, Offset(12)).await.unwrap();
    log.commit_position("unregistered", TOPIC, P0, Offset(0)).await.unwrap();
    log.commit_position("slow", TOPIC, P0, Offset(9)).await.unwrap();
    for n in 12..24 {
        log.append(TOPIC, P0, vec![kilobyte(n)]).await.unwrap();
    }
    let first = log.watermarks(TOPIC, P0).await.unwrap().first;
    assert!(first > Offset(0) && first <= Offset(9), "dropped some, and nothing before `slow` passed it: {first}");
    let gone = log.read(TOPIC, P0, Offset(0), ALL).await.unwrap_err();
    assert!(matches!(gone, LogError::OffsetDropped { asked: Offset(0), first: f, .. } if f == first), "{gone}");
    assert_eq!(contents(&*log, P0, first.0).await.len() as u64, 24 - first.0);
    log.close().await;
    let log = backend.open().await;
    let ends = log.watermarks(TOPIC, P0).await.unwrap();
    assert_eq!((ends.first, ends.next), (first, Offset(24)), "also after reopening");
    assert_eq!(contents(&*log, P0, first.0).await[0], kilobyte(first.0));
    log.close().await;
}

/// Past its age a record goes once it has been passed, and offsets go on where they were.
pub async fn old_records_are_dropped(backend: &dyn HoldingBackend) {
    let log = backend.open().await;
    log.ensure_topic(&spec(Millis::from_secs(60), ByteSize::gib(1))).await.unwrap();
    log.register_consumer("reader", TOPIC).await.unwrap();
    log.append(TOPIC, P0, vec![record(0), record(1)]).await.unwrap();
    backend.clock().advance(Millis::from_secs(61));
    log.append(TOPIC, P1, vec![record(7)]).await.unwrap();
    assert_eq!(log.watermarks(TOPIC, P0).await.unwrap().first, Offset(0), "the reader has not passed it");
    log.commit_position("reader", TOPIC, P0, Offset(2)).await.unwrap();
    log.append(TOPIC, P1, vec![record(8)]).await.unwrap();
    let ends = log.watermarks(TOPIC, P0).await.unwrap();
    assert_eq!((ends.first, ends.next), (Offset(2), Offset(2)));
    log.close().await;
    let log = backend.open().await;
    assert_eq!(log.append(TOPIC, P0, vec![record(2)]).await.unwrap().first, Offset(2));
    assert_eq!(contents(&*log, P0, 2).await, [record(2)]);
    log.close().await;
}

/// Over its size with a slow consumer a topic refuses, others do not, and it resumes by itself.
pub async fn a_full_topic_refuses_and_resumes(backend: &dyn HoldingBackend) {
    let other = Stream::DeadLetters(Topic::Playback);
    let log = backend.open().await;
    log.ensure_topic(&spec(Millis::from_days(365), ByteSize(8 << 10))).await.unwrap();
    log.ensure_topic(&TopicSpec { stream: other, partitions: 1, ..unlimited() }).await.unwrap();
    log.register_consumer("slow", TOPIC).await.unwrap();
    let mut stored = 0u64;
    let full = loop {
        match log.append(TOPIC, P0, vec![kilobyte(stored)]).await {
            Ok(appended) => assert_eq!(appended.first, Offset(stored)),
            Err(error) => break error,
        }
        stored += 1;
        assert!(stored < 100, "never full");
    };
    assert!(matches!(full, LogError::Full(_)) && !full.is_unknown_outcome(), "{full}");
    assert!(stored >= 7, "refused with {stored} KiB of 8");
    log.append(other, P0, vec![record(0)]).await.unwrap();
    log.commit_position("slow", TOPIC, P0, Offset(stored)).await.unwrap();
    assert_eq!(log.append(TOPIC, P0, vec![record(1)]).await.unwrap().first, Offset(stored), "no number is lost");
    log.close().await;
}

/// Under the disk's floor everything is refused; positions still move; it resumes by itself.
pub async fn a_full_disk_refuses_and_resumes(backend: &dyn HoldingBackend) {
    let log = backend.open().await;
    log.ensure_topic(&unlimited()).await.unwrap();
    log.append(TOPIC, P0, vec![record(0)]).await.unwrap();
    backend.fill_disk(true);
    let full = log.append(TOPIC, P0, vec![record(1)]).await.unwrap_err();
    assert!(matches!(full, LogError::Full(_)), "{full}");
    assert_eq!(contents(&*log, P0, 0).await, [record(0)]);
    log.commit_position("reader", TOPIC, P0, Offset(1)).await.unwrap();
    backend.fill_disk(false);
    assert_eq!(log.append(TOPIC, P0, vec![record(1)]).await.unwrap().first, Offset(1));
    log.close().await;
}

/// Asking for a topic again replaces its limits.
pub async fn another_limit_holds_from_the_next_append_on(backend: &dyn HoldingBackend) {
    let log = backend.open().await;
    log.ensure_topic(&unlimited()).await.unwrap();
    log.append(TOPIC, P0, (0..8).map(kilobyte).collect()).await.unwrap();
    log.ensure_topic(&spec(Millis::from_days(1), ByteSize(4 << 10))).await.unwrap();
    log.append(TOPIC, P0, vec![record(8)]).await.unwrap();
    assert_eq!(log.watermarks(TOPIC, P0).await.unwrap().first, Offset(8));
    log.close().await;
}
