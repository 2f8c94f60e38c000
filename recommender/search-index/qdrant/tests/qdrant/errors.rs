//! What the index does when the server does not do its part.

use std::{sync::Arc, time::Duration};

use event_schemas::{Fault as Whose, Faulty, Offset, Partition};
use qdrant_client::qdrant::{SparseVectorParams, VectorParams, vectors_config::Config};
use search_index::{
    Change, DenseSpace, Position, RebuildIndex, SearchError, SearchIndex, SearchQuery,
    conformance::{document, meaning},
};
use search_index_qdrant::{ApiKey, QdrantIndex, QdrantOptions};
use tonic::Status;

use crate::{
    fake::{Fake, Fault},
    found, open, options,
};

const AT: Option<(Partition, Position)> = Some((Partition(0), Position { generation: 1, next: Offset(7) }));

async fn refused(url: &str, options: QdrantOptions) -> String {
    let error = QdrantIndex::open(url, options).await.unwrap_err();
    assert!(matches!(error, SearchError::Refused { .. }) && !error.is_retryable(), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_named() {
    // Bound and given back: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("qdrant://:secret@127.0.0.1:{port}");
    let error = QdrantIndex::open(&url, options(vec![])).await.unwrap_err();
    assert!(error.is_retryable() && error.fault() == Whose::Dependency);
    let told = error.to_string();
    assert!(told.contains(&port.to_string()) && told.contains("`index`") && !told.contains("secret"), "{told}");
}

#[tokio::test]
async fn keys_versions_and_names_that_do_not_fit_are_refused() {
    let fake = Fake::start().await;
    fake.state.lock().key = Some("right".into());
    let with = |key: &str| QdrantOptions { api_key: Some(ApiKey::new(key).unwrap()), ..options(vec![]) };
    for (url, options) in [
        (fake.url("videos"), options(vec![])),
        (fake.url("videos"), with("wrong")),
        (fake.url("videos").replace("qdrant://", "qdrant://:wrong@"), options(vec![])),
    ] {
        let told = refused(&url, options).await;
        assert!(told.contains("refuses the API key") && !told.contains("wrong"), "{told}");
    }
    QdrantIndex::open(&fake.url("videos"), with("right")).await.unwrap();
    let index = open(&fake.url("videos").replace("qdrant://", "qdrant://:right@"), vec![]).await;
    assert!(!format!("{index:?}").contains("right@"));
    fake.state.lock().key = Some("changed".into());
    assert!(!index.document_count().await.unwrap_err().is_retryable());

    let fake = Fake::start().await;
    for version in ["1.17.9", "0.9", "unknown"] {
        fake.state.lock().version = version.into();
        let told = refused(&fake.url("videos"), options(vec![])).await;
        assert!(told.contains(version) && told.contains("upgrade"), "{told}");
    }
    assert!(fake.state.lock().collections.is_empty(), "nothing was made");
    fake.state.lock().version = "1.19.0".into();
    open(&fake.url("videos"), vec![]).await;
    let told = refused(&fake.url("videos.1").replace("videos.1", "videos%2E1"), options(vec![])).await;
    assert!(told.contains("letters, digits"), "{told}");
    fake.state.lock().collections.insert("taken".into(), Default::default());
    assert!(refused(&fake.url("taken"), options(vec![])).await.contains("where an alias is needed"));
}

#[tokio::test]
async fn a_collection_that_does_not_fit_is_refused_but_for_a_rebuild() {
    let fake = Fake::start().await;
    let space = |model: &str, size| (*meaning::space(model, size)).clone();
    let url = fake.url("videos");
    let live = open(&url, vec![space("one", 4)]).await;
    live.apply(vec![Change::Upsert(document("kept"))], AT).await.unwrap();
    for (space, part) in
        [(space("two", 4), "lacks the dense vector text.two"), (space("one", 8), "4 dimensions instead of 8")]
    {
        let told = refused(&url, options(vec![space])).await;
        assert!(told.contains(part) && told.contains("rebuild index"), "{told}");
    }
    open(&url, vec![]).await;
    // Beside the index that serves, one of the other model is built; then it fits.
    let builder = QdrantOptions { accept_unfit: true, ..options(vec![space("two", 8)]) };
    let builder = QdrantIndex::open(&url, builder).await.unwrap();
    let new = builder.begin_rebuild(vec![space("two", 8)]).await.unwrap();
    new.apply(vec![Change::Upsert(document("kept"))], None).await.unwrap();
    builder.finish_rebuild().await.unwrap();
    let index = open(&url, vec![space("two", 8)]).await;
    assert_eq!((found(&index, "kept").await, index.position(Partition(0)).await.unwrap()), (1, AT.map(|at| at.1)));
    // Who had the old one open goes on with the new one: its collection is gone.
    assert_eq!(found(&live, "kept").await, 1);
    assert_eq!(live.spaces().await.unwrap(), [space("two", 8)]);

    type Breaks = fn(&mut crate::fake::Collection);
    let broken: [(Breaks, &str); 3] = [
        (
            |c| {
                c.creation.sparse_vectors_config.as_mut().unwrap().map.remove("lexical");
            },
            "lacks the sparse vector",
        ),
        (
            |c| {
                let map = &mut c.creation.sparse_vectors_config.as_mut().unwrap().map;
                map.insert("lexical".into(), SparseVectorParams::default());
            },
            "another modifier",
        ),
        (
            |c| {
                let params = VectorParams { size: 8, distance: 3, ..VectorParams::default() };
                let Some(Config::ParamsMap(map)) = &mut c.creation.vectors_config.as_mut().unwrap().config else {
                    panic!()
                };
                map.map.insert("text.two".into(), params);
                c.creation.sparse_vectors_config = as_made().sparse_vectors_config;
            },
            "with distance Dot",
        ),
    ];
    for (breaks, part) in broken {
        fake.state.lock().collections.values_mut().for_each(breaks);
        let told = refused(&url, options(vec![space("two", 8)])).await;
        assert!(told.contains(part), "{told}");
    }
}

/// The sparse vectors as the index makes them.
fn as_made() -> qdrant_client::qdrant::CreateCollection {
    let by_rarity = SparseVectorParams { modifier: Some(1), ..SparseVectorParams::default() };
    let map = [("lexical".to_owned(), by_rarity), ("spelling".to_owned(), SparseVectorParams::default())];
    qdrant_client::qdrant::CreateCollection {
        sparse_vectors_config: Some(qdrant_client::qdrant::SparseVectorConfig { map: map.into() }),
        ..Default::default()
    }
}

#[tokio::test]
async fn the_servers_errors_are_told_apart() {
    let fake = Fake::start().await;
    let index = open(&fake.url("videos"), vec![]).await;
    let query = SearchQuery { text: "any".into(), limit: 5, ..SearchQuery::default() };
    for status in [
        Status::unavailable("down"),
        Status::resource_exhausted("slow down"),
        Status::internal("Service internal error: No space left on device"),
        Status::deadline_exceeded("late"),
        Status::aborted("again"),
    ] {
        // The client asks a second time by itself.
        fake.fault("query", Fault::Before(status.clone()));
        fake.fault("query", Fault::Before(status.clone()));
        match index.search(&query).await {
            Err(error) => assert!(error.is_retryable() && error.to_string().contains(status.message()), "{error}"),
            Ok(_) => panic!("{status}"),
        }
        fake.state.lock().faults.clear();
    }
    fake.fault("query", Fault::Before(Status::invalid_argument("nonsense")));
    let error = index.search(&query).await.unwrap_err();
    assert!(matches!(error, SearchError::Engine(_)) && error.fault() == Whose::Program, "{error}");
    index.search(&query).await.unwrap();
}

#[tokio::test]
async fn a_call_without_an_answer_ends() {
    let fake = Fake::start().await;
    let impatient = QdrantOptions { timeout: Duration::from_millis(300), ..options(vec![]) };
    open(&fake.url("videos"), vec![]).await;
    let index = QdrantIndex::open(&fake.url("videos"), impatient).await.unwrap();
    for method in ["batch", "get"] {
        fake.fault(method, Fault::Never);
        fake.fault(method, Fault::Never);
        let error = index.apply(vec![Change::Upsert(document("late"))], AT).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        fake.state.lock().faults.clear();
    }
    assert_eq!(index.position(Partition(0)).await.unwrap(), None);
    index.apply(vec![Change::Upsert(document("late"))], AT).await.unwrap();
}

#[tokio::test]
async fn the_position_stays_behind_whatever_fails() {
    let fake = Fake::start().await;
    let index = open(&fake.url("videos"), vec![]).await;
    let batch = vec![Change::Upsert(document("safe"))];
    for method in ["aliases", "get", "upsert", "batch"] {
        for fault in [Fault::Before(Status::aborted("no")), Fault::After(Status::aborted("lost"))] {
            fake.fault(method, fault);
            let error = index.apply(batch.clone(), AT).await.unwrap_err();
            assert!(error.is_retryable(), "{method}: {error}");
            let at = index.position(Partition(0)).await.unwrap();
            assert!(at.is_none() || found(&index, "safe").await == 1, "{method}: the position is ahead");
            fake.state.lock().faults.clear();
        }
    }
    index.apply(batch, AT).await.unwrap();
    assert_eq!((found(&index, "safe").await, index.position(Partition(0)).await.unwrap()), (1, AT.map(|at| at.1)));
}

#[tokio::test]
async fn a_server_that_goes_and_comes_back_is_found_again() {
    let fake = Fake::start().await;
    let index = open(&fake.url("videos"), vec![]).await;
    index.apply(vec![Change::Upsert(document("before"))], AT).await.unwrap();
    let (address, state) = fake.stop().await;
    for _ in 0..3 {
        let error = index.apply(vec![Change::Upsert(document("during"))], None).await.unwrap_err();
        assert!(error.is_retryable() && error.fault() == Whose::Dependency, "{error}");
        assert!(index.check().await.unwrap_err().is_retryable());
        let query = SearchQuery { text: "before".into(), ..SearchQuery::default() };
        assert!(index.search(&query).await.unwrap_err().is_retryable());
    }
    let _fake = Fake::start_at(address, state).await;
    index.check().await.unwrap();
    index.apply(vec![Change::Upsert(document("after"))], None).await.unwrap();
    assert_eq!((found(&index, "before").await, found(&index, "after").await), (1, 1));
}

#[tokio::test]
async fn an_index_that_was_dropped_is_told() {
    let fake = Fake::start().await;
    let index = open(&fake.url("videos"), vec![]).await;
    fake.state.lock().collections.clear();
    let error = index.document_count().await.unwrap_err();
    assert!(matches!(error, SearchError::Damaged(_)), "{error}");
    fake.state.lock().aliases.clear();
    let error = index.apply(vec![Change::Upsert(document("lost"))], AT).await.unwrap_err();
    assert!(matches!(&error, SearchError::Damaged(why) if why.contains("no alias videos")), "{error}");
    assert!(index.check().await.is_err());
    drop(index);
    let index = open(&fake.url("videos"), vec![]).await;
    assert_eq!(index.document_count().await.unwrap(), 0);
}

#[tokio::test]
async fn processes_that_start_together_make_one_index() {
    let fake = Fake::start().await;
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let url = fake.url("videos");
        opening.spawn(async move { open(&url, Vec::<DenseSpace>::new()).await });
    }
    let indexes: Vec<Arc<QdrantIndex>> = opening.join_all().await.into_iter().map(Arc::new).collect();
    assert_eq!(fake.state.lock().collections.len(), 1);
    indexes[0].apply(vec![Change::Upsert(document("shared"))], None).await.unwrap();
    assert_eq!(found(&*indexes[5], "shared").await, 1);
}

#[tokio::test]
async fn a_crash_in_the_middle_of_making_or_switching_is_mended() {
    let fake = Fake::start().await;
    let url = fake.url("videos");
    fake.fault("index", Fault::Before(Status::unavailable("crash")));
    fake.fault("index", Fault::Before(Status::unavailable("crash")));
    assert!(QdrantIndex::open(&url, options(vec![])).await.is_err());
    fake.state.lock().faults.clear();
    let index = open(&url, vec![]).await;
    assert_eq!(fake.state.lock().collections["videos.1"].indexes.len(), 9, "the indexes were made after all");
    index.apply(vec![Change::Upsert(document("old"))], None).await.unwrap();
    let new = index.begin_rebuild(vec![]).await.unwrap();
    new.apply(vec![Change::Upsert(document("new"))], None).await.unwrap();
    // The first deletion is that of the second alias; the drop is never reached.
    let live = fake.state.lock().aliases["videos.next"].clone();
    fake.state.lock().aliases.insert("videos".into(), live);
    let index = open(&url, vec![]).await;
    assert_eq!((found(&index, "new").await, found(&index, "old").await), (1, 0));
    index.apply(vec![Change::Upsert(document("both"))], None).await.unwrap();
    assert_eq!(found(&index, "both").await, 1);
    assert!(matches!(index.finish_rebuild().await, Err(SearchError::NoRebuild)));
    index.begin_rebuild(vec![]).await.unwrap();
    index.abandon_rebuild().await.unwrap();
    let state = fake.state.lock();
    assert_eq!((state.collections.len(), state.aliases.len()), (1, 1), "what was left over is gone");
}
