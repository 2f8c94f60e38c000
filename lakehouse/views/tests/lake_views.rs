//! The jobs over a lake on disk: what is computed, for which videos, with which offsets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[allow(dead_code, reason = "shared with the tests of the SQL engine")]
#[path = "../../sql/tests/lake_sql/history.rs"]
mod history;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use deltalake::{
    kernel::transaction::CommitProperties,
    writer::{DeltaWriter, RecordBatchWriter},
};
use event_schemas::{
    Millis, Offset, OffsetVector, Partition, TestClock, Timestamp, Topic, playback::PlaybackEvent, rules::RULE_VERSION,
};
use futures::TryStreamExt;
use lake_sql::{SqlEngine, SqlOptions};
use lake_tables::{Lake, schema, txn};
use lake_views::{LakeHistory, LakeViews, LakeViewsConfig};
use object_store::local::LocalFileSystem;
use serving_store::{
    MemoryStore, ServingStore,
    counters::VideoCounters,
    stats::{HourStats, HoursOfVideo, RetentionOfVideo, VideoFigure},
};
use tokio_util::sync::CancellationToken;
use views_stage::History;

use history::{DAY, event, record, rows, taken, video};

/// Commits one record of `events` at `offset` of a partition, as the lake writer does.
async fn commit(lake: &Lake, partition: u32, offset: u64, events: &[PlaybackEvent]) {
    let mut table = lake.open_or_create(schema::playback_events()).await.unwrap();
    let offsets = txn::set_offset(Topic::Playback, Partition(partition), Offset(offset + 1));
    let properties = CommitProperties::default().with_application_transaction(offsets);
    let mut writer = RecordBatchWriter::for_table(&table).unwrap().with_commit_properties(properties);
    let mut taken = taken(&[record(offset, 0, events)]);
    taken.iter_mut().for_each(|taken| taken.source.offset = Offset(offset));
    for batch in rows(partition, &taken) {
        writer.write(batch).await.unwrap();
    }
    writer.flush_and_commit(&mut table).await.unwrap();
}

/// Ten seconds each from the beginning of the video.
fn watch(viewer: u8, video: u128, session: u128, intervals: u32, second: i64) -> Vec<PlaybackEvent> {
    (0..intervals)
        .map(|n| PlaybackEvent {
            media_from_ms: Some(n * 10_000),
            media_to_ms: Some((n + 1) * 10_000),
            ..event(viewer, video, session, n, second + 10 * i64::from(n + 1))
        })
        .collect()
}

fn hour(n: i64) -> Timestamp {
    Timestamp::from_millis((DAY + n * 3600) * 1000)
}

fn jobs(lake: &Lake, store: &Arc<dyn ServingStore>, config: LakeViewsConfig) -> Arc<LakeViews> {
    let engine = Arc::new(SqlEngine::open(lake.clone(), SqlOptions::default()).unwrap());
    LakeViews::new(engine, store.clone(), Arc::new(TestClock::at(hour(48))), config)
}

