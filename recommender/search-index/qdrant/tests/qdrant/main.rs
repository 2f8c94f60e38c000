//! The index on Qdrant: against a server in memory, always, and against a real one where there is
//! one: `qdrant` on the PATH, or the address in `MILLRACE_TEST_QDRANT`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

mod against_fake;
mod against_real;
mod errors;
mod fake;
mod real;
mod requests;
mod restore;

use std::{sync::Arc, time::Duration};

use search_index::{
    Change, DenseSpace, IndexDocument, RebuildIndex, SearchIndex, SearchQuery,
    conformance::{self, agreement, document, meaning},
    failing::{FailingIndex, FailurePlan},
};
use search_index_qdrant::{QdrantIndex, QdrantOptions};

/// Time enough for anything but a call that hangs.
fn options(spaces: Vec<DenseSpace>) -> QdrantOptions {
    QdrantOptions { spaces, timeout: Duration::from_secs(60), ..QdrantOptions::default() }
}

async fn open(url: &str, spaces: Vec<DenseSpace>) -> QdrantIndex {
    QdrantIndex::open(url, options(spaces)).await.unwrap()
}

async fn found(index: &dyn SearchIndex, text: &str) -> usize {
    let query = SearchQuery { text: text.into(), limit: 100, ..SearchQuery::default() };
    index.search(&query).await.unwrap().hits.len()
}

/// The whole suite, each check on a collection of its own, named by `url`.
async fn conforms(url: impl Fn() -> String) {
    conformance::run_all(|spaces| async { Arc::new(open(&url(), spaces).await) as Arc<dyn SearchIndex> }).await;
    conformance::rebuild::run_all(|spaces| async { Arc::new(open(&url(), spaces).await) as Arc<dyn RebuildIndex> })
        .await;
}

async fn conforms_for_those_who_repeat(url: impl Fn() -> String) {
    let plan = FailurePlan { seed: 7, before: 0.1, after: 0.1 };
    conformance::run_all(|spaces| async {
        Arc::new(FailingIndex::new(Arc::new(open(&url(), spaces).await), plan)) as Arc<dyn SearchIndex>
    })
    .await;
}

/// Qdrant and the embedded index find the same, within the tolerance that the suite states.
async fn agrees_with_the_embedded_index(url: String) {
    let dir = tempfile::tempdir().unwrap();
    let spaces = || vec![(*meaning::space("one", 4)).clone()];
    let (embedded, _) = search_index::EmbeddedIndex::open_with(dir.path(), spaces()).await.unwrap();
    agreement::run(Arc::new(embedded), Arc::new(open(&url, spaces()).await)).await;
}

/// Two processes write versions of the same videos at the same time: the highest stay.
async fn writers_at_the_same_time(url: String) {
    let one = Arc::new(open(&url, Vec::new()).await);
    let two = Arc::new(open(&url, Vec::new()).await);
    let videos: Vec<IndexDocument> = (0..4).map(|n| document(&format!("contested{n}"))).collect();
    let mut writing = tokio::task::JoinSet::new();
    for version in 1..=12_i64 {
        for (n, video) in videos.iter().enumerate() {
            let index = if (version as usize + n).is_multiple_of(2) { Arc::clone(&one) } else { Arc::clone(&two) };
            let title = format!("contested{n} edition{version}");
            let change = if version == 12 && n == 3 {
                Change::Remove { video_id: video.video_id, version }
            } else {
                Change::Upsert(IndexDocument { version, title, ..video.clone() })
            };
            writing.spawn(async move { index.apply(vec![change], None).await.map(drop) });
        }
    }
    for written in writing.join_all().await {
        written.unwrap();
    }
    assert_eq!(found(&*one, "edition12").await, 3);
    for version in 1..12 {
        assert_eq!(found(&*two, &format!("edition{version} ")).await, 0, "version {version}");
    }
    assert_eq!(one.document_count().await.unwrap(), 3);
}
