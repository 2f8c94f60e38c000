//! What is asked of an index, and what it answers.

use event_schemas::{ChannelId, Millis, Timestamp, VideoId};

use crate::{Cursor, DenseVector, Fusion, Language, MAX_DEPTH, MAX_LIMIT, MAX_QUERY_CHARS, SearchError};

/// Which videos a search is about. A video that lacks what a condition asks for does not meet it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filter {
    /// Only videos of this channel.
    pub channel: Option<ChannelId>,
    /// Only videos in this language.
    pub language: Option<Language>,
    /// Only videos published at this time or later.
    pub published_from: Option<Timestamp>,
    /// Only videos published before this time.
    pub published_before: Option<Timestamp>,
    /// Only videos of this length or longer.
    pub min_duration: Option<Millis>,
    /// Only videos of this length or shorter.
    pub max_duration: Option<Millis>,
}

/// What a [`Filter`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The channel.
    pub channel: ChannelId,
    /// The language.
    pub language: Option<Language>,
    /// When it was published.
    pub published_at: Option<Timestamp>,
    /// The length.
    pub duration: Option<Millis>,
}

impl Filter {
    /// Whether a video of which `facts` are true meets every condition.
    #[must_use]
    pub fn admits(&self, facts: &Facts) -> bool {
        let published = facts.published_at.map(Timestamp::as_millis);
        self.channel.is_none_or(|channel| channel == facts.channel)
            && self.language.is_none_or(|language| facts.language == Some(language))
            && self.published_from.is_none_or(|from| published.is_some_and(|at| at >= from.as_millis()))
            && self.published_before.is_none_or(|before| published.is_some_and(|at| at < before.as_millis()))
            && self.min_duration.is_none_or(|min| facts.duration.is_some_and(|long| long >= min))
            && self.max_duration.is_none_or(|max| facts.duration.is_some_and(|long| long <= max))
    }
}

/// A search.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SearchQuery {
    /// What a person typed: words, never a query language.
    pub text: String,
    /// What the text means. Without it, the search goes by words alone.
    pub vector: Option<DenseVector>,
    /// Which videos it is about.
    pub filter: Filter,
    /// How words and meaning are weighed against each other.
    pub fusion: Fusion,
    /// Hits wanted, 1 to [`MAX_LIMIT`]; 0 is taken as 1.
    pub limit: usize,
    /// Where the page before ended; none for the first.
    pub cursor: Option<Cursor>,
}

/// The part of a ranking that makes a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Hits before it.
    pub skip: usize,
    /// Hits in it.
    pub limit: usize,
}

impl SearchQuery {
    /// The part of the ranking that is asked for. Every back end begins with this.
    ///
    /// # Errors
    /// [`SearchError::TooLong`], [`SearchError::BadCursor`].
    pub fn window(&self) -> Result<Window, SearchError> {
        let length = self.text.chars().count();
        if length > MAX_QUERY_CHARS {
            return Err(SearchError::TooLong(length));
        }
        let skip = self.cursor.map_or(Ok(0), |cursor| cursor.skip(self))?;
        Ok(Window { skip, limit: self.limit.clamp(1, MAX_LIMIT).min(MAX_DEPTH - skip) })
    }

    /// The page with `hits` in `window` of `total` matches. Every back end ends with this.
    #[must_use]
    pub fn page(&self, window: Window, hits: Vec<Hit>, total: usize, fused: bool) -> SearchPage {
        let end = window.skip + hits.len();
        let next = if end < total && !hits.is_empty() { Cursor::after(self, end) } else { None };
        SearchPage { hits, next, total, fused }
    }
}

/// One result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The video.
    pub video: VideoId,
    /// How well it fits; comparable within one search only.
    pub score: f32,
}

/// One page of results.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SearchPage {
    /// The best first.
    pub hits: Vec<Hit>,
    /// Asks for the next page; none on the last.
    pub next: Option<Cursor>,
    /// The number of videos that match at all: exact up to [`MAX_DEPTH`], at least that beyond.
    pub total: usize,
    /// Whether the vector of the query took part. Without it the search went by words alone.
    pub fused: bool,
}

/// How hits of one score are ordered: the newest first, then by a number that is arbitrary but
/// always the same. Greater is earlier.
#[must_use]
pub fn tie_order(video: VideoId, published_at: Option<Timestamp>) -> (i64, u64) {
    (published_at.map_or(0, Timestamp::as_millis), video.as_uuid().as_u64_pair().1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_admits_what_meets_every_condition() {
        let channel = ChannelId::generate();
        let facts = Facts {
            channel,
            language: Some("en".parse().unwrap()),
            published_at: Some(Timestamp::from_millis(10)),
            duration: Some(Millis(100)),
        };
        let at = |millis| Some(Timestamp::from_millis(millis));
        let cases = [
            (Filter::default(), true),
            (Filter { channel: Some(channel), ..Filter::default() }, true),
            (Filter { channel: Some(ChannelId::generate()), ..Filter::default() }, false),
            (Filter { language: Some("EN-gb".parse().unwrap()), ..Filter::default() }, true),
            (Filter { language: Some("de".parse().unwrap()), ..Filter::default() }, false),
            (Filter { published_from: at(10), ..Filter::default() }, true),
            (Filter { published_from: at(11), ..Filter::default() }, false),
            (Filter { published_before: at(11), ..Filter::default() }, true),
            (Filter { published_before: at(10), ..Filter::default() }, false),
            (Filter { min_duration: Some(Millis(100)), max_duration: Some(Millis(100)), ..Filter::default() }, true),
            (Filter { min_duration: Some(Millis(101)), ..Filter::default() }, false),
            (Filter { max_duration: Some(Millis(99)), ..Filter::default() }, false),
        ];
        for (filter, admits) in cases {
            assert_eq!(filter.admits(&facts), admits, "{filter:?}");
        }
        let bare = Facts { language: None, published_at: None, duration: None, ..facts };
        for filter in [
            Filter { language: Some("en".parse().unwrap()), ..Filter::default() },
            Filter { published_before: at(11), ..Filter::default() },
            Filter { max_duration: Some(Millis(99)), ..Filter::default() },
        ] {
            assert!(!filter.admits(&bare), "{filter:?}");
        }
        assert!(Filter { channel: Some(channel), ..Filter::default() }.admits(&bare));
    }
}