fn world() -> (tempfile::TempDir, Lake, Arc<dyn ServingStore>) {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::local(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())).unwrap();
    let store = Arc::new(MemoryStore::new(Arc::new(TestClock::at(hour(0)))));
    (folder, lake, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_carry_the_offsets_of_their_snapshot_and_follow_new_rows() {
    let (_folder, lake, store) = world();
    let jobs = jobs(&lake, &store, LakeViewsConfig::new(2));
    let nothing = jobs.refresh(&OffsetVector::default()).await.unwrap();
    assert_eq!(nothing, OffsetVector::default(), "no table yet");

    commit(&lake, 0, 0, &watch(1, 1, 1, 3, 0)).await;
    commit(&lake, 1, 6, &watch(2, 2, 2, 2, 0)).await;
    let first = jobs.refresh(&nothing).await.unwrap();
    assert_eq!(first, OffsetVector(BTreeMap::from([(Partition(0), Offset(1)), (Partition(1), Offset(7))])));
    let one = HoursOfVideo::read(store.as_ref(), video(1)).await.unwrap().unwrap();
    let counters = VideoCounters { starts: 0, views: 1, engaged: 1, watch_ms: Millis(30_000) };
    let expected =
        HoursOfVideo { rule: RULE_VERSION, offsets: first.clone(), hours: vec![HourStats { hour: hour(0), counters }] };
    assert_eq!(one, expected);
    let curve = RetentionOfVideo::read(store.as_ref(), video(1)).await.unwrap().unwrap();
    assert_eq!((curve.duration_ms, curve.points.len()), (Millis(100_000), 100));
    let ratios = |n: usize| (curve.points[n].watched_ratio, curve.points[n].viewers_ratio);
    assert_eq!((ratios(0), ratios(29), ratios(30)), ((1.0, 1.0), (1.0, 1.0), (0.0, 0.0)));
    let curve = RetentionOfVideo::read(store.as_ref(), video(2)).await.unwrap().unwrap();
    assert!(curve.points.is_empty(), "20 s are no view to compare with");

    // The session of video 2 goes on two hours later and becomes a view then.
    let third = PlaybackEvent { seq: 2, ..watch(2, 2, 2, 3, 7200).remove(2) };
    commit(&lake, 1, 7, &[third]).await;
    let second = jobs.refresh(&first).await.unwrap();
    assert_eq!(HoursOfVideo::read(store.as_ref(), video(1)).await.unwrap().unwrap(), expected, "not concerned");
    let two = HoursOfVideo::read(store.as_ref(), video(2)).await.unwrap().unwrap();
    assert_eq!(two.offsets, second);
    let hours: Vec<_> = two.hours.iter().map(|h| (h.hour, h.counters.views, h.counters.watch_ms)).collect();
    assert_eq!(hours, [(hour(0), 0, Millis(20_000)), (hour(2), 1, Millis(10_000))]);
    let curve = RetentionOfVideo::read(store.as_ref(), video(2)).await.unwrap().unwrap();
    assert_eq!(curve.points.len(), 100);
    assert_eq!(jobs.refresh(&second).await.unwrap(), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_hours_are_left_out() {
    let (_folder, lake, store) = world();
    commit(&lake, 0, 0, &watch(1, 1, 1, 3, 0)).await;
    commit(&lake, 0, 1, &watch(1, 1, 2, 3, 24 * 3600)).await;
    let config = LakeViewsConfig { hours_kept: Millis::from_days(1), ..LakeViewsConfig::new(1) };
    jobs(&lake, &store, config).refresh(&OffsetVector::default()).await.unwrap();
    let figure = HoursOfVideo::read(store.as_ref(), video(1)).await.unwrap().unwrap();
    assert_eq!(figure.hours.iter().map(|h| h.hour).collect::<Vec<_>>(), [hour(24)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_run_until_cancelled_and_at_once_when_asked() {
    let (_folder, lake, store) = world();
    let config = LakeViewsConfig { refresh_every: Duration::from_secs(3600), ..LakeViewsConfig::new(1) };
    let jobs = jobs(&lake, &store, config);
    let cancel = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&jobs).run(cancel.clone()));
    commit(&lake, 0, 0, &watch(1, 1, 1, 3, 0)).await;
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    while HoursOfVideo::read(store.as_ref(), video(1)).await.unwrap().is_none() {
        assert!(tokio::time::Instant::now() < until);
        jobs.refresh_soon();
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_of_a_partition_is_given_in_the_order_of_the_log() {
    let (_folder, lake, _) = world();
    let engine = Arc::new(SqlEngine::open(lake.clone(), SqlOptions::default()).unwrap());
    let past = LakeHistory::new(engine.clone()).past(Partition(1)).await.unwrap();
    assert_eq!(past.until, Offset(0), "no table yet");
    commit(&lake, 1, 7, &watch(2, 2, 3, 2, 60)).await;
    commit(&lake, 0, 3, &watch(1, 1, 1, 3, 0)).await;
    // An earlier record in a later file.
    let mut table = lake.open(schema::playback_events()).await.unwrap().unwrap();
    let mut taken = taken(&[record(6, 0, &watch(2, 2, 2, 2, 0))]);
    taken.iter_mut().for_each(|taken| taken.source.offset = Offset(6));
    let mut writer = RecordBatchWriter::for_table(&table).unwrap();
    for batch in rows(1, &taken) {
        writer.write(batch).await.unwrap();
    }
    writer.flush_and_commit(&mut table).await.unwrap();

    let past = LakeHistory::new(engine).past(Partition(1)).await.unwrap();
    assert_eq!(past.until, Offset(8));
    let mut read = Vec::new();
    for batch in past.rows.try_collect::<Vec<_>>().await.unwrap() {
        let (offsets, seqs) =
            (lake_sql::bigints(&batch, "log_offset").unwrap(), lake_sql::bigints(&batch, "seq").unwrap());
        read.extend(offsets.values().iter().copied().zip(seqs.values().iter().copied()));
    }
    assert_eq!(read, [(6, 0), (6, 1), (7, 0), (7, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_everything_is_filled_from_the_lake() {
    let (_folder, lake, store) = world();
    let jobs = jobs(&lake, &store, LakeViewsConfig::new(2));
    assert_eq!(jobs.rebuild().await.unwrap().videos, 0, "no table yet");
    commit(&lake, 0, 0, &watch(1, 1, 1, 3, 0)).await;
    commit(&lake, 1, 6, &watch(2, 1, 2, 2, 0)).await;
    // A live stage is further.
    let ahead = VideoCounters { starts: 7, views: 7, engaged: 7, watch_ms: Millis(7) };
    ahead.write(store.as_ref(), video(1), Partition(0), Offset(9)).await.unwrap();
    let rebuilt = jobs.rebuild().await.unwrap();
    assert_eq!(rebuilt.videos, 1);
    assert_eq!(rebuilt.offsets, OffsetVector(BTreeMap::from([(Partition(0), Offset(1)), (Partition(1), Offset(7))])));
    let read = VideoCounters::read_many(store.as_ref(), &[video(1)], 2).await.unwrap().remove(0);
    let of_lake = VideoCounters { starts: 0, views: 0, engaged: 1, watch_ms: Millis(20_000) };
    let mut sum = ahead;
    sum += of_lake;
    assert_eq!(read.counters, sum, "the stage's later total stays, the other partition's comes from the lake");
    assert!(HoursOfVideo::read(store.as_ref(), video(1)).await.unwrap().is_some());
}
