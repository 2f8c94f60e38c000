//! Opening, creating and growing tables on local files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::{collections::BTreeSet, sync::Arc};

use arrow::datatypes::DataType;
use deltalake::kernel::{
    MetadataValue,
    transaction::{CommitBuilder, CommitProperties},
};
use deltalake::protocol::{DeltaOperation, SaveMode};
use event_schemas::{Offset, OffsetVector, Partition, Topic};
use lake_tables::{Column, Lake, LakeError, TableDef, schema, txn};
use object_store::local::LocalFileSystem;

fn lake(folder: &tempfile::TempDir) -> Lake {
    Lake::local(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())).unwrap()
}

fn grown(name: &'static str, data_type: DataType) -> &'static TableDef {
    let mut def = schema::playback_events().clone();
    def.columns.push(Column { name, data_type, nullable: true, meaning: "a column of a later version" });
    Box::leak(Box::new(def))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_created_once_with_its_meanings() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder);
    let def = schema::playback_events();
    assert!(lake.open(def).await.unwrap().is_none(), "absent is not an error");
    let opened = futures::future::join_all((0..8).map(|_| {
        let lake = lake.clone();
        async move { tokio::spawn(async move { lake.open_or_create(def).await.unwrap() }).await.unwrap() }
    }))
    .await;
    let ids: BTreeSet<_> = opened.iter().map(|table| table.snapshot().unwrap().metadata().id().to_owned()).collect();
    assert_eq!(ids.len(), 1);
    assert!(folder.path().join("lake/playback_events/_delta_log/00000000000000000000.json").exists());

    let again = lake.open(def).await.unwrap().unwrap();
    assert_eq!(again.version(), Some(0));
    let snapshot = again.snapshot().unwrap();
    assert_eq!(snapshot.metadata().partition_columns(), &["event_date".to_owned()]);
    for column in &def.columns {
        let field = snapshot.schema().field(column.name).unwrap().clone();
        assert_eq!(field.nullable, column.nullable, "{}", column.name);
        assert_eq!(field.metadata.get("comment"), Some(&MetadataValue::String(column.meaning.to_owned())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_version_adds_columns_and_an_earlier_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder);
    lake.open_or_create(schema::playback_events()).await.unwrap();
    let later = lake.open_or_create(grown("quality", DataType::Float64)).await.unwrap();
    assert!(later.snapshot().unwrap().schema().field("quality").unwrap().nullable);
    let earlier = lake.open_or_create(schema::playback_events()).await.unwrap();
    assert_eq!(earlier.version(), later.version(), "nothing to change");

    let clash = lake.open_or_create(grown("quality", DataType::Utf8)).await.unwrap_err();
    assert!(matches!(&clash, LakeError::Column { column, .. } if column == "quality"), "{clash}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_says_how_far_each_partition_has_come() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder);
    let table = lake.open_or_create(schema::playback_events()).await.unwrap();
    assert_eq!(txn::offsets(&table, Topic::Playback, 4).await.unwrap(), OffsetVector::default());
    let transactions = vec![
        txn::set_offset(Topic::Playback, Partition(2), Offset(17)),
        txn::set_owner(Topic::Playback, Partition(2), 3),
    ];
    CommitBuilder::from(CommitProperties::default().with_application_transactions(transactions))
        .build(
            Some(table.snapshot().unwrap()),
            table.log_store(),
            DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None },
        )
        .await
        .unwrap();
    let table = lake.open(schema::playback_events()).await.unwrap().unwrap();
    assert_eq!(txn::offsets(&table, Topic::Playback, 4).await.unwrap(), OffsetVector::single(Partition(2), Offset(17)));
    let progress = txn::progress(&table, Topic::Playback, Partition(2)).await.unwrap();
    assert_eq!(progress, txn::Progress { next: Offset(17), owner: 3 });
}
