//! Where a page of results ended: opaque to callers, bound to the search it was made for.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{Filter, MAX_DEPTH, SearchError, SearchQuery};

const VERSION: u8 = 2;

/// Asks for the page after the one it came with. Its text is URL-safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    query: [u8; 8],
    skip: u32,
}

impl Cursor {
    /// The cursor behind the first `skip` hits of `query`; none beyond [`MAX_DEPTH`].
    #[must_use]
    pub(crate) fn after(query: &SearchQuery, skip: usize) -> Option<Self> {
        let skip = u32::try_from(skip).ok().filter(|skip| (*skip as usize) < MAX_DEPTH)?;
        Some(Self { query: fingerprint(query), skip })
    }

    /// The number of hits to skip.
    ///
    /// # Errors
    /// [`SearchError::BadCursor`] if it was made for another search.
    pub(crate) fn skip(&self, query: &SearchQuery) -> Result<usize, SearchError> {
        if self.query == fingerprint(query) { Ok(self.skip as usize) } else { Err(SearchError::BadCursor) }
    }
}

/// The page size is left out, it may change between pages, and so are the values of a vector: the
/// same text has slightly different ones on another processor.
fn fingerprint(query: &SearchQuery) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: Option<&[u8]>| {
        hasher.update(&bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
        hasher.update(bytes.unwrap_or_default());
    };
    part(Some(query.text.as_bytes()));
    let space = query.vector.as_ref().map(crate::DenseVector::space);
    part(space.map(|space| space.name().as_bytes()));
    part(space.map(|space| space.model().as_bytes()));
    let Filter { channel, language, published_from, published_before, min_duration, max_duration } = &query.filter;
    part(channel.map(|channel| *channel.as_uuid().as_bytes()).as_ref().map(|bytes| &bytes[..]));
    part(language.map(|language| language.to_string()).as_deref().map(str::as_bytes));
    for time in [published_from, published_before] {
        part(time.map(|time| time.as_millis().to_le_bytes()).as_ref().map(|bytes| &bytes[..]));
    }
    for length in [min_duration, max_duration] {
        part(length.map(|length| length.0.to_le_bytes()).as_ref().map(|bytes| &bytes[..]));
    }
    for weight in query.fusion.weights() {
        part(Some(&weight.to_le_bytes()));
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    first
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [VERSION; 13];
        bytes[1..9].copy_from_slice(&self.query);
        bytes[9..].copy_from_slice(&self.skip.to_le_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = SearchError;

    fn from_str(text: &str) -> Result<Self, SearchError> {
        let bytes: [u8; 13] =
            URL_SAFE_NO_PAD.decode(text).ok().and_then(|b| b.try_into().ok()).ok_or(SearchError::BadCursor)?;
        let [version, a, b, c, d, e, f, g, h, skip @ ..] = bytes;
        let skip = u32::from_le_bytes(skip);
        if version != VERSION || skip as usize >= MAX_DEPTH {
            return Err(SearchError::BadCursor);
        }
        Ok(Self { query: [a, b, c, d, e, f, g, h], skip })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{DenseSpace, DenseVector};

    fn vector(model: &str, x: f32) -> DenseVector {
        DenseVector::new(&Arc::new(DenseSpace::new("text", model, 2).unwrap()), vec![x, 1.0]).unwrap()
    }

    #[test]
    fn a_cursor_reads_back_and_is_bound_to_its_search() {
        let query = SearchQuery { text: "big buck".into(), limit: 10, ..Default::default() };
        let cursor = Cursor::after(&query, 10).unwrap();
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        assert_eq!(cursor.skip(&SearchQuery { limit: 20, ..query.clone() }).unwrap(), 10);
        let filtered = |filter| SearchQuery { filter, ..query.clone() };
        let others = [
            SearchQuery { text: "big bucks".into(), ..query.clone() },
            filtered(Filter { channel: Some(event_schemas::ChannelId::generate()), ..Filter::default() }),
            filtered(Filter { language: Some("en".parse().unwrap()), ..Filter::default() }),
            filtered(Filter { min_duration: Some(event_schemas::Millis(1)), ..Filter::default() }),
            filtered(Filter { max_duration: Some(event_schemas::Millis(1)), ..Filter::default() }),
            SearchQuery { vector: Some(vector("one", 1.0)), ..query.clone() },
        ];
        for other in &others {
            assert!(matches!(cursor.skip(other), Err(SearchError::BadCursor)), "{other:?}");
        }
        let fused = SearchQuery { vector: Some(vector("one", 1.0)), ..query.clone() };
        let cursor = Cursor::after(&fused, 10).unwrap();
        assert_eq!(cursor.skip(&SearchQuery { vector: Some(vector("one", 1.1)), ..query.clone() }).unwrap(), 10);
        let other_model = SearchQuery { vector: Some(vector("two", 1.0)), ..query.clone() };
        assert!(matches!(cursor.skip(&other_model), Err(SearchError::BadCursor)));
        assert_eq!(Cursor::after(&query, MAX_DEPTH), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_or_reach_too_deep(text in ".{0,40}", bytes: [u8; 13]) {
            let _ = text.parse::<Cursor>();
            if let Ok(cursor) = URL_SAFE_NO_PAD.encode(bytes).parse::<Cursor>() {
                proptest::prop_assert!((cursor.skip as usize) < MAX_DEPTH);
            }
        }
    }
}
