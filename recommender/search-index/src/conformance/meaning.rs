//! What an index does with vectors: which videos take part, how words and meaning are fused.

use std::{collections::HashMap, sync::Arc};

use event_schemas::{Millis, VideoId};

use super::{document, put, repeat, videos};
use crate::{
    Applied, Change, DenseSpace, DenseVector, Filter, Fusion, IndexDocument, MAX_LIMIT, SearchIndex, SearchPage,
    SearchQuery,
    fusion::{DENSE_DEPTH, fuse},
};

/// Runs every check, each with an index of its own.
pub async fn run_all<F, Fut>(make: F)
where
    F: Fn(Vec<DenseSpace>) -> Fut,
    Fut: Future<Output = Arc<dyn SearchIndex>>,
{
    let spaces = || vec![(*space("one", 4)).clone()];
    the_closest_come_first(make(spaces()).await).await;
    vectors_of_other_models_are_never_compared(make(spaces()).await).await;
    a_vector_completes_its_version(make(spaces()).await).await;
    words_and_meaning_are_fused(make(spaces()).await).await;
    fused_pages_neither_repeat_nor_skip(make(spaces()).await).await;
    a_filter_holds_for_both_lists(make(spaces()).await).await;
    only_the_closest_take_part(make(spaces()).await).await;
    spaces_are_apart(make(vec![(*space("one", 4)).clone(), (*other_kind()).clone()]).await).await;
}

/// The space of kind `text` that `model` fills.
#[must_use]
pub fn space(model: &str, dimensions: usize) -> Arc<DenseSpace> {
    Arc::new(DenseSpace::new("text", model, dimensions).unwrap())
}

fn other_kind() -> Arc<DenseSpace> {
    Arc::new(DenseSpace::new("taste", "factors", 2).unwrap())
}

/// A vector in the plane of the first two dimensions, `degrees` from the first.
#[must_use]
pub fn at(space: &Arc<DenseSpace>, degrees: f32) -> DenseVector {
    let mut values = vec![0.0; space.dimensions()];
    (values[0], values[1]) = (degrees.to_radians().cos(), degrees.to_radians().sin());
    DenseVector::new(space, values).unwrap()
}

fn placed(title: &str, vector: DenseVector) -> IndexDocument {
    IndexDocument { vectors: vec![vector], ..document(title) }
}

async fn ask(index: &dyn SearchIndex, text: &str, vector: DenseVector) -> SearchPage {
    ask_with(index, SearchQuery { text: text.into(), vector: Some(vector), limit: 20, ..SearchQuery::default() }).await
}

async fn ask_with(index: &dyn SearchIndex, query: SearchQuery) -> SearchPage {
    repeat(|| index.search(&query)).await
}

/// By the angle alone when there are no words; whatever has a vector and is in the index.
pub async fn the_closest_come_first(index: Arc<dyn SearchIndex>) {
    let space = space("one", 4);
    assert_eq!(repeat(|| index.spaces()).await, [(*space).clone()]);
    let empty = ask(&*index, "", at(&space, 0.0)).await;
    assert_eq!(empty, SearchPage { fused: true, ..SearchPage::default() });
    let [near, far, behind] = [10.0, 60.0, 170.0].map(|degrees| placed("title", at(&space, degrees)));
    let without = document("title");
    put(&*index, &[far.clone(), behind.clone(), near.clone(), without]).await;
    for text in ["", "nothing"] {
        let page = ask(&*index, text, at(&space, 0.0)).await;
        assert_eq!(videos(&page.hits), [near.video_id, far.video_id, behind.video_id], "{text}");
        assert_eq!((page.total, page.fused, page.next), (3, true, None));
    }
    let page = ask(&*index, "", at(&space, 50.0)).await;
    assert_eq!(videos(&page.hits)[..2], [far.video_id, near.video_id]);

    let moved = IndexDocument { version: 2, vectors: vec![at(&space, 179.0)], ..near.clone() };
    put(&*index, &[moved]).await;
    repeat(|| index.apply(vec![Change::Remove { video_id: far.video_id, version: 2 }], None)).await;
    let page = ask(&*index, "", at(&space, 0.0)).await;
    assert_eq!(videos(&page.hits), [behind.video_id, near.video_id], "moved and removed");
    put(&*index, &[IndexDocument { version: 3, vectors: vec![], ..near.clone() }]).await;
    assert_eq!(videos(&ask(&*index, "", at(&space, 0.0)).await.hits), [behind.video_id], "a version without a vector");
}

