//! What the server is asked, in which order.

use std::sync::Arc;

use event_schemas::{ChannelId, Millis, Offset, Partition, Timestamp};
use qdrant_client::qdrant::{
    Condition, Distance, Filter, Modifier, PointStruct, Range, UpdateMode, alias_operations::Action,
    points_update_operation::Operation, query::Variant, value::Kind, vectors::VectorsOptions, vectors_config::Config,
};
use search_index::{
    Applied, Change, Filter as Wanted, Fusion, IndexDocument, Position, RebuildIndex, SearchIndex, SearchQuery,
    conformance::{document, meaning},
};

use crate::{
    fake::{Asked, Fake},
    open,
};

const AT: Option<(Partition, Position)> = Some((Partition(3), Position { generation: u64::MAX, next: Offset(7) }));

fn kinds(asked: &[Asked]) -> Vec<&str> {
    asked
        .iter()
        .map(|asked| match asked {
            Asked::Create(_) => "create",
            Asked::Drop(_) => "drop",
            Asked::Aliases(_) => "alias",
            Asked::Index(_) => "index",
            Asked::Upsert(_) => "upsert",
            Asked::Batch(_) => "batch",
            Asked::Get(_) => "get",
            Asked::Query(_) => "query",
            Asked::Other(what) => what,
        })
        .collect()
}

fn vectors(point: &PointStruct) -> Vec<&str> {
    let Some(VectorsOptions::Vectors(named)) = point.vectors.as_ref().and_then(|v| v.vectors_options.as_ref()) else {
        return Vec::new();
    };
    let mut names: Vec<&str> = named.vectors.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn text<'a>(point: &'a PointStruct, key: &str) -> Option<&'a str> {
    match point.payload.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        other => panic!("{key}: {other:?}"),
    }
}

#[tokio::test]
async fn a_new_index_is_one_collection_behind_an_alias() {
    let fake = Fake::start().await;
    let space = meaning::space("mini-1.0", 8);
    let url = format!("{}&shards=3&replicas=2", fake.url("videos"));
    let index = open(&url, vec![(*space).clone()]).await;
    let asked = fake.asked();
    let Some(Asked::Create(create)) = asked.iter().find(|asked| matches!(asked, Asked::Create(_))) else {
        panic!("{asked:?}")
    };
    assert_eq!(
        (create.collection_name.as_str(), create.shard_number, create.replication_factor),
        ("videos.1", Some(3), Some(2))
    );
    let Some(Config::ParamsMap(dense)) = create.vectors_config.clone().unwrap().config else { panic!() };
    assert_eq!(dense.map.len(), 1);
    assert_eq!((dense.map["text.mini-1.0"].size, dense.map["text.mini-1.0"].distance()), (8, Distance::Cosine));
    let sparse = create.sparse_vectors_config.clone().unwrap().map;
    assert_eq!((sparse["lexical"].modifier(), sparse["spelling"].modifier()), (Modifier::Idf, Modifier::None));
    let mut fields: Vec<String> = asked
        .iter()
        .filter_map(|asked| match asked {
            Asked::Index(index) => Some(index.field_name.clone()),
            _ => None,
        })
        .collect();
    fields.sort();
    let all =
        ["channel", "duration", "generation", "language", "next", "published_at", "vectors", "version", "visibility"];
    assert_eq!(fields, all);
    assert_eq!(fake.state.lock().aliases["videos"], "videos.1");
    assert_eq!(index.spaces().await.unwrap(), [(*space).clone()]);
    drop(index);
    // Opened again, nothing is made.
    open(&url, vec![(*space).clone()]).await;
    assert!(kinds(&fake.asked()).iter().all(|kind| ["aliases", "collection"].contains(kind)));
}

