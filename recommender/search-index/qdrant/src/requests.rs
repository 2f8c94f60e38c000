//! The requests that change and search a collection. Pure: values in, messages out.

use std::collections::HashMap;

use event_schemas::{Partition, Timestamp, VideoId};
use qdrant_client::qdrant::{
    Condition, Filter, NamedVectors, PointId, PointStruct, PrefetchQuery, Query, QueryPoints, Range, Rrf, SparseVector,
    Value, Vector, VectorInput, Vectors, WriteOrdering, WriteOrderingType, r#match::MatchValue,
    point_id::PointIdOptions, query, value::Kind, vector, vector_input, vectors::VectorsOptions,
};
use search_index::{
    Change, DenseSpace, DenseVector, Filter as Wanted, IndexDocument, MAX_DEPTH, Position, Precedence,
    fusion::{DENSE_DEPTH, RRF_K},
};
use uuid::Uuid;

use crate::{
    encode::{self, Dimensions},
    shape::{LEXICAL, PUBLIC, SPELLING, position_id, vector_name, word_id},
    spelling,
};

/// Words of the index that one mistyped word may stand for.
pub(crate) const MOST_SPELLINGS: u64 = 64;

pub(crate) type Payload = HashMap<String, Value>;

pub(crate) fn text(value: impl Into<String>) -> Value {
    Value { kind: Some(Kind::StringValue(value.into())) }
}

pub(crate) fn integer(value: i64) -> Value {
    Value { kind: Some(Kind::IntegerValue(value)) }
}

/// The integer that a payload has under `key`.
pub(crate) fn integer_of(payload: &Payload, key: &str) -> Option<i64> {
    match payload.get(key)?.kind {
        Some(Kind::IntegerValue(value)) => Some(value),
        _ => None,
    }
}

/// The text that a payload has under `key`.
pub(crate) fn text_of<'a>(payload: &'a Payload, key: &str) -> Option<&'a str> {
    match payload.get(key)?.kind.as_ref() {
        Some(Kind::StringValue(value)) => Some(value),
        _ => None,
    }
}