/// Another model's vectors are left out of documents, and a query with one goes by words.
pub async fn vectors_of_other_models_are_never_compared(index: Arc<dyn SearchIndex>) {
    let (space, other, longer) = (space("one", 4), space("two", 4), space("one", 8));
    let mine = placed("harbour", at(&space, 0.0));
    let [foreign, foreign_too] = [&other, &longer].map(|space| placed("harbour lights", at(space, 0.0)));
    put(&*index, &[mine.clone(), foreign.clone(), foreign_too.clone()]).await;
    for space in [&other, &longer] {
        let page = ask(&*index, "lights", at(space, 0.0)).await;
        assert!(!page.fused);
        let mut found = videos(&page.hits);
        let mut expected = vec![foreign.video_id, foreign_too.video_id];
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "by words");
        assert_eq!(ask(&*index, "", at(space, 0.0)).await, SearchPage::default());
    }
    let page = ask(&*index, "", at(&space, 0.0)).await;
    assert_eq!(videos(&page.hits), [mine.video_id]);
}

/// The same version again with a vector takes effect, without one it does not, nor after removal.
pub async fn a_vector_completes_its_version(index: Arc<dyn SearchIndex>) {
    let space = space("one", 4);
    let plain = document("completed");
    let full = IndexDocument { vectors: vec![at(&space, 0.0)], ..plain.clone() };
    let foreign = IndexDocument { vectors: vec![at(&super::meaning::space("two", 4), 0.0)], ..plain.clone() };
    put(&*index, std::slice::from_ref(&plain)).await;
    put(&*index, &[foreign]).await;
    assert_eq!(ask(&*index, "", at(&space, 0.0)).await.hits, []);
    put(&*index, std::slice::from_ref(&full)).await;
    put(&*index, std::slice::from_ref(&plain)).await;
    assert_eq!(videos(&ask(&*index, "", at(&space, 0.0)).await.hits), [plain.video_id]);
    assert_eq!(put(&*index, &[plain.clone(), full.clone()]).await, Applied { changed: 0, stale: 2 });
    repeat(|| index.apply(vec![Change::Remove { video_id: plain.video_id, version: 2 }], None)).await;
    put(&*index, &[IndexDocument { version: 2, ..full }]).await;
    assert_eq!(ask(&*index, "completed", at(&space, 0.0)).await.hits, []);
}

/// The scores are those of the fusion, by every pair of weights.
pub async fn words_and_meaning_are_fused(index: Arc<dyn SearchIndex>) {
    let space = space("one", 4);
    let filler = "words that say nothing about it";
    // By words: title, tag, description, then nothing.
    let title = placed("lighthouse words that say nothing", at(&space, 80.0));
    let tag = IndexDocument { tags: vec!["lighthouse".into()], ..placed(filler, at(&space, 40.0)) };
    let description = IndexDocument { description: "lighthouse".into(), ..document(filler) };
    let [meaning, between] = [5.0, 60.0].map(|degrees| placed(filler, at(&space, degrees)));
    let all = [&meaning, &description, &tag, &title, &between].map(Clone::clone);
    put(&*index, &all).await;
    let lexical = [&title, &tag, &description].map(|d| d.video_id);
    let dense = [&meaning, &tag, &between, &title].map(|d| d.video_id);
    for fusion in [
        Fusion::default(),
        Fusion { lexical: 3.0, dense: 1.0 },
        Fusion { lexical: 0.5, dense: 2.0 },
        Fusion { lexical: 1.0, dense: 0.0 },
    ] {
        let query = SearchQuery {
            text: "lighthouse".into(),
            vector: Some(at(&space, 0.0)),
            fusion,
            limit: 20,
            ..SearchQuery::default()
        };
        let page = ask_with(&*index, query).await;
        assert_eq!((page.total, page.fused), (5, true));
        let expected = fuse([&lexical, &dense], fusion.weights());
        let got: HashMap<VideoId, f32> = page.hits.iter().map(|hit| (hit.video, hit.score)).collect();
        assert_eq!(got.len(), 5, "{fusion:?}");
        for (video, score) in &expected {
            assert!((got[video] - score).abs() < 1e-6, "{fusion:?}: {} instead of {score}", got[video]);
        }
        assert!(page.hits.is_sorted_by(|a, b| a.score >= b.score), "{fusion:?}");
    }
    let page = ask(&*index, "lighthouse", at(&space, 0.0)).await;
    assert_eq!(page.hits[0].video, tag.video_id, "second in both lists is first");
}

