//! What a collection looks like: its vectors, its payload, the points that are no videos.
//!
//! One collection holds an index with all that belongs to it, so that one alias and one snapshot
//! carry it whole:
//!
//! | point | id | payload | vectors |
//! |---|---|---|---|
//! | video | the video's | `kind` video, `visibility` public, `version`, `vectors`, `channel`, `channel_name`, `language`, `published_at`, `duration` (both in ms), `title`, `description`, `tags` | `lexical`, one for each dense space |
//! | removed video | the video's | `kind` removed, `version`, `vectors` | none |
//! | word | made from the word | `kind` word, `word` | `spelling` |
//! | position | made from the partition | `kind` position, `partition`, `generation`, `next` | none |

use std::collections::{BTreeSet, HashMap};

use event_schemas::Partition;
use qdrant_client::qdrant::{
    CollectionInfo, CreateCollection, Distance, FieldType, Modifier, SparseVectorConfig, SparseVectorParams, Value,
    VectorParams, VectorParamsMap, VectorsConfig, value::Kind, vectors_config::Config,
};
use search_index::{DenseSpace, SearchError};
use uuid::Uuid;

use crate::error::REBUILD;

/// The version of all this and of the making of words and dimensions.
pub(crate) const FORMAT: i64 = 1;
/// Where a collection says of which format it is.
const FORMAT_KEY: &str = "millrace_format";

/// The sparse vector of a video's words.
pub(crate) const LEXICAL: &str = "lexical";
/// The sparse vector by which words are looked up.
pub(crate) const SPELLING: &str = "spelling";

/// The only visibility that is ever put in; every search asks for it all the same.
pub(crate) const PUBLIC: &str = "public";

/// The payload fields that filters use, with the types of their indexes.
pub(crate) const INDEXED: [(&str, FieldType); 9] = [
    ("visibility", FieldType::Keyword),
    ("channel", FieldType::Keyword),
    ("language", FieldType::Keyword),
    ("published_at", FieldType::Integer),
    ("duration", FieldType::Integer),
    ("version", FieldType::Integer),
    ("vectors", FieldType::Integer),
    ("generation", FieldType::Integer),
    ("next", FieldType::Integer),
];

const NAMES: Uuid = Uuid::from_u128(0x8f0c_53b2_6d1e_4c7a_9a64_2f8d_01c7_5e3b);

/// The id of the point of a word.
pub(crate) fn word_id(word: &str) -> Uuid {
    Uuid::new_v5(&NAMES, format!("word/{word}").as_bytes())
}

/// The id of the point with the position of a partition.
pub(crate) fn position_id(partition: Partition) -> Uuid {
    Uuid::new_v5(&NAMES, format!("position/{partition}").as_bytes())
}

/// The name of the vector of a space. It holds the model, so that a query by another model's
/// vector can't meet it, whatever the alias points to by then.
pub(crate) fn vector_name(space: &DenseSpace) -> String {
    format!("{}.{}", space.name(), space.model())
}

fn space_of(name: &str, params: &VectorParams) -> Option<DenseSpace> {
    let (kind, model) = name.split_once('.')?;
    let usable = params.distance() == Distance::Cosine && params.multivector_config.is_none();
    DenseSpace::new(kind, model, usize::try_from(params.size).ok()?).ok().filter(|_| usable)
}

/// The request that makes a collection.
pub(crate) fn creation(
    name: &str,
    spaces: &[DenseSpace],
    shards: Option<u32>,
    replicas: Option<u32>,
) -> CreateCollection {
    let dense = spaces.iter().map(|space| {
        let params = VectorParams {
            size: space.dimensions() as u64,
            distance: Distance::Cosine as i32,
            ..VectorParams::default()
        };
        (vector_name(space), params)
    });
    let by_rarity = SparseVectorParams { modifier: Some(Modifier::Idf as i32), ..SparseVectorParams::default() };
    let sparse = HashMap::from([(LEXICAL.to_owned(), by_rarity), (SPELLING.to_owned(), SparseVectorParams::default())]);
    CreateCollection {
        collection_name: name.to_owned(),
        vectors_config: Some(VectorsConfig {
            config: Some(Config::ParamsMap(VectorParamsMap { map: dense.collect() })),
        }),
        sparse_vectors_config: Some(SparseVectorConfig { map: sparse }),
        shard_number: shards,
        replication_factor: replicas,
        metadata: HashMap::from([(FORMAT_KEY.to_owned(), Value { kind: Some(Kind::IntegerValue(FORMAT)) })]),
        ..CreateCollection::default()
    }
}

