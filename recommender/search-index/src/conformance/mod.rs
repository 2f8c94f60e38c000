//! What every search index must do. Each function wants an empty index.
//!
//! An index may answer [`SearchError::Unavailable`] at any call: the suite repeats it, as its
//! users do, so that the same suite runs on the failing wrapper.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code, behind a feature")]

pub mod agreement;
pub mod meaning;
pub mod rebuild;

use std::{collections::BTreeMap, sync::Arc};

use event_schemas::{ChannelId, Faulty, Millis, Offset, Partition, Timestamp, VideoId};

use crate::{
    Applied, Change, Cursor, DenseSpace, Filter, Hit, IndexDocument, MAX_LIMIT, MAX_QUERY_CHARS, Position, SearchError,
    SearchIndex, SearchPage, SearchQuery,
};

/// Runs every check of [`SearchIndex`], each with an index of its own that holds the spaces that
/// `make` is given.
pub async fn run_all<F, Fut>(make: F)
where
    F: Fn(Vec<DenseSpace>) -> Fut,
    Fut: Future<Output = Arc<dyn SearchIndex>>,
{
    let lexical = || make(Vec::new());
    the_latest_version_wins(lexical().await).await;
    any_order_of_arrival_ends_the_same(lexical().await).await;
    positions_go_with_the_content(lexical().await).await;
    an_empty_index_answers(lexical().await).await;
    words_find_their_videos(lexical().await).await;
    the_title_weighs_most(lexical().await).await;
    no_text_is_an_error_but_a_long_one(lexical().await).await;
    pages_neither_repeat_nor_skip(lexical().await).await;
    a_channel_is_searched_alone(lexical().await).await;
    a_filter_leaves_what_meets_it(lexical().await).await;
    similar_videos_share_telling_words(lexical().await).await;
    meaning::run_all(make).await;
}

