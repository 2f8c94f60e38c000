//! The engine over Delta tables on disk: versions, refusals, limits.

use std::{collections::BTreeSet, sync::Arc};

use arrow::array::RecordBatch;
use deltalake::writer::{DeltaWriter, RecordBatchWriter};
use event_schemas::{ByteSize, Millis};
use lake_sql::{Format, SqlEngine, SqlError, SqlOptions, bigints};
use lake_tables::{Lake, schema};
use object_store::local::LocalFileSystem;

use crate::history::{bronze, event, video};

fn lake(folder: &tempfile::TempDir) -> Lake {
    Lake::local(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())).unwrap()
}

async fn add(lake: &Lake, rows: Vec<RecordBatch>) {
    let mut table = lake.open_or_create(schema::playback_events()).await.unwrap();
    let mut writer = RecordBatchWriter::for_table(&table).unwrap();
    for batch in rows {
        writer.write(batch).await.unwrap();
    }
    writer.flush_and_commit(&mut table).await.unwrap();
}

async fn one(engine: &SqlEngine, sql: &str) -> i64 {
    bigints(&engine.query(sql).await.unwrap().into_one().unwrap(), "n").unwrap().value(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_and_an_empty_lake_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder);
    let engine = SqlEngine::open(lake.clone(), SqlOptions::default()).unwrap();
    assert_eq!(one(&engine, "select 1 as n").await, 1);
    let error = engine.query("select * from playback_events").await.unwrap_err();
    assert!(matches!(error, SqlError::NoLake), "{error}");
    lake.open_or_create(schema::playback_events()).await.unwrap();
    for table in ["playback_events", "views", "video_stats_hour", "retention", "co_watch"] {
        assert_eq!(one(&engine, &format!("select count(*) as n from {table}")).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_query_sees_the_newest_version_and_a_snapshot_stays() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder);
    let engine = SqlEngine::open(lake.clone(), SqlOptions::default()).unwrap();
    add(&lake, bronze(&[vec![event(1, 1, 1, 0, 0), event(1, 2, 1, 1, 0)]])).await;
    let before = engine.snapshot().await.unwrap();
    add(&lake, bronze(&[vec![event(1, 1, 2, 0, 90_000)]])).await;
    let count = "select count(*) as n from playback_events";
    assert_eq!(one(&engine, count).await, 3);
    let rows = before.query("select * from playback_events").await.unwrap().rows();
    assert_eq!(rows, 2, "a snapshot is one version");
    assert_eq!(before.version("playback_events"), Some(1));
    assert_eq!(one(&engine, &format!("{count} where event_date = date '2026-01-06'")).await, 1);

    let scope = engine.snapshot().await.unwrap().of_videos(&BTreeSet::from([video(1)])).await.unwrap();
    assert_eq!(scope.query("select * from playback_events").await.unwrap().rows(), 2);
    assert_eq!(scope.query("select distinct video_id from session_progress").await.unwrap().rows(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_queries_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder);
    add(&lake, bronze(&[vec![event(1, 1, 1, 0, 0)]])).await;
    let engine = SqlEngine::open(lake, SqlOptions::default()).unwrap();
    let target = folder.path().join("out.csv");
    for sql in [
        "drop table playback_events",
        "create table t as select 1",
        "create view v as select 1",
        "create external table e stored as csv location '/etc/passwd'",
        "insert into playback_events select * from playback_events",
        "delete from playback_events",
        "update playback_events set seq = 1",
        "set datafusion.execution.batch_size = 1",
        &format!("copy (select 1) to '{}'", target.display()),
    ] {
        let error = engine.query(sql).await.unwrap_err();
        assert!(matches!(error, SqlError::ReadOnly(_) | SqlError::Invalid(_)), "{sql}: {error:?}");
    }
    assert!(!target.exists());
    for sql in ["select 1; drop table playback_events", "select * from '/etc/passwd'", "selec 1", ""] {
        assert!(engine.query(sql).await.is_err(), "{sql}");
    }
    assert_eq!(one(&engine, "select count(*) as n from playback_events").await, 1);
    let explained = engine.query("explain select * from views").await.unwrap();
    assert!(explained.rows() > 0);
    assert!(engine.query("show tables").await.unwrap().rows() > 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_name_is_answered_with_the_right_ones() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder);
    lake.open_or_create(schema::playback_events()).await.unwrap();
    let engine = SqlEngine::open(lake, SqlOptions::default()).unwrap();
    let error = engine.query("select * from playback_event").await.unwrap_err().to_string();
    assert!(error.contains("no table `playback_event`") && error.contains("playback_events, "), "{error}");
    let error = engine.query("select viewer from playback_events").await.unwrap_err();
    assert!(matches!(&error, SqlError::Invalid(text) if text.contains("viewer_id")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_time_and_memory_are_limited() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder);
    lake.open_or_create(schema::playback_events()).await.unwrap();
    let limited = |options| SqlEngine::open(lake.clone(), options).unwrap();

    let few = limited(SqlOptions { max_rows: Some(10), ..SqlOptions::default() });
    let result = few.query("select * from generate_series(1, 10000)").await.unwrap();
    assert_eq!((result.rows(), result.truncated), (10, true));
    let result = few.query("select * from generate_series(1, 10)").await.unwrap();
    assert_eq!((result.rows(), result.truncated), (10, false));

    let hasty = limited(SqlOptions { timeout: Some(Millis(50)), ..SqlOptions::default() });
    let endless = "select count(*) from generate_series(1, 100000000) a cross join generate_series(1, 1000000) b";
    let error = hasty.query(endless).await.unwrap_err();
    assert!(matches!(error, SqlError::Timeout(_)), "{error:?}");

    let small = limited(SqlOptions { memory: ByteSize::mib(1), parallelism: Some(1), ..SqlOptions::default() });
    let large = "select array_agg(value) from generate_series(1, 10000000)";
    let error = small.query(large).await.unwrap_err();
    assert!(matches!(error, SqlError::Memory { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_written_for_people_and_programs() {
    let folder = tempfile::tempdir().unwrap();
    let engine = SqlEngine::open(lake(&folder), SqlOptions::default()).unwrap();
    let write = async |sql: &str, format| {
        let mut out = Vec::new();
        engine.query(sql).await.unwrap().write(format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let two = "select * from (values (1, 'a'), (2, null)) as t (n, x) order by n";
    assert_eq!(write(two, Format::Csv).await, "n,x\n1,a\n2,\n");
    assert_eq!(write(two, Format::Json).await, "[{\"n\":1,\"x\":\"a\"},{\"n\":2}]\n");
    assert_eq!(write(two, Format::JsonLines).await, "{\"n\":1,\"x\":\"a\"}\n{\"n\":2}\n");
    assert!(write(two, Format::Table).await.contains("| 1 | a |"));
    let none = "select 1 as n where false";
    assert_eq!(write(none, Format::Csv).await, "n\n");
    assert_eq!(write(none, Format::Json).await, "[]\n");
    assert!(write(none, Format::Table).await.contains("| n |"));
}
