//! The conformance suite on the embedded index and on the failing wrapper, and what the embedded
//! index does with its files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

use std::{path::Path, sync::Arc};

use event_schemas::{Offset, Partition};
use parking_lot::Mutex;
use search_index::{
    Applied, Change, DenseSpace, EmbeddedIndex, IndexDocument, Opened, Position, RebuildIndex, SearchError,
    SearchIndex, SearchQuery,
    conformance::{self, agreement, document, meaning},
    failing::{FailingIndex, FailurePlan},
};

async fn open(directory: &Path) -> (EmbeddedIndex, Opened) {
    EmbeddedIndex::open(directory).await.unwrap()
}

const AT: Option<(Partition, Position)> = Some((Partition(0), Position { generation: 1, next: Offset(7) }));

async fn titles(index: &EmbeddedIndex, text: &str) -> usize {
    index.search(&SearchQuery { text: text.into(), limit: 10, ..Default::default() }).await.unwrap().hits.len()
}

/// Makes indexes, each in a directory of its own.
#[derive(Default)]
struct Maker(Mutex<Vec<tempfile::TempDir>>);

impl Maker {
    async fn make(&self, spaces: Vec<DenseSpace>) -> Arc<EmbeddedIndex> {
        let dir = tempfile::tempdir().unwrap();
        let (index, _) = EmbeddedIndex::open_with(dir.path(), spaces).await.unwrap();
        self.0.lock().push(dir);
        Arc::new(index)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_embedded_index_conforms() {
    let maker = Maker::default();
    conformance::run_all(|spaces| async { maker.make(spaces).await as Arc<dyn SearchIndex> }).await;
    conformance::rebuild::run_all(|spaces| async { maker.make(spaces).await as Arc<dyn RebuildIndex> }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failing_index_conforms_for_those_who_repeat() {
    let maker = Maker::default();
    let plan = FailurePlan { seed: 5, before: 0.15, after: 0.15 };
    conformance::run_all(|spaces| async {
        Arc::new(FailingIndex::new(maker.make(spaces).await, plan)) as Arc<dyn SearchIndex>
    })
    .await;
}

/// Two embedded indexes agree entirely, however their documents came to lie: the tolerance is for
/// other back ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded_indexes_agree() {
    let maker = Maker::default();
    let spaces = || vec![(*meaning::space("one", 4)).clone()];
    agreement::run(maker.make(spaces()).await, maker.make(spaces()).await).await;
}

#[tokio::test]
async fn injected_failures_follow_their_seed_and_heal() {
    let run = |seed| async move {
        let dir = tempfile::tempdir().unwrap();
        let inner = Arc::new(open(dir.path()).await.0);
        let index = FailingIndex::new(Arc::clone(&inner) as _, FailurePlan { seed, before: 0.3, after: 0.3 });
        let mut outcomes = Vec::new();
        for n in 0..20 {
            let title = format!("number{n}");
            let outcome = index.apply(vec![Change::Upsert(document(&title))], None).await;
            let there = titles(&inner, &title).await == 1;
            match &outcome {
                Ok(applied) => assert!(*applied == Applied { changed: 1, stale: 0 } && there),
                Err(SearchError::Unavailable(why)) => assert_eq!(there, why.contains("after"), "{why}"),
                Err(error) => panic!("{error}"),
            }
            outcomes.push(outcome.map_err(|error| error.to_string()));
        }
        index.heal();
        for _ in 0..20 {
            index.check().await.unwrap();
        }
        outcomes
    };
    let first = run(7).await;
    assert!(first.iter().any(Result::is_ok) && first.iter().any(Result::is_err));
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
}

#[tokio::test]
async fn an_index_keeps_its_content_position_and_tombstones() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, removed) = (document("kept"), document("removed"));
    {
        let (index, opened) = open(dir.path()).await;
        assert_eq!(opened, Opened::Fresh { instead_of: None });
        let remove = Change::Remove { video_id: removed.video_id, version: 5 };
        index.apply(vec![Change::Upsert(kept), remove], AT).await.unwrap();
    }
    let (index, opened) = open(dir.path()).await;
    assert_eq!(opened, Opened::Existing);
    assert_eq!(index.position(Partition(0)).await.unwrap(), AT.map(|(_, position)| position));
    assert_eq!(titles(&index, "kept").await, 1);
    let late = Change::Upsert(IndexDocument { version: 4, ..removed });
    assert_eq!(index.apply(vec![late], None).await.unwrap(), Applied { changed: 0, stale: 1 });
}

#[tokio::test]
async fn a_second_opening_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_index, _) = open(dir.path()).await;
    let error = EmbeddedIndex::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, SearchError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn another_format_or_a_damaged_index_gives_a_fresh_one() {
    let damage: [fn(&Path); 6] = [
        |root| std::fs::write(root.join("current"), "v0-1").unwrap(),
        |root| std::fs::write(root.join("current"), "v2-9").unwrap(),
        |root| std::fs::remove_file(root.join("current")).unwrap(),
        |root| std::fs::write(root.join("v2-1/meta.json"), "{").unwrap(),
        |root| {
            let segments = std::fs::read_dir(root.join("v2-1")).unwrap().map(|entry| entry.unwrap().path());
            for file in segments.filter(|path| path.extension().is_some_and(|ext| ext == "store" || ext == "term")) {
                std::fs::remove_file(file).unwrap();
            }
        },
        |root| {
            let meta = std::fs::read_to_string(root.join("v2-1/meta.json")).unwrap();
            std::fs::write(root.join("v2-1/meta.json"), meta.replace("title_en", "title_fr")).unwrap();
        },
    ];
    for (n, damage) in damage.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let (index, _) = open(dir.path()).await;
        index.apply(vec![Change::Upsert(document("old"))], AT).await.unwrap();
        drop(index);
        damage(dir.path());
        let (index, opened) = open(dir.path()).await;
        assert!(matches!(opened, Opened::Fresh { instead_of: Some(_) }), "damage {n}: {opened:?}");
        assert_eq!(index.position(Partition(0)).await.unwrap(), None, "damage {n}");
        assert_eq!(index.document_count().await.unwrap(), 0, "damage {n}");
        index.apply(vec![Change::Upsert(document("new"))], AT).await.unwrap();
        assert_eq!(titles(&index, "new").await, 1, "damage {n}");
    }
}