/// The result of `call`, repeated while the index says that it is unavailable.
pub async fn repeat<T, Fut>(call: impl Fn() -> Fut) -> T
where
    Fut: Future<Output = Result<T, SearchError>>,
{
    for _ in 0..200 {
        match call().await {
            Ok(done) => return done,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    panic!("200 tries failed");
}

/// The error of `call` other than being unavailable.
async fn refused(index: &dyn SearchIndex, query: &SearchQuery) -> SearchError {
    loop {
        match index.search(query).await {
            Err(SearchError::Unavailable(_)) => {}
            other => return other.expect_err("refused"),
        }
    }
}

/// A document of a new video in a channel of its own.
#[must_use]
pub fn document(title: &str) -> IndexDocument {
    IndexDocument {
        video_id: VideoId::generate(),
        version: 1,
        title: title.to_owned(),
        description: String::new(),
        tags: Vec::new(),
        channel_id: ChannelId::generate(),
        channel_name: String::new(),
        language: None,
        published_at: Some(Timestamp::from_millis(1_000)),
        duration: Some(Millis(1_000)),
        vectors: Vec::new(),
    }
}

async fn put(index: &dyn SearchIndex, documents: &[IndexDocument]) -> Applied {
    repeat(|| index.apply(documents.iter().cloned().map(Change::Upsert).collect(), None)).await
}

async fn page(index: &dyn SearchIndex, text: &str) -> SearchPage {
    let query = SearchQuery { text: text.to_owned(), limit: 20, ..SearchQuery::default() };
    repeat(|| index.search(&query)).await
}

async fn found(index: &dyn SearchIndex, text: &str) -> Vec<VideoId> {
    videos(&page(index, text).await.hits)
}

fn videos(hits: &[Hit]) -> Vec<VideoId> {
    hits.iter().map(|hit| hit.video).collect()
}

/// Upserts and removals take effect by version, not by arrival.
pub async fn the_latest_version_wins(index: Arc<dyn SearchIndex>) {
    let base = document("first");
    let upsert =
        |version, title: &str| Change::Upsert(IndexDocument { version, title: title.to_owned(), ..base.clone() });
    let remove = |version| Change::Remove { video_id: base.video_id, version };
    // What is done, and the title that is found after it.
    let steps = [
        (upsert(3, "third"), "third"),
        (upsert(2, "second"), "third"),
        (remove(2), "third"),
        (upsert(3, "again"), "third"),
        (upsert(5, "fifth"), "fifth"),
        (remove(7), ""),
        (upsert(6, "sixth"), ""),
        (upsert(7, "seventh"), ""),
        (upsert(8, "eighth"), "eighth"),
    ];
    for (n, (change, visible)) in steps.into_iter().enumerate() {
        repeat(|| index.apply(vec![change.clone()], None)).await;
        for title in ["second", "third", "again", "fifth", "sixth", "seventh", "eighth"] {
            let expected = if title == visible { vec![base.video_id] } else { Vec::new() };
            assert_eq!(found(&*index, title).await, expected, "step {n}, searching {title}");
        }
        let count = u64::from(!visible.is_empty());
        assert_eq!(repeat(|| index.document_count()).await, count, "step {n}");
    }
    // A removal that comes before anything else is remembered too.
    let other = document("early");
    repeat(|| index.apply(vec![Change::Remove { video_id: other.video_id, version: 4 }], None)).await;
    put(&*index, std::slice::from_ref(&other)).await;
    assert_eq!(found(&*index, "early").await, []);
}

/// The same changes in any order, in batches of any size, end in the same index.
pub async fn any_order_of_arrival_ends_the_same(index: Arc<dyn SearchIndex>) {
    let base: Vec<IndexDocument> = (0..3).map(|n| document(&format!("subject{n}"))).collect();
    let mut changes: Vec<Change> = Vec::new();
    for version in 1..=6 {
        for (n, base) in base.iter().enumerate() {
            let video_id = base.video_id;
            if (version as usize + n).is_multiple_of(3) {
                changes.push(Change::Remove { video_id, version });
            } else {
                let title = format!("subject{n} edition{version}");
                changes.push(Change::Upsert(IndexDocument { version, title, ..base.clone() }));
            }
        }
    }
    // A fixed shuffle, with repetitions.
    let shuffled: Vec<Change> = (0..40).map(|n| changes[(n * 7 + n * n * 3) % changes.len()].clone()).collect();
    let mut left = &shuffled[..];
    let mut seen: BTreeMap<VideoId, Change> = BTreeMap::new();
    let mut size = 1;
    while !left.is_empty() {
        let (batch, rest) = left.split_at(size.min(left.len()));
        left = rest;
        size = size % 5 + 1;
        repeat(|| index.apply(batch.to_vec(), None)).await;
        for change in batch {
            let newest = seen.entry(change.video_id()).or_insert_with(|| change.clone());
            if newest.version() < change.version() {
                *newest = change.clone();
            }
        }
        for change in seen.values() {
            let (id, expected) = match change {
                Change::Upsert(document) => (document.video_id, vec![document.version]),
                Change::Remove { video_id, .. } => (*video_id, vec![]),
            };
            let mut editions = Vec::new();
            for version in 1..=6 {
                if found(&*index, &format!("edition{version}")).await.contains(&id) {
                    editions.push(version);
                }
            }
            assert_eq!(editions, expected);
        }
    }
}

/// A position is there with its batch, for its partition, and never goes back.
pub async fn positions_go_with_the_content(index: Arc<dyn SearchIndex>) {
    let at = |generation, next| Position { generation, next: Offset(next) };
    let (first, second) = (Partition(0), Partition(1));
    assert_eq!(repeat(|| index.position(first)).await, None);
    let apply = async |changes: Vec<Change>, partition, position| {
        repeat(|| index.apply(changes.clone(), Some((partition, position)))).await
    };
    let one = document("positioned");
    apply(vec![Change::Upsert(one.clone())], first, at(1, 5)).await;
    assert_eq!(repeat(|| index.position(first)).await, Some(at(1, 5)));
    assert_eq!(found(&*index, "positioned").await, [one.video_id]);
    // Without any change, and for another partition.
    apply(vec![], second, at(1, 9)).await;
    assert_eq!(repeat(|| index.position(first)).await, Some(at(1, 5)));
    assert_eq!(repeat(|| index.position(second)).await, Some(at(1, 9)));
    apply(vec![], first, at(1, 4)).await;
    assert_eq!(repeat(|| index.position(first)).await, Some(at(1, 5)), "went back");
    apply(vec![], first, at(2, 1)).await;
    assert_eq!(repeat(|| index.position(first)).await, Some(at(2, 1)), "a new life of the log");
    repeat(|| index.apply(vec![Change::Remove { video_id: one.video_id, version: 2 }], None)).await;
    assert_eq!(repeat(|| index.position(second)).await, Some(at(1, 9)), "lost by a batch without position");
    repeat(|| index.check()).await;
}

/// Nothing is found in nothing.
pub async fn an_empty_index_answers(index: Arc<dyn SearchIndex>) {
    assert_eq!(page(&*index, "anything").await, SearchPage::default());
    assert_eq!(repeat(|| index.similar(VideoId::generate(), 5)).await, []);
    assert_eq!(repeat(|| index.similar_to_text("anything", 5)).await, []);
    assert_eq!(repeat(|| index.document_count()).await, 0);
    assert_eq!(repeat(|| index.apply(Vec::new(), None)).await, Applied::default());
}

/// Case, accents, stems, typing mistakes, missing words and unfinished words.
pub async fn words_find_their_videos(index: Arc<dyn SearchIndex>) {
    let bunny = document("Big Buck Bunny");
    let cycling = IndexDocument {
        description: "How to cycle across the Alps".into(),
        tags: vec!["bicycle touring".into()],
        published_at: None,
        duration: None,
        ..document("Mountain passes")
    };
    let cake = IndexDocument { channel_name: "Küchenzauber".into(), ..document("Crème brûlée") };
    let numbered = document("Review 2024");
    put(&*index, &[bunny.clone(), cycling.clone(), cake.clone(), numbered.clone()]).await;
    let cases = [
        (&bunny, vec!["big buck bunny", "BUNNY", "bunny big", "big duck bunny xylophone", "bukc", "buny", "big bu"]),
        (
            &cycling,
            vec!["cycling", "cycles", "bicycles", "tour", "mountian", "moumtaim", "Alps!", "passing the mountains"],
        ),
        (&cake, vec!["creme brulee", "CRÈME", "kuchenzauber", "Küchenzaubber", "brul"]),
        (&numbered, vec!["2024", "reviews", "revieww 2024"]),
    ];
    for (document, texts) in cases {
        for text in texts {
            assert_eq!(found(&*index, text).await.first(), Some(&document.video_id), "{text}");
        }
    }
    for text in ["2023", "cat", "bxg", "mxxxxain", "brul x", "b"] {
        assert_eq!(found(&*index, text).await, [], "{text}");
    }
    let both = page(&*index, "bunny mountain").await;
    assert_eq!((both.hits.len(), both.total), (2, 2));
    assert_eq!(both.next, None);
}

/// One word in different fields, and more words before fewer.
pub async fn the_title_weighs_most(index: Arc<dyn SearchIndex>) {
    let filler = "words that say nothing about it";
    let in_title = document("volcano words that say nothing");
    let in_tags = IndexDocument { tags: vec!["volcano".into()], ..document(filler) };
    let in_channel = IndexDocument { channel_name: "volcano".into(), ..document(filler) };
    let in_description = IndexDocument { description: "volcano".into(), ..document(filler) };
    let mistyped = document("volcani");
    let all = [&in_description, &mistyped, &in_channel, &in_tags, &in_title].map(Clone::clone);
    put(&*index, &all).await;
    let mut expected = [&in_title, &in_tags, &in_channel, &in_description].map(|d| d.video_id).to_vec();
    expected.push(mistyped.video_id);
    assert_eq!(found(&*index, "volcano").await, expected);

    let both = IndexDocument { tags: vec!["lava".into()], ..document("volcano words that say nothing") };
    put(&*index, std::slice::from_ref(&both)).await;
    assert_eq!(found(&*index, "volcano lava").await[0], both.video_id);
    let scores: Vec<f32> = page(&*index, "volcano lava").await.hits.iter().map(|hit| hit.score).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|score| *score > 0.0), "{scores:?}");

    let newer = IndexDocument { published_at: Some(Timestamp::from_millis(9_000)), ..document("twin") };
    let older = document("twin");
    put(&*index, &[older.clone(), newer.clone()]).await;
    assert_eq!(found(&*index, "twin").await, [newer.video_id, older.video_id], "equals: the newer first");
}