/// The dense spaces of the collection that `info` describes, and the payload indexes it lacks.
pub(crate) fn read(info: &CollectionInfo) -> (Vec<DenseSpace>, Vec<(&'static str, FieldType)>) {
    let mut spaces: Vec<DenseSpace> = dense_vectors(info).iter().filter_map(|(name, p)| space_of(name, p)).collect();
    spaces.sort();
    let lacking = INDEXED.into_iter().filter(|(field, _)| !info.payload_schema.contains_key(*field)).collect();
    (spaces, lacking)
}

fn dense_vectors(info: &CollectionInfo) -> HashMap<String, VectorParams> {
    let params = info.config.as_ref().and_then(|config| config.params.as_ref());
    match params.and_then(|params| params.vectors_config.as_ref()).and_then(|vectors| vectors.config.clone()) {
        Some(Config::ParamsMap(map)) => map.map,
        Some(Config::Params(one)) => HashMap::from([(String::new(), one)]),
        None => HashMap::new(),
    }
}

/// Whether a collection can be used as an index that holds `spaces`.
///
/// # Errors
/// [`SearchError::Refused`] that names the first thing that does not fit.
pub(crate) fn check(name: &str, info: &CollectionInfo, spaces: &[DenseSpace]) -> Result<(), SearchError> {
    let refused = |problem: String| {
        Err(SearchError::Refused { problem: format!("the Qdrant collection {name} {problem}"), remedy: REBUILD.into() })
    };
    let config = info.config.as_ref();
    match config.and_then(|config| config.metadata.get(FORMAT_KEY)).and_then(|value| value.kind.as_ref()) {
        Some(Kind::IntegerValue(FORMAT)) => {}
        Some(Kind::IntegerValue(other)) => return refused(format!("is of format {other}, this program's is {FORMAT}")),
        _ => return refused(format!("says no format ({FORMAT_KEY}): it was not made by this program")),
    }
    let sparse =
        config.and_then(|config| config.params.as_ref()).and_then(|params| params.sparse_vectors_config.as_ref());
    for (vector, modifier) in [(LEXICAL, Modifier::Idf), (SPELLING, Modifier::None)] {
        match sparse.and_then(|sparse| sparse.map.get(vector)) {
            None => return refused(format!("lacks the sparse vector {vector}")),
            Some(params) if params.modifier() != modifier => {
                return refused(format!("has the sparse vector {vector} with another modifier than {modifier:?}"));
            }
            Some(_) => {}
        }
    }
    let dense = dense_vectors(info);
    for space in spaces {
        let (vector, size) = (vector_name(space), space.dimensions() as u64);
        let Some(params) = dense.get(&vector) else {
            let there: BTreeSet<&str> = dense.keys().map(String::as_str).collect();
            return refused(format!("lacks the dense vector {vector}; it has {there:?}"));
        };
        if params.size != size {
            return refused(format!("has the dense vector {vector} with {} dimensions instead of {size}", params.size));
        }
        if params.distance() != Distance::Cosine || params.multivector_config.is_some() {
            let distance = params.distance();
            return refused(format!(
                "has the dense vector {vector} with distance {distance:?} instead of one by Cosine"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use qdrant_client::qdrant::{CollectionConfig, CollectionParams, PayloadSchemaInfo};

    use super::*;

    fn space(name: &str, model: &str, dimensions: usize) -> DenseSpace {
        DenseSpace::new(name, model, dimensions).unwrap()
    }

    /// What the server says of a collection made as asked.
    fn made(creation: CreateCollection) -> CollectionInfo {
        let params = CollectionParams {
            vectors_config: creation.vectors_config,
            sparse_vectors_config: creation.sparse_vectors_config,
            ..CollectionParams::default()
        };
        let config = CollectionConfig { params: Some(params), metadata: creation.metadata, ..Default::default() };
        CollectionInfo { config: Some(config), ..CollectionInfo::default() }
    }

    fn problem(info: &CollectionInfo, spaces: &[DenseSpace]) -> String {
        match check("videos-1", info, spaces) {
            Ok(()) => String::new(),
            Err(SearchError::Refused { problem, remedy }) => {
                assert!(remedy.contains("switches the alias"));
                problem
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_collection_is_what_it_was_made_as() {
        let spaces = [space("taste", "als", 32), space("text", "mini.lm-2", 384)];
        let mut info = made(creation("videos-1", &spaces, None, None));
        check("videos-1", &info, &spaces).unwrap();
        check("videos-1", &info, &spaces[..1]).unwrap();
        assert_eq!(read(&info), (spaces.to_vec(), INDEXED.to_vec()));
        info.payload_schema.insert("visibility".into(), PayloadSchemaInfo::default());
        assert_eq!(read(&info).1, INDEXED[1..]);
        check("videos-1", &made(creation("videos-1", &[], None, None)), &[]).unwrap();
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let held = [space("text", "m1", 8)];
        let good = || creation("videos-1", &held, None, None);
        assert!(
            problem(&made(good()), &[space("text", "m2", 8)])
                .contains(r#"lacks the dense vector text.m2; it has {"text.m1"}"#)
        );
        assert!(problem(&made(good()), &[space("text", "m1", 9)]).contains("8 dimensions instead of 9"));
        let mut other = good();
        other.metadata.clear();
        assert!(problem(&made(other), &held).contains("not made by this program"));
        let mut other = good();
        other.metadata.insert(FORMAT_KEY.into(), Value { kind: Some(Kind::IntegerValue(9)) });
        assert!(problem(&made(other), &held).contains("is of format 9"));
        let mut other = good();
        other.sparse_vectors_config.as_mut().unwrap().map.remove(LEXICAL);
        assert!(problem(&made(other), &held).contains("lacks the sparse vector lexical"));
        let mut other = good();
        other.sparse_vectors_config.as_mut().unwrap().map.insert(LEXICAL.into(), SparseVectorParams::default());
        assert!(problem(&made(other), &held).contains("another modifier than Idf"));
        let mut other = good();
        if let Some(Config::ParamsMap(map)) = &mut other.vectors_config.as_mut().unwrap().config {
            map.map.get_mut("text.m1").unwrap().distance = Distance::Euclid as i32;
        }
        let info = made(other);
        assert!(problem(&info, &held).contains("distance Euclid"));
        assert_eq!(read(&info).0, [], "and no space that is held");
    }
}