/// The pages hold the union of both lists once, whatever their size.
pub async fn fused_pages_neither_repeat_nor_skip(index: Arc<dyn SearchIndex>) {
    let space = space("one", 4);
    let mut documents: Vec<IndexDocument> = Vec::new();
    for n in 0..20_u16 {
        let vector = at(&space, f32::from(n));
        documents.push(document("walking tour"));
        documents.push(placed("walking tour", vector.clone()));
        documents.push(placed("something else", vector));
    }
    put(&*index, &documents).await;
    let mut wanted: Vec<VideoId> = documents.iter().map(|document| document.video_id).collect();
    wanted.sort();
    for limit in [7, 60] {
        let mut query =
            SearchQuery { text: "walking".into(), vector: Some(at(&space, 0.0)), limit, ..SearchQuery::default() };
        let mut seen = Vec::new();
        loop {
            let page = ask_with(&*index, query.clone()).await;
            assert_eq!(page.total, 60);
            seen.extend(videos(&page.hits));
            let Some(next) = page.next else { break };
            query.cursor = Some(next.to_string().parse().unwrap());
        }
        seen.sort();
        assert_eq!(seen, wanted, "pages of {limit}");
    }
}

/// A video that does not meet the filter comes in by neither way.
pub async fn a_filter_holds_for_both_lists(index: Arc<dyn SearchIndex>) {
    let space = space("one", 4);
    let long = |document: IndexDocument| IndexDocument { duration: Some(Millis(9_000)), ..document };
    let [words, meaning] = [document("orchard"), placed("other", at(&space, 0.0))];
    let [long_words, long_meaning] = [long(document("orchard")), long(placed("other", at(&space, 1.0)))];
    put(&*index, &[words, meaning, long_words.clone(), long_meaning.clone()]).await;
    let query = SearchQuery {
        text: "orchard".into(),
        vector: Some(at(&space, 0.0)),
        filter: Filter { min_duration: Some(Millis(9_000)), ..Filter::default() },
        limit: 20,
        ..SearchQuery::default()
    };
    let page = ask_with(&*index, query).await;
    let mut found = videos(&page.hits);
    let mut expected = vec![long_words.video_id, long_meaning.video_id];
    found.sort();
    expected.sort();
    assert_eq!((found, page.total), (expected, 2));
}

/// However many videos have vectors, meaning adds no more than it may.
pub async fn only_the_closest_take_part(index: Arc<dyn SearchIndex>) {
    let space = space("one", 4);
    let documents: Vec<IndexDocument> =
        (0..DENSE_DEPTH as u16 + 20).map(|n| placed("crowd", at(&space, f32::from(n) * 0.5))).collect();
    put(&*index, &documents).await;
    let query = |text: &str, cursor| SearchQuery {
        text: text.into(),
        vector: Some(at(&space, 0.0)),
        limit: MAX_LIMIT,
        cursor,
        ..SearchQuery::default()
    };
    let first = ask_with(&*index, query("", None)).await;
    assert_eq!(first.total, DENSE_DEPTH);
    let expected: Vec<VideoId> = documents[..MAX_LIMIT].iter().map(|document| document.video_id).collect();
    assert_eq!(videos(&first.hits), expected);
    let second = ask_with(&*index, query("", first.next)).await;
    assert_eq!((second.hits.len(), second.next), (DENSE_DEPTH - MAX_LIMIT, None));
    assert_eq!(ask_with(&*index, query("crowd", None)).await.total, documents.len(), "words reach all");
}

/// An index of two spaces compares in the one that the query is of.
pub async fn spaces_are_apart(index: Arc<dyn SearchIndex>) {
    let (text, taste) = (space("one", 4), other_kind());
    assert_eq!(repeat(|| index.spaces()).await, [(*taste).clone(), (*text).clone()]);
    let both = IndexDocument { vectors: vec![at(&text, 0.0), at(&taste, 90.0)], ..document("both") };
    let one = placed("one", at(&text, 45.0));
    put(&*index, &[both.clone(), one.clone()]).await;
    assert_eq!(videos(&ask(&*index, "", at(&text, 60.0)).await.hits), [one.video_id, both.video_id]);
    assert_eq!(videos(&ask(&*index, "", at(&taste, 0.0)).await.hits), [both.video_id]);
}
