//! From what a person typed, or from a video's text, to the query the engine runs.

use std::ops::Bound;

use event_schemas::Timestamp;
use tantivy::{
    Searcher, Term,
    query::{
        BooleanQuery, BoostQuery, ConstScoreQuery, DisjunctionMaxQuery, FuzzyTermQuery, Occur, Query, RangeQuery,
        TermQuery,
    },
    schema::{Field, IndexRecordOption},
};

use super::schema::Fields;
use crate::{
    Filter,
    text::{self, CHANNEL, DESCRIPTION, PREFIX, STEM, Sample, TAGS, TIE_BREAKER, TITLE, TYPO, Wanted},
};

/// The stems by which similar videos are looked for.
const MOST_STEMS: usize = 25;

/// The videos that fit `text` and meet `filter`; none if there are no words.
pub(super) fn text_query(fields: &Fields, text: &str, filter: &Filter) -> Option<Box<dyn Query>> {
    let wanted = text::wanted(text);
    if wanted.is_empty() {
        return None;
    }
    let any = BooleanQuery::new(wanted.iter().map(|word| (Occur::Should, word_query(fields, word))).collect());
    let mut all: Vec<(Occur, Box<dyn Query>)> = vec![(Occur::Must, Box::new(any))];
    all.extend(conditions(fields, filter).into_iter().map(|condition| {
        let unscored: Box<dyn Query> = Box::new(ConstScoreQuery::new(condition, 0.0));
        (Occur::Must, unscored)
    }));
    Some(if all.len() == 1 { all.remove(0).1 } else { Box::new(BooleanQuery::new(all)) })
}

fn conditions(fields: &Fields, filter: &Filter) -> Vec<Box<dyn Query>> {
    let mut conditions = Vec::new();
    if let Some(channel) = filter.channel {
        conditions.push(exact(fields.channel_id, &channel.to_string()));
    }
    if let Some(language) = filter.language {
        conditions.push(exact(fields.language, &language.to_string()));
    }
    let mut range = |from: Bound<i64>, to: Bound<i64>, field| {
        if (from, to) != (Bound::Unbounded, Bound::Unbounded) {
            let term = |value| Term::from_field_i64(field, value);
            conditions.push(Box::new(RangeQuery::new(from.map(term), to.map(term))));
        }
    };
    let included = |value: Option<i64>| value.map_or(Bound::Unbounded, Bound::Included);
    let excluded = |value: Option<i64>| value.map_or(Bound::Unbounded, Bound::Excluded);
    range(
        included(filter.published_from.map(Timestamp::as_millis)),
        excluded(filter.published_before.map(Timestamp::as_millis)),
        fields.published_at,
    );
    range(
        included(filter.min_duration.map(|long| long.0)),
        included(filter.max_duration.map(|long| long.0)),
        fields.duration,
    );
    conditions
}

/// One word in all fields: the best match counts. Exact and stemmed matches weigh by how rare the
/// word is; unfinished and mistyped ones have a small fixed weight.
fn word_query(fields: &Fields, wanted: &Wanted) -> Box<dyn Query> {
    let plain =
        [(fields.title, TITLE), (fields.tags, TAGS), (fields.channel, CHANNEL), (fields.description, DESCRIPTION)];
    let stemmed = [
        (fields.title_en, TITLE),
        (fields.tags_en, TAGS),
        (fields.channel_en, CHANNEL),
        (fields.description_en, DESCRIPTION),
    ];
    let mut matches: Vec<Box<dyn Query>> = Vec::new();
    for (field, weight) in plain {
        matches.push(boosted(exact(field, &wanted.word), weight));
        let term = || Term::from_field_text(field, &wanted.word);
        if wanted.unfinished {
            matches.push(boosted(Box::new(FuzzyTermQuery::new_prefix(term(), 0, true)), weight * PREFIX));
        }
        if wanted.typos > 0 {
            matches.push(boosted(Box::new(FuzzyTermQuery::new(term(), wanted.typos, true)), weight * TYPO));
        }
    }
    for (field, weight) in stemmed {
        matches.push(boosted(exact(field, &wanted.stem), weight * STEM));
    }
    Box::new(DisjunctionMaxQuery::with_tie_breaker(matches, TIE_BREAKER))
}

/// The videos that share the most telling words with `sample`; none if it has no words that any
/// video has.
///
/// The engine's own query for this refuses to count in an index with deleted documents, which
/// every update makes.
pub(super) fn similar_query(
    fields: &Fields,
    searcher: &Searcher,
    sample: &Sample,
    except: Option<Term>,
) -> tantivy::Result<Option<Box<dyn Query>>> {
    let documents = searcher.segment_readers().iter().map(|segment| u64::from(segment.max_doc())).sum::<u64>();
    let within = [(fields.title_en, 3.0), (fields.tags_en, 2.0), (fields.description_en, 1.0)];
    let mut telling = Vec::new();
    for (stem, weight) in sample.stems() {
        let mut having = 0;
        for (field, _) in within {
            having = having.max(searcher.doc_freq(&Term::from_field_text(field, &stem))?);
        }
        if having > 0 {
            let rarity = (1.0 + documents.saturating_sub(having) as f32 / having as f32).ln();
            telling.push((weight * rarity.max(0.01), stem));
        }
    }
    telling.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    telling.truncate(MOST_STEMS);
    let Some((highest, _)) = telling.first() else { return Ok(None) };
    let highest = *highest;
    let clauses = telling.iter().map(|(weight, stem)| {
        let matches = within.map(|(field, boost)| boosted(exact(field, stem), boost));
        let any = DisjunctionMaxQuery::with_tie_breaker(matches.into(), TIE_BREAKER);
        (Occur::Should, boosted(Box::new(any), weight / highest))
    });
    let alike: Box<dyn Query> = Box::new(BooleanQuery::new(clauses.collect()));
    Ok(Some(match except {
        None => alike,
        Some(term) => {
            let itself: Box<dyn Query> = Box::new(TermQuery::new(term, IndexRecordOption::Basic));
            Box::new(BooleanQuery::new(vec![(Occur::Must, alike), (Occur::MustNot, itself)]))
        }
    }))
}

fn exact(field: Field, word: &str) -> Box<dyn Query> {
    Box::new(TermQuery::new(Term::from_field_text(field, word), IndexRecordOption::WithFreqs))
}

fn boosted(query: Box<dyn Query>, weight: f32) -> Box<dyn Query> {
    Box::new(BoostQuery::new(query, weight))
}