#[tokio::test]
async fn words_come_before_videos_and_the_position_last() {
    let fake = Fake::start().await;
    let space = meaning::space("one", 4);
    let index = open(&fake.url("videos"), vec![(*space).clone()]).await;
    let full = IndexDocument {
        version: 5,
        tags: vec!["round".into()],
        language: Some("en".parse().unwrap()),
        vectors: vec![meaning::at(&space, 0.0), meaning::at(&meaning::space("two", 4), 0.0)],
        ..document("Blue marble 2024 up")
    };
    let removed = document("gone");
    let changes = vec![
        Change::Upsert(full.clone()),
        Change::Upsert(IndexDocument { version: 4, ..full.clone() }),
        Change::Remove { video_id: removed.video_id, version: 9 },
    ];
    fake.asked();
    assert_eq!(index.apply(changes, AT).await.unwrap(), Applied { changed: 2, stale: 1 });
    let asked = fake.asked();
    assert_eq!(kinds(&asked), ["aliases", "get", "upsert", "batch", "get", "upsert", "get"]);

    let Asked::Upsert(words) = &asked[2] else { panic!() };
    assert_eq!((words.wait, words.update_mode()), (Some(true), UpdateMode::InsertOnly));
    let mut told: Vec<&str> = words.points.iter().filter_map(|point| text(point, "word")).collect();
    told.sort_unstable();
    assert_eq!(told, ["blue", "marble", "round"], "no numbers, nothing too short");
    assert!(words.points.iter().all(|point| vectors(point) == ["spelling"]));

    let Asked::Batch(batch) = &asked[3] else { panic!() };
    assert_eq!((batch.wait, batch.ordering.unwrap().r#type), (Some(true), 2));
    let lists: Vec<_> = batch
        .operations
        .iter()
        .map(|operation| match operation.operation.as_ref() {
            Some(Operation::Upsert(list)) => list,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lists.len(), 2, "one condition for each precedence");
    let below = |key: &str, value| Condition::range(key, Range { lt: Some(value), ..Range::default() });
    let completes = Filter::must([Condition::matches("version", 5), below("vectors", 1.0)]);
    assert_eq!(lists[0].update_filter, Some(Filter::should([below("version", 5.0), completes.into()])));
    let video = &lists[0].points[0];
    assert_eq!(vectors(video), ["lexical", "text.one"], "none of another model");
    assert_eq!(
        (text(video, "visibility"), text(video, "kind"), text(video, "language")),
        (Some("public"), Some("video"), Some("en"))
    );
    assert_eq!(text(video, "channel"), Some(full.channel_id.to_string().as_str()));
    let tombstone = &lists[1].points[0];
    assert_eq!((text(tombstone, "kind"), text(tombstone, "visibility")), (Some("removed"), None));
    assert_eq!((vectors(tombstone), tombstone.payload.contains_key("title")), (vec![], false));

    let Asked::Upsert(position) = &asked[5] else { panic!() };
    assert_eq!((position.update_mode(), position.points.len()), (UpdateMode::InsertOnly, 1));
    assert_eq!(index.position(Partition(3)).await.unwrap(), AT.map(|(_, position)| position));

    // Words that are known are not written again, and a position moves on only from where it was.
    let next = Some((Partition(3), Position { generation: u64::MAX, next: Offset(8) }));
    fake.asked();
    index.apply(vec![Change::Upsert(IndexDocument { version: 6, ..full })], next).await.unwrap();
    let asked = fake.asked();
    assert_eq!(kinds(&asked), ["aliases", "get", "batch", "get", "upsert", "get"]);
    let Asked::Upsert(position) = &asked[4] else { panic!() };
    let there = Filter::must([Condition::matches("generation", -1), Condition::matches("next", 7)]);
    assert_eq!((position.update_mode(), position.update_filter.clone()), (UpdateMode::UpdateOnly, Some(there)));
}

#[tokio::test]
async fn a_batch_of_any_size_goes_out_in_bounded_requests() {
    let fake = Fake::start().await;
    let index = open(&fake.url("videos"), Vec::new()).await;
    let changes = (0..700).map(|n| {
        let version = 1 + n % 3;
        Change::Upsert(IndexDocument { version, ..document(&format!("many{n}x")) })
    });
    fake.asked();
    assert_eq!(index.apply(changes.collect(), None).await.unwrap().changed, 700);
    let mut written = 0;
    for asked in fake.asked() {
        if let Asked::Batch(batch) = asked {
            let points: usize = batch
                .operations
                .iter()
                .map(|operation| match operation.operation.as_ref() {
                    Some(Operation::Upsert(list)) => list.points.len(),
                    other => panic!("{other:?}"),
                })
                .sum();
            assert!((1..=256).contains(&points));
            written += points;
        }
    }
    assert_eq!(written, 700);
    assert_eq!(index.document_count().await.unwrap(), 700);
}

#[tokio::test]
async fn a_search_is_filtered_and_fused_by_the_server() {
    let fake = Fake::start().await;
    let space = meaning::space("one", 4);
    let index = open(&fake.url("videos"), vec![(*space).clone()]).await;
    let channel = ChannelId::generate();
    let filter = Wanted {
        channel: Some(channel),
        language: Some("de".parse().unwrap()),
        published_from: Some(Timestamp::from_millis(5)),
        published_before: Some(Timestamp::from_millis(9)),
        min_duration: None,
        max_duration: Some(Millis(60)),
    };
    let expected = Filter::must([
        Condition::matches("visibility", "public".to_owned()),
        Condition::matches("channel", channel.to_string()),
        Condition::matches("language", "de".to_owned()),
        Condition::range("published_at", Range { gte: Some(5.0), lt: Some(9.0), ..Range::default() }),
        Condition::range("duration", Range { lte: Some(60.0), ..Range::default() }),
    ]);
    let lexical = SearchQuery { text: "blue marble".into(), filter, limit: 5, ..SearchQuery::default() };
    fake.asked();
    index.search(&lexical).await.unwrap();
    let asked = fake.asked();
    assert_eq!(kinds(&asked), ["query", "query", "query"], "two words looked up, then the search");
    let Asked::Query(query) = &asked[2] else { panic!() };
    assert_eq!((query.using.as_deref(), query.limit), (Some("lexical"), Some(2_000)));
    assert_eq!((query.collection_name.as_str(), query.filter.as_ref()), ("videos.1", Some(&expected)));
    assert!(query.prefetch.is_empty());

    let fused = SearchQuery {
        vector: Some(meaning::at(&space, 0.0)),
        fusion: Fusion { lexical: 2.0, dense: 0.5 },
        ..lexical.clone()
    };
    index.search(&fused).await.unwrap();
    let asked = fake.asked();
    let Some(Asked::Query(query)) = asked.last() else { panic!() };
    let lists: Vec<_> = query.prefetch.iter().map(|list| (list.using.as_deref(), list.limit)).collect();
    assert_eq!(lists, [(Some("lexical"), Some(2_000)), (Some("text.one"), Some(200))]);
    assert!(query.prefetch.iter().all(|list| list.filter.as_ref() == Some(&expected)));
    let Some(Variant::Rrf(rrf)) = query.query.as_ref().and_then(|query| query.variant.as_ref()) else { panic!() };
    assert_eq!((rrf.k, rrf.weights.as_slice()), (Some(60), &[2.0, 0.5][..]));

    // Nothing to search by, nothing asked.
    index.search(&SearchQuery { text: "?!".into(), ..SearchQuery::default() }).await.unwrap();
    assert_eq!(fake.asked(), []);
}

#[tokio::test]
async fn a_rebuild_switches_the_alias_in_one_step() {
    let fake = Fake::start().await;
    let index = Arc::new(open(&fake.url("videos"), Vec::new()).await);
    index.apply(vec![Change::Upsert(document("old"))], AT).await.unwrap();
    index.begin_rebuild(Vec::new()).await.unwrap();
    let next = fake.state.lock().aliases["videos.next"].clone();
    assert!(next.starts_with("videos.") && next != "videos.1");
    fake.asked();
    index.finish_rebuild().await.unwrap();
    let switches: Vec<_> = fake
        .asked()
        .into_iter()
        .filter_map(|asked| match asked {
            Asked::Aliases(change) => Some(change.actions),
            Asked::Drop(dropped) => {
                assert_eq!(dropped.collection_name, "videos.1");
                None
            }
            _ => None,
        })
        .collect();
    assert_eq!(switches.len(), 2);
    let [action] = &switches[0][..] else { panic!("{switches:?}") };
    let Some(Action::CreateAlias(create)) = &action.action else { panic!("{action:?}") };
    assert_eq!((&create.alias_name[..], &create.collection_name), ("videos", &next));
    let state = fake.state.lock();
    assert_eq!((state.aliases.len(), state.collections.len()), (1, 1));
}