#[tokio::test]
async fn a_disk_that_fails_and_heals_does_not_stop_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let (index, _) = open(dir.path()).await;
    index.apply(vec![Change::Upsert(document("before"))], None).await.unwrap();
    let (real, aside) = (dir.path().join("v2-1"), dir.path().join("aside"));
    std::fs::rename(&real, &aside).unwrap();
    let batch = vec![Change::Upsert(document("after"))];
    let error = index.apply(batch.clone(), AT).await.unwrap_err();
    assert!(index.apply(batch.clone(), AT).await.is_err(), "{error}");
    assert!(index.check().await.is_err());
    std::fs::rename(&aside, &real).unwrap();
    assert_eq!(index.position(Partition(0)).await.unwrap(), None, "the position went ahead of the content");
    assert_eq!(index.apply(batch, AT).await.unwrap().changed, 1);
    assert_eq!((titles(&index, "before").await, titles(&index, "after").await), (1, 1));
    index.check().await.unwrap();
}

#[tokio::test]
async fn many_small_batches_stay_searchable() {
    let dir = tempfile::tempdir().unwrap();
    let (index, _) = open(dir.path()).await;
    let base = document("changing");
    for version in 1..=40 {
        index.apply(vec![Change::Upsert(IndexDocument { version, ..base.clone() })], None).await.unwrap();
        assert_eq!(titles(&index, "changing").await, 1, "version {version}");
    }
    assert_eq!(index.document_count().await.unwrap(), 1);
}

/// The rebuilt index of `space`, with one video of its own.
async fn rebuilt(index: &EmbeddedIndex, title: &str, space: &Arc<DenseSpace>) {
    let new = index.begin_rebuild(vec![(**space).clone()]).await.unwrap();
    let document = IndexDocument { vectors: vec![meaning::at(space, 0.0)], ..document(title) };
    new.apply(vec![Change::Upsert(document)], None).await.unwrap();
}

#[tokio::test]
async fn vectors_and_their_space_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (meaning::space("one", 4), meaning::space("two", 4));
    let by = |space: &Arc<DenseSpace>| SearchQuery {
        vector: Some(meaning::at(space, 0.0)),
        limit: 5,
        ..SearchQuery::default()
    };
    let document = IndexDocument { vectors: vec![meaning::at(&one, 0.0)], ..document("kept") };
    {
        let (index, _) = EmbeddedIndex::open_with(dir.path(), vec![(*one).clone()]).await.unwrap();
        index.apply(vec![Change::Upsert(document.clone())], AT).await.unwrap();
    }
    // Opened for another space, it is still the index of the first.
    let (index, opened) = EmbeddedIndex::open_with(dir.path(), vec![(*two).clone()]).await.unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(index.spaces().await.unwrap(), [(*one).clone()]);
    assert_eq!(index.search(&by(&one)).await.unwrap().hits.len(), 1);
    rebuilt(&index, "built", &two).await;
    index.finish_rebuild().await.unwrap();
    drop(index);
    let (index, opened) = open(dir.path()).await;
    assert_eq!(opened, Opened::Existing);
    assert_eq!(index.spaces().await.unwrap(), [(*two).clone()]);
    assert_eq!(index.search(&by(&two)).await.unwrap().hits.len(), 1);
    assert_eq!(index.position(Partition(0)).await.unwrap(), AT.map(|(_, position)| position));
    let directories = std::fs::read_dir(dir.path()).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(directories.count(), 1, "the old index is gone");
}

#[tokio::test]
async fn a_rebuild_that_a_crash_ended_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (index, _) = open(dir.path()).await;
        index.apply(vec![Change::Upsert(document("live"))], AT).await.unwrap();
        rebuilt(&index, "half", &meaning::space("one", 4)).await;
    }
    let (index, opened) = open(dir.path()).await;
    assert_eq!(opened, Opened::Existing);
    assert_eq!((titles(&index, "live").await, titles(&index, "half").await), (1, 0));
    assert!(matches!(index.finish_rebuild().await, Err(SearchError::NoRebuild)));
    assert!(!dir.path().join("v2-2").exists());
}