/// Operators, quotes and control characters are harmless; a text over the limit is refused.
pub async fn no_text_is_an_error_but_a_long_one(index: Arc<dyn SearchIndex>) {
    let one = document("harmless words");
    put(&*index, std::slice::from_ref(&one)).await;
    for text in [
        "\"harmless",
        "title:harmless",
        "-harmless",
        "+(harmless",
        "harmless AND NOT harmless",
        "harmless^99",
        "har*mless harmless~2",
        "[harmless TO x}",
        "\\harmless\0",
        "harmless/\u{202e}/'; drop table",
    ] {
        assert_eq!(found(&*index, text).await, [one.video_id], "{text}");
    }
    for text in ["", "   ", "\"", "*:*", "()", "\0", "🦀"] {
        assert_eq!(page(&*index, text).await, SearchPage::default(), "{text}");
    }
    let longest = "é".repeat(MAX_QUERY_CHARS);
    page(&*index, &longest).await;
    page(&*index, &"ab ".repeat(MAX_QUERY_CHARS / 3)).await;
    let query = SearchQuery { text: longest + "x", ..SearchQuery::default() };
    let error = refused(&*index, &query).await;
    assert!(matches!(error, SearchError::TooLong(501)), "{error}");
    assert_eq!(error.fault(), event_schemas::Fault::Caller);
}