/// The texts of a list under `key`, as one.
pub(crate) fn texts_of(payload: &Payload, key: &str) -> String {
    let Some(Kind::ListValue(list)) = payload.get(key).and_then(|value| value.kind.as_ref()) else {
        return String::new();
    };
    let texts: Vec<&str> = list
        .values
        .iter()
        .filter_map(|value| match value.kind.as_ref() {
            Some(Kind::StringValue(text)) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    texts.join(" ")
}

pub(crate) fn point_id(id: Uuid) -> PointId {
    PointId { point_id_options: Some(PointIdOptions::Uuid(id.to_string())) }
}

pub(crate) fn video_of(id: Option<PointId>) -> Option<VideoId> {
    match id?.point_id_options? {
        PointIdOptions::Uuid(text) => text.parse().ok().map(VideoId::from_uuid),
        PointIdOptions::Num(_) => None,
    }
}

fn point(id: Uuid, payload: Payload, vectors: HashMap<String, Vector>) -> PointStruct {
    let vectors = Vectors { vectors_options: Some(VectorsOptions::Vectors(NamedVectors { vectors })) };
    PointStruct { id: Some(point_id(id)), payload, vectors: Some(vectors) }
}

fn sparse(dimensions: &Dimensions) -> SparseVector {
    let (indices, values) = dimensions.split();
    SparseVector { indices, values }
}

fn sparse_vector(dimensions: &Dimensions) -> Vector {
    vector::Vector::Sparse(sparse(dimensions)).into()
}

/// The point that a change leaves in a collection that holds `spaces`.
pub(crate) fn change_point(change: &Change, precedence: Precedence, spaces: &[DenseSpace]) -> PointStruct {
    let mut payload = Payload::from([
        ("version".to_owned(), integer(precedence.version)),
        ("vectors".to_owned(), integer(precedence.vectors)),
    ]);
    let mut vectors = HashMap::new();
    match change {
        Change::Remove { .. } => {
            payload.insert("kind".into(), text("removed"));
        }
        Change::Upsert(document) => {
            payload.extend(video_payload(document));
            let words = encode::lexical(document);
            if !words.is_empty() {
                vectors.insert(LEXICAL.to_owned(), sparse_vector(&words));
            }
            for vector in document.vectors.iter().filter(|vector| spaces.contains(vector.space())) {
                vectors.insert(vector_name(vector.space()), Vector::from(vector.values()));
            }
        }
    }
    point(change.video_id().as_uuid(), payload, vectors)
}

fn video_payload(document: &IndexDocument) -> Payload {
    let tags = document.tags.iter().map(text).collect::<Vec<_>>();
    let mut payload = Payload::from([
        ("kind".to_owned(), text("video")),
        ("visibility".to_owned(), text(PUBLIC)),
        ("title".to_owned(), text(&document.title)),
        ("description".to_owned(), text(&document.description)),
        ("tags".to_owned(), Value { kind: Some(Kind::ListValue(tags.into())) }),
        ("channel".to_owned(), text(document.channel_id.to_string())),
        ("channel_name".to_owned(), text(&document.channel_name)),
    ]);
    let mut optional = |key: &str, value: Option<Value>| payload.extend(value.map(|value| (key.to_owned(), value)));
    optional("language", document.language.map(|language| text(language.to_string())));
    optional("published_at", document.published_at.map(|at| integer(at.as_millis())));
    optional("duration", document.duration.map(|long| integer(long.0)));
    payload
}

/// What a stored point must meet for a change of `precedence` to replace it.
pub(crate) fn older_than(precedence: Precedence) -> Filter {
    let below = |key: &str, value: i64| Condition::range(key, Range { lt: Some(value as f64), ..Range::default() });
    let completes = Filter::must([equal("version", precedence.version), below("vectors", precedence.vectors)]);
    Filter::should([below("version", precedence.version), Condition::from(completes)])
}

fn equal(key: &str, value: i64) -> Condition {
    Condition::matches(key, value)
}

/// The point of a word, for those that a mistyped word can mean.
pub(crate) fn word_point(word: &str) -> PointStruct {
    let payload = Payload::from([("kind".to_owned(), text("word")), ("word".to_owned(), text(word))]);
    let vectors = HashMap::from([(SPELLING.to_owned(), sparse_vector(&spelling::rests(word)))]);
    point(word_id(word), payload, vectors)
}

/// The point with the position of a partition. The numbers are stored by their bits: they are
/// compared for equality alone.
pub(crate) fn position_point(partition: Partition, position: Position) -> PointStruct {
    let payload = Payload::from([
        ("kind".to_owned(), text("position")),
        ("partition".to_owned(), text(partition.to_string())),
        ("generation".to_owned(), integer(position.generation.cast_signed())),
        ("next".to_owned(), integer(position.next.0.cast_signed())),
    ]);
    point(position_id(partition), payload, HashMap::new())
}

/// The position that such a point holds.
pub(crate) fn position_of(payload: &Payload) -> Option<Position> {
    let number = |key| integer_of(payload, key).map(i64::cast_unsigned);
    Some(Position { generation: number("generation")?, next: event_schemas::Offset(number("next")?) })
}

/// What the stored position must be for the next one to replace it.
pub(crate) fn still_at(position: Position) -> Filter {
    Filter::must([equal("generation", position.generation.cast_signed()), equal("next", position.next.0.cast_signed())])
}

/// Every replica takes writes in one order, so that all of them judge versions alike.
pub(crate) fn in_order() -> WriteOrdering {
    WriteOrdering { r#type: WriteOrderingType::Strong as i32 }
}

/// The videos that may be found.
pub(crate) fn public() -> Filter {
    Filter::must([Condition::matches("visibility", MatchValue::Keyword(PUBLIC.into()))])
}

/// The videos that may be found and meet `wanted`.
pub(crate) fn filter(wanted: &Wanted) -> Filter {
    let mut filter = public();
    if let Some(channel) = wanted.channel {
        filter.must.push(Condition::matches("channel", MatchValue::Keyword(channel.to_string())));
    }
    if let Some(language) = wanted.language {
        filter.must.push(Condition::matches("language", MatchValue::Keyword(language.to_string())));
    }
    let millis = |time: Option<Timestamp>| time.map(|time| time.as_millis() as f64);
    let (from, before) = (millis(wanted.published_from), millis(wanted.published_before));
    if from.is_some() || before.is_some() {
        filter.must.push(Condition::range("published_at", Range { gte: from, lt: before, ..Range::default() }));
    }
    let length = |length: Option<event_schemas::Millis>| length.map(|length| length.0 as f64);
    let (min, max) = (length(wanted.min_duration), length(wanted.max_duration));
    if min.is_some() || max.is_some() {
        filter.must.push(Condition::range("duration", Range { gte: min, lte: max, ..Range::default() }));
    }
    filter
}

fn nearest(input: vector_input::Variant) -> Query {
    Query { variant: Some(query::Variant::Nearest(VectorInput { variant: Some(input) })) }
}

fn by_words(words: &Dimensions) -> Query {
    nearest(vector_input::Variant::Sparse(sparse(words)))
}

fn by_meaning(vector: &DenseVector) -> Query {
    nearest(vector_input::Variant::Dense(vector.values().to_vec().into()))
}

/// The videos whose words fit, the best first.
pub(crate) fn lexical_search(collection: &str, words: &Dimensions, filter: Filter, limit: usize) -> QueryPoints {
    QueryPoints {
        collection_name: collection.to_owned(),
        query: Some(by_words(words)),
        using: Some(LEXICAL.to_owned()),
        filter: Some(filter),
        limit: Some(limit as u64),
        with_payload: Some(false.into()),
        ..QueryPoints::default()
    }
}

/// The videos whose words fit or whose vectors are close, ranked by both; fused by the server.
pub(crate) fn fused_search(
    collection: &str,
    words: &Dimensions,
    vector: &DenseVector,
    filter: &Filter,
    weights: [f32; 2],
) -> QueryPoints {
    let list = |query, using: String, limit: usize| PrefetchQuery {
        query: Some(query),
        using: Some(using),
        filter: Some(filter.clone()),
        limit: Some(limit as u64),
        ..PrefetchQuery::default()
    };
    let dense = list(by_meaning(vector), vector_name(vector.space()), DENSE_DEPTH);
    let (prefetch, weights) = if words.is_empty() {
        (vec![dense], vec![weights[1]])
    } else {
        (vec![list(by_words(words), LEXICAL.to_owned(), MAX_DEPTH), dense], weights.to_vec())
    };
    QueryPoints {
        collection_name: collection.to_owned(),
        prefetch,
        query: Some(Query { variant: Some(query::Variant::Rrf(Rrf { k: Some(RRF_K), weights })) }),
        filter: Some(filter.clone()),
        limit: Some((MAX_DEPTH + DENSE_DEPTH) as u64),
        with_payload: Some(false.into()),
        ..QueryPoints::default()
    }
}

/// The words of the index that share a rest with `word`, those that share most first.
pub(crate) fn spellings(collection: &str, word: &str) -> QueryPoints {
    QueryPoints {
        collection_name: collection.to_owned(),
        query: Some(by_words(&spelling::rests(word))),
        using: Some(SPELLING.to_owned()),
        limit: Some(MOST_SPELLINGS),
        with_payload: Some(vec!["word"].into()),
        ..QueryPoints::default()
    }
}
