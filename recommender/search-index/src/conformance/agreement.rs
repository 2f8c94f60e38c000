//! How far two back ends may differ on one collection of videos.
//!
//! For every query both must find *the same videos*, and the same video first where one is
//! clearly meant. The order of the rest is a back end's own: of the ten best of one, the other
//! must have [`MIN_OVERLAP`] among its ten best, on average over the queries of a kind.

use std::{collections::BTreeSet, sync::Arc};

use event_schemas::{ChannelId, Millis, Timestamp, VideoId};

use super::{
    document,
    meaning::{at, space},
    put, repeat,
};
use crate::{Filter, IndexDocument, SearchIndex, SearchPage, SearchQuery};

/// The share of the ten best that both have, at least, on average.
pub const MIN_OVERLAP: f64 = 0.8;

const SUBJECTS: [&str; 24] = [
    "mountain",
    "bicycle",
    "sourdough",
    "volcano",
    "telescope",
    "violin",
    "harbour",
    "orchard",
    "marathon",
    "pottery",
    "lantern",
    "glacier",
    "beekeeping",
    "chess",
    "parrot",
    "bridge",
    "compass",
    "thunder",
    "meadow",
    "submarine",
    "origami",
    "falcon",
    "desert",
    "carpet",
];
const KINDS: [&str; 8] = ["review", "tutorial", "journey", "history", "repair", "documentary", "interview", "concert"];
const PLACES: [&str; 6] = ["Iceland", "Kyoto", "Patagonia", "Lisbon", "Nairobi", "Quebec"];

/// The collection: every subject and kind together, 192 videos, each with a vector.
#[must_use]
pub fn collection() -> Vec<IndexDocument> {
    let space = space("one", 4);
    let mut all = Vec::new();
    for (s, subject) in SUBJECTS.iter().enumerate() {
        for (k, kind) in KINDS.iter().enumerate() {
            let n = s * KINDS.len() + k;
            let place = PLACES[n % PLACES.len()];
            let neighbour = SUBJECTS[(s + 1) % SUBJECTS.len()];
            all.push(IndexDocument {
                description: format!("A {kind} of the {subject} in {place}, with a word about the {neighbour}."),
                tags: vec![(*kind).into(), place.into()],
                channel_id: ChannelId::from_uuid(uuid::Uuid::from_u128(k as u128 + 1)),
                channel_name: format!("{place} channel"),
                language: (n % 3 < 2).then(|| ["en", "de"][n % 3].parse().unwrap()),
                published_at: Some(Timestamp::from_millis(1_000 + n as i64)),
                duration: Some(Millis(60_000 * (1 + n as i64 % 40))),
                vectors: vec![at(&space, (n as f32) * 1.7 % 180.0)],
                ..document(&format!("{subject} {kind} number{n}"))
            });
        }
    }
    all
}

/// Puts the collection into both, which must be empty and hold the space `one` of four
/// dimensions, and compares them.
pub async fn run(one: Arc<dyn SearchIndex>, other: Arc<dyn SearchIndex>) {
    let videos = collection();
    for index in [&one, &other] {
        put(&**index, &videos).await;
    }
    // A kind of queries, each with the video that is clearly meant, if there is one.
    let known = |text: fn(&str, &str, usize) -> String| -> Vec<(String, Option<VideoId>)> {
        (0..videos.len())
            .step_by(7)
            .map(|n| {
                let (subject, kind) = (SUBJECTS[n / KINDS.len()], KINDS[n % KINDS.len()]);
                (text(subject, kind, n), Some(videos[n].video_id))
            })
            .collect()
    };
    let words = |make: fn(&str) -> String| SUBJECTS.iter().map(|subject| (make(subject), None)).collect::<Vec<_>>();
    let kinds = [
        ("known item", known(|subject, kind, n| format!("{subject} {kind} number{n}"))),
        ("known item, mistyped", known(|subject, kind, n| format!("{} {kind} number{n}", mistyped(subject)))),
        ("word", words(str::to_owned)),
        ("stem", words(|subject| format!("{subject}s"))),
        ("mistyped", words(mistyped)),
        ("unfinished", words(|subject| subject[..4].to_owned())),
        ("two words", words(|subject| format!("{subject} Iceland"))),
        ("nothing", vec![("xyzzy".into(), None), ("qqqq".into(), None), ("zz zz".into(), None)]),
    ];
    let filters = [Filter::default(), Filter { language: "en".parse().ok(), ..Filter::default() }];
    for (kind, queries) in &kinds {
        for filter in filters {
            for vector in [None, Some(at(&space("one", 4), 33.0))] {
                let mut overlaps = Vec::new();
                for (text, meant) in queries {
                    let query = SearchQuery {
                        text: text.clone(),
                        vector: vector.clone(),
                        filter,
                        limit: 100,
                        ..Default::default()
                    };
                    let [a, b] = [all(&*one, &query).await, all(&*other, &query).await];
                    let what = format!("{kind}: {text:?}, {filter:?}, {}", vector.is_some());
                    let set = |page: &[VideoId]| page.iter().copied().collect::<BTreeSet<_>>();
                    assert_eq!(set(&a), set(&b), "{what}: other videos");
                    if vector.is_none() && filter == Filter::default() && meant.is_some() {
                        assert_eq!((a.first(), b.first()), (meant.as_ref(), meant.as_ref()), "{what}");
                    }
                    overlaps.extend(overlap(&a, &b));
                }
                let mean = overlaps.iter().sum::<f64>() / overlaps.len().max(1) as f64;
                assert!(overlaps.is_empty() || mean >= MIN_OVERLAP, "{kind}, {filter:?}, {}: {mean}", vector.is_some());
            }
        }
    }
    let mut overlaps = Vec::new();
    for video in videos.iter().step_by(11) {
        let [a, b] = [&one, &other].map(|index| async { repeat(|| index.similar(video.video_id, 10)).await });
        overlaps.extend(overlap(&super::videos(&a.await), &super::videos(&b.await)));
    }
    let mean = overlaps.iter().sum::<f64>() / overlaps.len() as f64;
    assert!(mean >= MIN_OVERLAP, "similar: {mean}");
}

/// The share of the ten best of one that are among the ten best of the other.
fn overlap(a: &[VideoId], b: &[VideoId]) -> Option<f64> {
    let ten = a.len().max(b.len()).min(10);
    let best = |list: &[VideoId]| list.iter().take(ten).copied().collect::<BTreeSet<_>>();
    (ten > 0).then(|| best(a).intersection(&best(b)).count() as f64 / ten as f64)
}

/// Two letters in the middle swapped.
fn mistyped(word: &str) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let middle = letters.len() / 2;
    letters.swap(middle - 1, middle);
    letters.into_iter().collect()
}

async fn all(index: &dyn SearchIndex, query: &SearchQuery) -> Vec<VideoId> {
    let mut query = query.clone();
    let mut found = Vec::new();
    loop {
        let page: SearchPage = repeat(|| index.search(&query)).await;
        found.extend(page.hits.iter().map(|hit| hit.video));
        let Some(next) = page.next else { break };
        query.cursor = Some(next);
    }
    found
}
