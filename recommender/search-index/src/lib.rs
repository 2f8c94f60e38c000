//! The search seam: search over listed videos by words and by meaning, and videos similar in text.
//!
//! [`SearchIndex`] states what every back end guarantees, [`RebuildIndex`] how one is built anew
//! beside the live one; [`EmbeddedIndex`] keeps both on one machine's disk with tantivy. The index
//! stage writes from the `videos` topic, the playback API and the recommender read. The index can
//! be rebuilt from the catalog.

mod cursor;
mod dense;
mod document;
mod embedded;
mod error;
pub mod fusion;
mod search;
pub mod text;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod failing;

use std::sync::Arc;

use async_trait::async_trait;
use event_schemas::{Partition, VideoId};

pub use cursor::Cursor;
pub use dense::{DenseSpace, DenseVector, MAX_DIMENSIONS};
pub use document::{Applied, Change, IndexDocument, Language, Position, Precedence, latest};
pub use embedded::{EmbeddedIndex, Opened};
pub use error::SearchError;
pub use fusion::Fusion;
pub use search::{Facts, Filter, Hit, SearchPage, SearchQuery, Window, tie_order};

/// The longest search text taken, in characters.
pub const MAX_QUERY_CHARS: usize = 500;

/// The most hits one page holds; a larger limit is taken as this.
pub const MAX_LIMIT: usize = 100;

/// How deep the pages reach: a page that would end beyond this many hits is the last.
pub const MAX_DEPTH: usize = 2_000;

/// An index of listed videos.
///
/// # Guarantees
/// * **The latest version wins**, whatever the order of arrival and however often: a change takes
///   effect only if its version is higher than the highest applied for that video, and a removal
///   counts like any other version, so that an older upsert never brings a removed video back. In
///   the same version, a document with more vectors replaces one with fewer; see [`Precedence`].
/// * **Content and position are one**: a batch and its position become durable together, or the
///   position stays behind; it is never ahead of the content. After any error the batch may be
///   applied again as a whole.
/// * **Visible at once**: when `apply` has resolved, searches that begin later see it (a remote
///   back end: within one second).
/// * **Words are words**: no text can be an error but for its length, and none is parsed as query
///   syntax. Every word is optional, more and better matches rank higher; a word of four letters
///   or more may have one letter wrong, of eight or more two (two neighbours swapped are one); the
///   last word may be unfinished. The title weighs most, then tags, channel and description.
/// * **Meaning**: a query with a vector ranks by reciprocal rank fusion of two lists: the videos
///   that the words find, down to [`MAX_DEPTH`], and the [`fusion::DENSE_DEPTH`] videos whose
///   vectors are closest. Both obey the filter. A vector of a space that the index does not hold
///   is never compared with others: such a search goes by words, and says so.
/// * **Pages**: while the index does not change, the pages of a search neither repeat nor skip a
///   video, and equal scores stand in the same order: the newest first. Changes in between may
///   move videos across a border. The pages of a fused search end with the union of its lists.
///
/// # Where back ends may differ
/// The same videos are found for the same words, and the clearly better stand before the clearly
/// worse; scores are a back end's own, and so is the order of videos that fit about equally. A
/// remote back end may look up fewer spellings of a mistyped word, compare vectors approximately,
/// and order equal scores *inside* the two lists of a fused search as it likes. What the suite
/// `conformance::agreement` allows is stated there.
#[async_trait]
pub trait SearchIndex: Send + Sync + 'static {
    /// Applies `changes` and, with them, records that `position` has been reached.
    ///
    /// # Errors
    /// A failing disk or server. The position has not moved, unless the answer alone was lost;
    /// on one machine nothing or all of the changes took effect, on a remote back end any of them.
    async fn apply(
        &self,
        changes: Vec<Change>,
        position: Option<(Partition, Position)>,
    ) -> Result<Applied, SearchError>;

    /// How far `partition` of the `videos` topic has been applied; none for a fresh index.
    ///
    /// # Errors
    /// A failing disk or server.
    async fn position(&self, partition: Partition) -> Result<Option<Position>, SearchError>;

    /// The videos that match, the best first. A text without words matches nothing by itself.
    ///
    /// # Errors
    /// [`SearchError::TooLong`], [`SearchError::BadCursor`]; a failing disk or server.
    async fn search(&self, query: &SearchQuery) -> Result<SearchPage, SearchError>;

    /// Up to `limit` videos whose text is closest to that of `video`, itself left out; empty if
    /// it is not in the index.
    ///
    /// # Errors
    /// A failing disk or server.
    async fn similar(&self, video: VideoId, limit: usize) -> Result<Vec<Hit>, SearchError>;

    /// Up to `limit` videos whose text is closest to `text`, however long that is.
    ///
    /// # Errors
    /// A failing disk or server.
    async fn similar_to_text(&self, text: &str, limit: usize) -> Result<Vec<Hit>, SearchError>;

    /// The number of videos that can be found.
    ///
    /// # Errors
    /// A failing disk or server.
    async fn document_count(&self) -> Result<u64, SearchError>;

    /// The dense spaces that the index holds, in the order of their names: vectors of others are
    /// left out of documents and queries. It changes when a rebuild is finished.
    ///
    /// # Errors
    /// A failing disk or server.
    async fn spaces(&self) -> Result<Vec<DenseSpace>, SearchError>;

    /// Whether the index answers, for readiness.
    ///
    /// # Errors
    /// What stands in the way.
    async fn check(&self) -> Result<(), SearchError>;
}

/// Building an index anew beside the live one, for another embedding model or after damage,
/// without an hour in which nothing is found.
///
/// # Guarantees
/// * What is applied to the live index after `begin_rebuild` has resolved is applied to the new
///   one too, also by other processes on the same back end. So whoever begins, then puts in what
///   the catalog lists, then finishes, has missed nothing: a change is in the catalog before it
///   is on the topic.
/// * The new index begins with the live one's positions; nothing reads them before it is live.
/// * The switch is atomic: every search sees the old index or the new one, and a crash leaves one
///   of them live.
#[async_trait]
pub trait RebuildIndex: SearchIndex {
    /// Begins a new index that holds `spaces`; one unfinished before is dropped. The new index is
    /// written through what is returned.
    ///
    /// # Errors
    /// Two spaces of one kind; a failing disk or server.
    async fn begin_rebuild(&self, spaces: Vec<DenseSpace>) -> Result<Arc<dyn SearchIndex>, SearchError>;

    /// Puts the new index into the place of the live one and drops the old.
    ///
    /// # Errors
    /// [`SearchError::NoRebuild`]; a failing disk or server.
    async fn finish_rebuild(&self) -> Result<(), SearchError>;

    /// Drops the new index, if there is one.
    ///
    /// # Errors
    /// A failing disk or server.
    async fn abandon_rebuild(&self) -> Result<(), SearchError>;
}

/// `spaces` in the order of their names.
///
/// # Errors
/// [`SearchError::BadVector`] if two have one name.
pub fn ordered_spaces(mut spaces: Vec<DenseSpace>) -> Result<Vec<DenseSpace>, SearchError> {
    spaces.sort();
    match spaces.windows(2).find(|pair| pair[0].name() == pair[1].name()) {
        None => Ok(spaces),
        Some(pair) => Err(SearchError::BadVector(format!("two spaces are named {}", pair[0].name()))),
    }
}
