//! From what a person typed, or from a video's text, to the query the engine runs.

use event_schemas::ChannelId;
use tantivy::{
    Searcher, Term,
    query::{BooleanQuery, BoostQuery, ConstScoreQuery, DisjunctionMaxQuery, FuzzyTermQuery, Occur, Query, TermQuery},
    schema::{Field, IndexRecordOption},
};

use crate::schema::{Fields, stem, telling_stems, words};

/// Words of a search that count; people type fewer.
const MOST_WORDS: usize = 32;
/// Words of a search that may be mistyped; each costs a walk through the dictionary.
const MOST_FUZZY: usize = 12;
/// The stems by which similar videos are looked for.
const MOST_STEMS: usize = 25;
/// What the weaker matches of one word add to its strongest.
const TIE_BREAKER: f32 = 0.1;

/// The videos that fit `text`; none if it has no words.
pub(crate) fn text_query(fields: &Fields, text: &str, channel: Option<ChannelId>) -> Option<Box<dyn Query>> {
    let mut wanted = words(text);
    let unfinished = text.chars().next_back().is_some_and(char::is_alphanumeric);
    let last = if unfinished { wanted.last().cloned() } else { None };
    let mut seen = std::collections::HashSet::new();
    wanted.retain(|word| seen.insert(word.clone()));
    wanted.truncate(MOST_WORDS);
    if wanted.is_empty() {
        return None;
    }
    let clauses = wanted.iter().enumerate().map(|(n, word)| {
        let prefix = last.as_deref() == Some(word.as_str());
        (Occur::Should, word_query(fields, word, prefix, n < MOST_FUZZY))
    });
    let any: Box<dyn Query> = Box::new(BooleanQuery::new(clauses.collect()));
    Some(match channel {
        None => any,
        Some(channel) => {
            let of_channel = exact(fields.channel_id, &channel.to_string());
            let filter: Box<dyn Query> = Box::new(ConstScoreQuery::new(of_channel, 0.0));
            Box::new(BooleanQuery::new(vec![(Occur::Must, any), (Occur::Must, filter)]))
        }
    })
}

/// One word in all fields: the best match counts. Exact and stemmed matches weigh by how rare the
/// word is; unfinished and mistyped ones have a small fixed weight.
fn word_query(fields: &Fields, word: &str, prefix: bool, fuzzy: bool) -> Box<dyn Query> {
    let plain = [(fields.title, 4.0), (fields.tags, 3.0), (fields.channel, 2.0), (fields.description, 1.0)];
    let stemmed = [(fields.title_en, 3.2), (fields.tags_en, 2.4), (fields.description_en, 0.8)];
    let mut matches: Vec<Box<dyn Query>> = Vec::new();
    for (field, weight) in plain {
        matches.push(boosted(exact(field, word), weight));
    }
    if let Some(stem) = stem(word) {
        for (field, weight) in stemmed {
            matches.push(boosted(exact(field, &stem), weight));
        }
    }
    if prefix && word.chars().count() >= 2 {
        for (field, weight) in plain {
            let begins = FuzzyTermQuery::new_prefix(Term::from_field_text(field, word), 0, true);
            matches.push(boosted(Box::new(begins), weight * 0.3));
        }
    }
    let distance = typos(word);
    if fuzzy && distance > 0 {
        for (field, weight) in plain {
            let near = FuzzyTermQuery::new(Term::from_field_text(field, word), distance, true);
            matches.push(boosted(Box::new(near), weight * 0.15));
        }
    }
    Box::new(DisjunctionMaxQuery::with_tie_breaker(matches, TIE_BREAKER))
}

/// How many letters of `word` may be wrong. Another number is another number.
fn typos(word: &str) -> u8 {
    if word.chars().any(char::is_numeric) {
        return 0;
    }
    match word.chars().count() {
        0..4 => 0,
        4..8 => 1,
        _ => 2,
    }
}

/// Text to find the like of, by field.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    pub(crate) title: String,
    pub(crate) tags: String,
    pub(crate) description: String,
}

/// The videos that share the most telling words with `sample`; none if it has no words that any
/// video has.
///
/// The engine's own query for this refuses to count in an index with deleted documents, which
/// every update makes.
pub(crate) fn similar_query(
    fields: &Fields,
    searcher: &Searcher,
    sample: &Sample,
    except: Option<Term>,
) -> tantivy::Result<Option<Box<dyn Query>>> {
    let mut weights = std::collections::BTreeMap::<String, f32>::new();
    for (text, weight) in [(&sample.title, 3.0), (&sample.tags, 2.0), (&sample.description, 1.0)] {
        for (stem, count) in telling_stems(text) {
            *weights.entry(stem).or_default() += weight * (count as f32).sqrt();
        }
    }
    let documents = searcher.segment_readers().iter().map(|segment| u64::from(segment.max_doc())).sum::<u64>();
    let within = [(fields.title_en, 3.0), (fields.tags_en, 2.0), (fields.description_en, 1.0)];
    let mut telling = Vec::new();
    for (stem, weight) in weights {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_forgive_more_and_numbers_nothing() {
        for (word, distance) in [("cat", 0), ("bike", 1), ("bicycle", 1), ("mountain", 2), ("2024", 0), ("1080p", 0)] {
            assert_eq!(typos(word), distance, "{word}");
        }
    }
}
