//! What every [`RebuildIndex`] must do. Each function wants an empty index.

use std::sync::Arc;

use event_schemas::{Offset, Partition};

use super::{
    document, found,
    meaning::{at, space},
    put, repeat,
};
use crate::{Change, DenseSpace, IndexDocument, Position, RebuildIndex, SearchError, SearchQuery};

/// Runs every check, each with an index of its own that holds the spaces that `make` is given.
pub async fn run_all<F, Fut>(make: F)
where
    F: Fn(Vec<DenseSpace>) -> Fut,
    Fut: Future<Output = Arc<dyn RebuildIndex>>,
{
    the_switch_changes_all_at_once(make(Vec::new()).await).await;
    changes_meanwhile_reach_both(make(vec![(*space("one", 4)).clone()]).await).await;
    an_abandoned_rebuild_leaves_nothing(make(Vec::new()).await).await;
}

const P0: Partition = Partition(0);

fn position(next: u64) -> Position {
    Position { generation: 1, next: Offset(next) }
}

/// Until it is finished, nothing of the new index is seen; then nothing of the old one.
pub async fn the_switch_changes_all_at_once(index: Arc<dyn RebuildIndex>) {
    let (kept, left_out) = (document("kept mountain"), document("left valley"));
    repeat(|| {
        index.apply(vec![Change::Upsert(kept.clone()), Change::Upsert(left_out.clone())], Some((P0, position(5))))
    })
    .await;
    assert!(matches!(index.finish_rebuild().await, Err(SearchError::NoRebuild)));

    let space = space("one", 4);
    let new = repeat(|| index.begin_rebuild(vec![(*space).clone()])).await;
    assert_eq!(repeat(|| new.document_count()).await, 0);
    assert_eq!(repeat(|| new.position(P0)).await, Some(position(5)), "begins where the live one stands");
    put(&*new, &[IndexDocument { vectors: vec![at(&space, 0.0)], ..kept.clone() }]).await;
    assert_eq!(repeat(|| index.spaces()).await, []);
    assert_eq!(found(&*index, "mountain valley").await.len(), 2);
    assert_eq!(found(&*new, "mountain valley").await, [kept.video_id]);

    index.finish_rebuild().await.unwrap();
    assert_eq!(repeat(|| index.spaces()).await, [(*space).clone()]);
    assert_eq!(found(&*index, "mountain valley").await, [kept.video_id]);
    assert_eq!(repeat(|| index.position(P0)).await, Some(position(5)));
    let query = SearchQuery { vector: Some(at(&space, 0.0)), limit: 5, ..SearchQuery::default() };
    let page = repeat(|| index.search(&query)).await;
    assert_eq!((page.hits.len(), page.fused), (1, true));
    put(&*index, &[document("after mountain")]).await;
    assert_eq!(found(&*index, "mountain").await.len(), 2);
    assert!(matches!(index.finish_rebuild().await, Err(SearchError::NoRebuild)));
}

/// What comes during a rebuild is in the old index at once and in the new one after the switch,
/// removals and positions too, and the filling does not bring older versions back.
pub async fn changes_meanwhile_reach_both(index: Arc<dyn RebuildIndex>) {
    let (one, two) = (space("one", 4), space("two", 4));
    let base = document("original harbour");
    let removed = document("removed harbour");
    put(&*index, &[base.clone(), removed.clone()]).await;
    let new = repeat(|| index.begin_rebuild(vec![(*two).clone()])).await;
    let edited =
        IndexDocument { version: 2, title: "edited lagoon".into(), vectors: vec![at(&one, 0.0)], ..base.clone() };
    let changes = vec![Change::Upsert(edited), Change::Remove { video_id: removed.video_id, version: 2 }];
    repeat(|| index.apply(changes.clone(), Some((P0, position(9))))).await;
    assert_eq!(found(&*index, "lagoon harbour").await, [base.video_id]);
    put(&*new, &[base.clone(), removed.clone()]).await;
    index.finish_rebuild().await.unwrap();
    assert_eq!(found(&*index, "lagoon").await, [base.video_id]);
    assert_eq!(found(&*index, "harbour").await, []);
    assert_eq!(repeat(|| index.position(P0)).await, Some(position(9)));
    // The edit came with a vector of the old model: the same version completes it.
    let query = SearchQuery { vector: Some(at(&two, 0.0)), limit: 5, ..SearchQuery::default() };
    assert_eq!(repeat(|| index.search(&query)).await.hits, []);
    put(&*index, &[IndexDocument { version: 2, vectors: vec![at(&two, 0.0)], ..base.clone() }]).await;
    assert_eq!(repeat(|| index.search(&query)).await.hits.len(), 1);
}

/// Abandoned, or begun again, a rebuild is as if it had never been.
pub async fn an_abandoned_rebuild_leaves_nothing(index: Arc<dyn RebuildIndex>) {
    put(&*index, &[document("constant river")]).await;
    index.abandon_rebuild().await.unwrap();
    let first = repeat(|| index.begin_rebuild(Vec::new())).await;
    put(&*first, &[document("half river")]).await;
    let second = repeat(|| index.begin_rebuild(Vec::new())).await;
    assert_eq!(repeat(|| second.document_count()).await, 0);
    index.abandon_rebuild().await.unwrap();
    assert!(matches!(index.finish_rebuild().await, Err(SearchError::NoRebuild)));
    assert_eq!(found(&*index, "river").await.len(), 1);
    let twice = DenseSpace::new("text", "two", 8).unwrap();
    let error = index.begin_rebuild(vec![(*space("one", 4)).clone(), twice]).await.err().unwrap();
    assert!(matches!(error, SearchError::BadVector(_)), "{error}");
}
