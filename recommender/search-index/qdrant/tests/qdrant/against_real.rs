//! The suites on a real server, and what only a real one can show.

use event_schemas::{Fault, Faulty, Offset, Partition};
use search_index::{
    Change, IndexDocument, Position, RebuildIndex, SearchError, SearchIndex, SearchQuery,
    conformance::{document, meaning},
};
use search_index_qdrant::QdrantIndex;

use crate::{
    agrees_with_the_embedded_index, conforms, conforms_for_those_who_repeat, found, open, options,
    real::{Real, Somewhere},
    writers_at_the_same_time,
};

const AT: Option<(Partition, Position)> = Some((Partition(0), Position { generation: 1, next: Offset(7) }));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    let Some(server) = Somewhere::find("conformance of the index on Qdrant").await else { return };
    conforms(|| server.url()).await;
    server.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms_for_those_who_repeat() {
    let Some(server) = Somewhere::find("conformance of a failing index on Qdrant").await else { return };
    conforms_for_those_who_repeat(|| server.url()).await;
    server.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_agrees_with_the_embedded_index() {
    let Some(server) = Somewhere::find("agreement of Qdrant and the embedded index").await else { return };
    agrees_with_the_embedded_index(server.url()).await;
    server.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_do_not_overwrite_each_other() {
    let Some(server) = Somewhere::find("writers of the index on Qdrant at the same time").await else { return };
    writers_at_the_same_time(server.url()).await;
    server.clean().await;
}

#[tokio::test]
async fn a_killed_server_keeps_what_it_acknowledged_and_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = Real::start("a killed Qdrant server", directory.path(), None).await else { return };
    let index = open(&server.url("videos"), vec![]).await;
    let changes = (0..50).map(|n| Change::Upsert(document(&format!("before number{n}"))));
    index.apply(changes.collect(), AT).await.unwrap();
    let ports = server.stop().await;
    for _ in 0..3 {
        let error = index.apply(vec![Change::Upsert(document("during"))], None).await.unwrap_err();
        assert!(error.is_retryable() && error.fault() == Fault::Dependency, "{error}");
        assert!(index.check().await.unwrap_err().is_retryable());
    }
    let _server = Real::again(directory.path(), ports).await;
    index.check().await.unwrap();
    assert_eq!(found(&index, "before").await, 50);
    assert_eq!(index.position(Partition(0)).await.unwrap(), AT.map(|(_, position)| position));
    index.apply(vec![Change::Upsert(document("after"))], None).await.unwrap();
    assert_eq!(found(&index, "after").await, 1);
}

#[tokio::test]
async fn a_wrong_key_and_a_collection_that_does_not_fit_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = Real::start("keys and shapes on Qdrant", directory.path(), Some("right")).await else { return };
    let url = server.url("videos");
    for wrong in [url.replace(":right@", ""), url.replace("right", "wrong")] {
        let error = QdrantIndex::open(&wrong, options(vec![])).await.unwrap_err();
        assert!(matches!(error, SearchError::Refused { .. }), "{error}");
    }
    let space = |model: &str, size| (*meaning::space(model, size)).clone();
    open(&url, vec![space("one", 4)]).await;
    for other in [space("one", 8), space("two", 4)] {
        let error = QdrantIndex::open(&url, options(vec![other])).await.unwrap_err();
        assert!(matches!(&error, SearchError::Refused { remedy, .. } if remedy.contains("rebuild")), "{error}");
    }
    open(&url, vec![space("one", 4)]).await;
}

#[tokio::test]
async fn a_snapshot_brings_content_and_position_back_together() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = Real::start("snapshots of Qdrant", directory.path(), Some("key")).await else { return };
    let space = meaning::space("one", 4);
    let index = open(&server.url("videos"), vec![(*space).clone()]).await;
    let kept = IndexDocument { vectors: vec![meaning::at(&space, 0.0)], ..document("mountain") };
    index.apply(vec![Change::Upsert(kept.clone())], AT).await.unwrap();
    let snapshot = index.create_snapshot().await.unwrap();
    assert_eq!(index.list_snapshots().await.unwrap(), std::slice::from_ref(&snapshot));
    assert!(snapshot.bytes > 0);
    let later = Some((Partition(0), Position { generation: 1, next: Offset(9) }));
    let changes = vec![Change::Remove { video_id: kept.video_id, version: 2 }, Change::Upsert(document("later"))];
    index.apply(changes, later).await.unwrap();
    assert_eq!((found(&index, "moutnain").await, found(&index, "later").await), (0, 1));

    index.restore_snapshot(&snapshot.location).await.unwrap();
    assert_eq!((found(&index, "moutnain").await, found(&index, "later").await), (1, 0), "spelling too");
    assert_eq!(index.position(Partition(0)).await.unwrap(), AT.map(|(_, position)| position));
    let query = SearchQuery { vector: Some(meaning::at(&space, 0.0)), limit: 5, ..SearchQuery::default() };
    assert_eq!(index.search(&query).await.unwrap().hits.len(), 1);
    index.apply(vec![Change::Upsert(document("after"))], later).await.unwrap();
    assert_eq!(found(&index, "after").await, 1);

    let nowhere = snapshot.location.join("none.snapshot").unwrap();
    let error = index.restore_snapshot(&nowhere).await.unwrap_err();
    assert!(matches!(error, SearchError::Refused { .. }), "{error}");
    assert_eq!(found(&index, "after").await, 1);
}

#[tokio::test]
async fn a_rebuild_leaves_no_collection_behind() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = Real::start("a rebuild on Qdrant", directory.path(), None).await else { return };
    let index = open(&server.url("videos"), vec![]).await;
    let other = open(&server.url("videos"), vec![]).await;
    index.apply(vec![Change::Upsert(document("old"))], AT).await.unwrap();
    let new = index.begin_rebuild(vec![]).await.unwrap();
    new.apply(vec![Change::Upsert(document("filled"))], None).await.unwrap();
    other.apply(vec![Change::Upsert(document("meanwhile"))], None).await.unwrap();
    index.finish_rebuild().await.unwrap();
    assert_eq!((found(&other, "old").await, found(&other, "filled meanwhile").await), (0, 2));
    let client =
        qdrant_client::Qdrant::from_url(&format!("http://127.0.0.1:{}", server.grpc)).skip_compatibility_check();
    assert_eq!(client.build().unwrap().list_collections().await.unwrap().collections.len(), 1);
}