/// Every match is on exactly one page, whatever the page size, also among equal scores.
pub async fn pages_neither_repeat_nor_skip(index: Arc<dyn SearchIndex>) {
    let documents: Vec<IndexDocument> = (0..25).map(|_| document("equal")).collect();
    for batch in documents.chunks(7) {
        put(&*index, batch).await;
    }
    let mut wanted: Vec<VideoId> = documents.iter().map(|document| document.video_id).collect();
    wanted.sort();
    for limit in [1, 6, 25, 1000] {
        let mut query = SearchQuery { text: "equal".into(), limit, ..SearchQuery::default() };
        let mut seen = Vec::new();
        loop {
            let page = repeat(|| index.search(&query)).await;
            assert_eq!(page.total, 25);
            assert!(page.hits.len() <= limit.min(MAX_LIMIT) && !page.hits.is_empty());
            seen.extend(videos(&page.hits));
            let Some(next) = page.next else { break };
            query.cursor = Some(next.to_string().parse().unwrap());
        }
        seen.sort();
        assert_eq!(seen, wanted, "pages of {limit}");
    }
    let first = repeat(|| {
        let query = SearchQuery { text: "equal".into(), limit: 0, ..SearchQuery::default() };
        let index = Arc::clone(&index);
        async move { index.search(&query).await }
    })
    .await;
    assert_eq!(first.hits.len(), 1);
    let foreign = SearchQuery { text: "other".into(), limit: 5, cursor: first.next, ..SearchQuery::default() };
    assert!(matches!(refused(&*index, &foreign).await, SearchError::BadCursor));
    assert!("nonsense".parse::<Cursor>().is_err());
}

/// A channel's search finds only its own videos, by the same rules.
pub async fn a_channel_is_searched_alone(index: Arc<dyn SearchIndex>) {
    let channel = ChannelId::generate();
    let mine = IndexDocument { channel_id: channel, ..document("garden plants") };
    let mine_too = IndexDocument { channel_id: channel, ..document("other subject") };
    let others = document("garden plants and garden tools");
    put(&*index, &[mine.clone(), mine_too, others]).await;
    let of = |channel| Filter { channel: Some(channel), ..Filter::default() };
    let query = SearchQuery { text: "gardne".into(), filter: of(channel), limit: 10, ..SearchQuery::default() };
    let page = repeat(|| index.search(&query)).await;
    assert_eq!((videos(&page.hits), page.total), (vec![mine.video_id], 1));
    let nobody = SearchQuery { filter: of(ChannelId::generate()), ..query };
    assert_eq!(repeat(|| index.search(&nobody)).await, SearchPage::default());
    assert_eq!(found(&*index, &channel.to_string()).await, [], "ids are not text");
}

