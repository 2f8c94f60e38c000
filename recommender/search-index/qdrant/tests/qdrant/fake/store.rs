//! What the server does with points: conditional upserts, filters, scores, fusion.

use std::collections::{BTreeMap, HashMap};

use qdrant_client::qdrant::{
    Condition, FieldCondition, Filter, Modifier, PointId, PointStruct, PrefetchQuery, Query, QueryPoints, ScoredPoint,
    SparseVector, UpdateMode, Value, Vector, WithPayloadSelector, condition::ConditionOneOf, r#match::MatchValue,
    point_id::PointIdOptions, query::Variant, value::Kind, vector, vector_input, vectors::VectorsOptions,
    vectors_config::Config, with_payload_selector::SelectorOptions,
};
use tonic::Status;

use super::Collection;

pub fn key(id: &PointId) -> String {
    match &id.point_id_options {
        Some(PointIdOptions::Uuid(uuid)) => uuid.clone(),
        Some(PointIdOptions::Num(number)) => number.to_string(),
        None => String::new(),
    }
}

pub fn upsert(
    collection: &mut Collection,
    points: Vec<PointStruct>,
    filter: Option<&Filter>,
    mode: UpdateMode,
) -> Result<(), Status> {
    for point in points {
        for (name, vector) in vectors(&point) {
            check_vector(collection, name, vector)?;
        }
        let id = key(point.id.as_ref().ok_or_else(|| Status::invalid_argument("a point without id"))?);
        let there = collection.points.get(&id);
        let wanted = match (there, mode) {
            (Some(_), UpdateMode::InsertOnly) | (None, UpdateMode::UpdateOnly) => false,
            (Some(there), _) => filter.is_none_or(|filter| meets(there, filter)),
            (None, _) => true,
        };
        if wanted {
            collection.points.insert(id, point);
        }
    }
    Ok(())
}

fn vectors(point: &PointStruct) -> impl Iterator<Item = (&String, &Vector)> {
    let named = match point.vectors.as_ref().and_then(|vectors| vectors.vectors_options.as_ref()) {
        Some(VectorsOptions::Vectors(named)) => Some(named.vectors.iter()),
        _ => None,
    };
    named.into_iter().flatten()
}

fn dense(vector: &Vector) -> Option<&[f32]> {
    match vector.vector.as_ref()? {
        vector::Vector::Dense(dense) => Some(&dense.data),
        _ => None,
    }
}

fn sparse(vector: &Vector) -> Option<&SparseVector> {
    match vector.vector.as_ref()? {
        vector::Vector::Sparse(sparse) => Some(sparse),
        _ => None,
    }
}

fn size_of(collection: &Collection, name: &str) -> Result<usize, Status> {
    let config = collection.creation.vectors_config.as_ref().and_then(|vectors| vectors.config.as_ref());
    let Some(Config::ParamsMap(map)) = config else { return Err(Status::invalid_argument("no dense vectors")) };
    let unknown = || Status::invalid_argument(format!("Wrong input: Not existing vector name error: {name}"));
    map.map.get(name).map(|params| params.size as usize).ok_or_else(unknown)
}

fn modifier_of(collection: &Collection, name: &str) -> Result<Modifier, Status> {
    let config = collection.creation.sparse_vectors_config.as_ref();
    let params = config.and_then(|config| config.map.get(name));
    let unknown = || Status::invalid_argument(format!("Wrong input: Not existing vector name error: {name}"));
    params.map(|params| params.modifier()).ok_or_else(unknown)
}

fn check_vector(collection: &Collection, name: &str, vector: &Vector) -> Result<(), Status> {
    match (dense(vector), sparse(vector)) {
        (Some(values), _) if size_of(collection, name)? == values.len() => Ok(()),
        (_, Some(sparse)) => {
            modifier_of(collection, name)?;
            let (indices, values) = (&sparse.indices, &sparse.values);
            if indices.is_sorted_by(|a, b| a < b) && indices.len() == values.len() {
                Ok(())
            } else {
                Err(Status::invalid_argument("indices must be unique"))
            }
        }
        _ => Err(Status::invalid_argument("Wrong input: Vector dimension error")),
    }
}

pub fn selected(payload: &HashMap<String, Value>, selector: Option<&WithPayloadSelector>) -> HashMap<String, Value> {
    match selector.and_then(|selector| selector.selector_options.as_ref()) {
        Some(SelectorOptions::Enable(true)) => payload.clone(),
        Some(SelectorOptions::Include(include)) => payload
            .iter()
            .filter(|(key, _)| include.fields.contains(key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        _ => HashMap::new(),
    }
}

pub fn meets(point: &PointStruct, filter: &Filter) -> bool {
    filter.must.iter().all(|condition| holds(point, condition))
        && !filter.must_not.iter().any(|condition| holds(point, condition))
        && (filter.should.is_empty() || filter.should.iter().any(|condition| holds(point, condition)))
}

fn holds(point: &PointStruct, condition: &Condition) -> bool {
    match condition.condition_one_of.as_ref().unwrap() {
        ConditionOneOf::Field(field) => field_holds(point, field),
        ConditionOneOf::HasId(ids) => point.id.as_ref().is_some_and(|id| ids.has_id.contains(id)),
        ConditionOneOf::Filter(filter) => meets(point, filter),
        other => panic!("the fake knows no {other:?}"),
    }
}

fn field_holds(point: &PointStruct, field: &FieldCondition) -> bool {
    let Some(value) = point.payload.get(&field.key).and_then(|value| value.kind.as_ref()) else { return false };
    let matches = field.r#match.as_ref().is_none_or(|wanted| match (wanted.match_value.as_ref().unwrap(), value) {
        (MatchValue::Keyword(wanted), Kind::StringValue(value)) => wanted == value,
        (MatchValue::Integer(wanted), Kind::IntegerValue(value)) => wanted == value,
        _ => false,
    });
    let in_range = field.range.as_ref().is_none_or(|range| match value {
        Kind::IntegerValue(value) => {
            let value = *value as f64;
            range.lt.is_none_or(|lt| value < lt)
                && range.lte.is_none_or(|lte| value <= lte)
                && range.gt.is_none_or(|gt| value > gt)
                && range.gte.is_none_or(|gte| value >= gte)
        }
        _ => false,
    });
    matches && in_range
}