/// Language, age and length, alone and together; a video without one does not meet it.
pub async fn a_filter_leaves_what_meets_it(index: Arc<dyn SearchIndex>) {
    let millis = |millis| Some(Timestamp::from_millis(millis));
    let make = |language: Option<&str>, published, duration| IndexDocument {
        language: language.map(|tag| tag.parse().unwrap()),
        published_at: millis(published),
        duration: Some(Millis(duration)),
        ..document("filtered subject")
    };
    let all = [
        make(Some("en"), 100, 10),
        make(Some("en-GB"), 200, 20),
        make(Some("de"), 300, 30),
        make(None, 400, 40),
        IndexDocument { published_at: None, duration: None, ..make(Some("de"), 0, 0) },
    ];
    put(&*index, &all).await;
    let any = Filter::default();
    let language = |tag: &str| Some(tag.parse().unwrap());
    let cases: [(Filter, &[usize]); 11] = [
        (any, &[0, 1, 2, 3, 4]),
        (Filter { language: language("en"), ..any }, &[0, 1]),
        (Filter { language: language("fr"), ..any }, &[]),
        (Filter { published_from: millis(200), ..any }, &[1, 2, 3]),
        (Filter { published_before: millis(200), ..any }, &[0]),
        (Filter { published_from: millis(200), published_before: millis(400), ..any }, &[1, 2]),
        (Filter { min_duration: Some(Millis(30)), ..any }, &[2, 3]),
        (Filter { max_duration: Some(Millis(20)), ..any }, &[0, 1]),
        (Filter { min_duration: Some(Millis(20)), max_duration: Some(Millis(20)), ..any }, &[1]),
        (Filter { language: language("de"), max_duration: Some(Millis(99)), ..any }, &[2]),
        (
            Filter { language: language("en"), published_from: millis(150), channel: Some(all[1].channel_id), ..any },
            &[1],
        ),
    ];
    for (filter, expected) in cases {
        let query = SearchQuery { text: "subject".into(), filter, limit: 20, ..SearchQuery::default() };
        let page = repeat(|| index.search(&query)).await;
        let mut found = videos(&page.hits);
        let mut expected: Vec<VideoId> = expected.iter().map(|n| all[*n].video_id).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{filter:?}");
        assert_eq!(page.total, expected.len(), "{filter:?}");
    }
}

/// Similar videos, also when documents have been replaced and removed many times.
pub async fn similar_videos_share_telling_words(index: Arc<dyn SearchIndex>) {
    let about = |title: &str, description: &str| IndexDocument { description: description.into(), ..document(title) };
    let bread = about("Baking sourdough bread", "The flour, the starter and the oven");
    let rolls = about("Sourdough rolls", "Bake them with the same starter");
    let pizza = about("Pizza night", "The dough needs flour and a hot oven");
    let rocket = about("Rocket launch", "The engine and the tower");
    let all = [&bread, &rolls, &pizza, &rocket].map(Clone::clone);
    for version in 1..=6 {
        let edition: Vec<_> = all.iter().map(|document| IndexDocument { version, ..document.clone() }).collect();
        put(&*index, &edition).await;
    }
    let like_bread = repeat(|| index.similar(bread.video_id, 10)).await;
    assert_eq!(videos(&like_bread), [rolls.video_id, pizza.video_id], "neither itself nor the rocket");
    assert_eq!(repeat(|| index.similar(bread.video_id, 1)).await.len(), 1);
    let like_text = repeat(|| index.similar_to_text("an engine for a rocket", 10)).await;
    assert_eq!(videos(&like_text), [rocket.video_id]);
    assert_eq!(repeat(|| index.similar_to_text("the of and", 10)).await, []);

    repeat(|| index.apply(vec![Change::Remove { video_id: rolls.video_id, version: 9 }], None)).await;
    assert_eq!(videos(&repeat(|| index.similar(bread.video_id, 10)).await), [pizza.video_id]);
    assert_eq!(repeat(|| index.similar(rolls.video_id, 10)).await, [], "a removed video has no like");
}