pub fn query(collection: &Collection, request: &QueryPoints) -> Result<Vec<ScoredPoint>, Status> {
    let filter = request.filter.clone().unwrap_or_default();
    let limit = request.limit.unwrap_or(10) as usize;
    let using = request.using.as_deref().unwrap_or_default();
    let ranked = ranked(collection, request.query.as_ref(), using, &request.prefetch, &filter)?;
    Ok(ranked
        .into_iter()
        .take(limit)
        .map(|(id, score)| {
            let point = &collection.points[&id];
            let payload = selected(&point.payload, request.with_payload.as_ref());
            ScoredPoint { id: point.id.clone(), payload, score, ..ScoredPoint::default() }
        })
        .collect())
}

/// Equal scores stand in the order of their ids, backwards: not in that of the index.
fn ranked(
    collection: &Collection,
    query: Option<&Query>,
    using: &str,
    prefetch: &[PrefetchQuery],
    filter: &Filter,
) -> Result<Vec<(String, f32)>, Status> {
    let scores: BTreeMap<String, f32> = match query.and_then(|query| query.variant.as_ref()) {
        Some(Variant::Nearest(input)) => match input.variant.as_ref() {
            Some(vector_input::Variant::Sparse(wanted)) => by_words(collection, wanted, using, filter)?,
            Some(vector_input::Variant::Dense(wanted)) => by_cosine(collection, &wanted.data, using, filter)?,
            other => return Err(Status::unimplemented(format!("{other:?}"))),
        },
        Some(Variant::Rrf(rrf)) => {
            if rrf.weights.len() != prefetch.len() {
                return Err(Status::invalid_argument("Number of weights in RRF should match number of pre-fetches"));
            }
            let mut scores = BTreeMap::new();
            for (list, weight) in prefetch.iter().zip(&rrf.weights) {
                let own = list.filter.clone().unwrap_or_default();
                let using = list.using.as_deref().unwrap_or_default();
                let ranked = ranked(collection, list.query.as_ref(), using, &list.prefetch, &own)?;
                for (place, (id, _)) in ranked.into_iter().take(list.limit.unwrap_or(10) as usize).enumerate() {
                    if meets(&collection.points[&id], filter) {
                        *scores.entry(id).or_insert(0.0) += place_score(place, *weight, rrf.k.unwrap_or(2));
                    }
                }
            }
            scores
        }
        other => return Err(Status::unimplemented(format!("{other:?}"))),
    };
    let mut ranked: Vec<(String, f32)> = scores.into_iter().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.cmp(&a.0)));
    Ok(ranked)
}

fn place_score(place: usize, weight: f32, k: u32) -> f32 {
    if weight <= 0.0 { 0.0 } else { 1.0 / ((place + 1) as f32 / weight + k as f32 - 1.0) }
}

fn by_words(
    collection: &Collection,
    wanted: &SparseVector,
    using: &str,
    filter: &Filter,
) -> Result<BTreeMap<String, f32>, Status> {
    let rarity = modifier_of(collection, using)? == Modifier::Idf;
    let all: Vec<(&String, BTreeMap<u32, f32>, &PointStruct)> = collection
        .points
        .iter()
        .filter_map(|(id, point)| {
            let vector = vectors(point).find(|(name, _)| *name == using).and_then(|(_, vector)| sparse(vector))?;
            let map = vector.indices.iter().copied().zip(vector.values.iter().copied()).collect();
            Some((id, map, point))
        })
        .collect();
    let idf = |dimension: u32| {
        let having = all.iter().filter(|(_, map, _)| map.contains_key(&dimension)).count() as f32;
        ((all.len() as f32 - having + 0.5) / (having + 0.5) + 1.0).ln()
    };
    let weights: Vec<(u32, f32)> = wanted
        .indices
        .iter()
        .zip(&wanted.values)
        .map(|(dimension, value)| (*dimension, if rarity { value * idf(*dimension) } else { *value }))
        .collect();
    let score = |map: &BTreeMap<u32, f32>| {
        let shared: Vec<f32> =
            weights.iter().filter_map(|(dimension, weight)| map.get(dimension).map(|value| value * weight)).collect();
        (!shared.is_empty()).then(|| shared.iter().sum::<f32>())
    };
    let found = all.iter().filter(|(_, _, point)| meets(point, filter));
    Ok(found.filter_map(|(id, map, _)| Some(((*id).clone(), score(map)?))).collect())
}

fn by_cosine(
    collection: &Collection,
    wanted: &[f32],
    using: &str,
    filter: &Filter,
) -> Result<BTreeMap<String, f32>, Status> {
    if size_of(collection, using)? != wanted.len() {
        return Err(Status::invalid_argument("Wrong input: Vector dimension error"));
    }
    let length = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
    let mut scores = BTreeMap::new();
    for (id, point) in &collection.points {
        let vector = vectors(point).find(|(name, _)| *name == using).and_then(|(_, vector)| dense(vector));
        if let Some(values) = vector.filter(|_| meets(point, filter)) {
            let product: f32 = values.iter().zip(wanted).map(|(a, b)| a * b).sum();
            scores.insert(id.clone(), product / (length(values) * length(wanted)));
        }
    }
    Ok(scores)
}
