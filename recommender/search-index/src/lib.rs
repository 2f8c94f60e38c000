//! The search seam: full-text search over listed videos, and videos similar in text.
//!
//! [`SearchIndex`] states what every back end guarantees; [`EmbeddedIndex`] keeps it on one
//! machine's disk with tantivy. The index stage writes from the `videos` topic, the playback API
//! and the recommender read. The index can be rebuilt from the topic.

mod cursor;
mod embedded;
mod error;
mod query;
mod schema;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod failing;

use async_trait::async_trait;
use event_schemas::{ChannelId, Millis, Offset, Partition, Timestamp, VideoId};

pub use cursor::Cursor;
pub use embedded::{EmbeddedIndex, Opened};
pub use error::SearchError;

/// The longest search text taken, in characters.
pub const MAX_QUERY_CHARS: usize = 500;

/// The most hits one page holds; a larger limit is taken as this.
pub const MAX_LIMIT: usize = 100;

/// How deep the pages reach: a page that would end beyond this many hits is the last.
pub const MAX_DEPTH: usize = 2_000;

/// A video as the index knows it. Only listed videos are ever put in; the index stage decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexDocument {
    /// The video.
    pub video_id: VideoId,
    /// The version of the video's record; the highest wins.
    pub version: i64,
    /// The title.
    pub title: String,
    /// The description.
    pub description: String,
    /// The tags.
    pub tags: Vec<String>,
    /// Where the video appears.
    pub channel_id: ChannelId,
    /// The channel's name as shown.
    pub channel_name: String,
    /// When it was published; newer comes first among equals.
    pub published_at: Option<Timestamp>,
    /// Its length, once known.
    pub duration: Option<Millis>,
}

/// One change of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The video is to be found as the document says.
    Upsert(IndexDocument),
    /// The video is not to be found any more.
    Remove {
        /// The video.
        video_id: VideoId,
        /// The version of the record that took it away.
        version: i64,
    },
}

impl Change {
    /// The video that changes.
    #[must_use]
    pub const fn video_id(&self) -> VideoId {
        match self {
            Self::Upsert(document) => document.video_id,
            Self::Remove { video_id, .. } => *video_id,
        }
    }

    /// The version of the record behind the change.
    #[must_use]
    pub const fn version(&self) -> i64 {
        match self {
            Self::Upsert(document) => document.version,
            Self::Remove { version, .. } => *version,
        }
    }
}

/// How far a partition of the `videos` topic has been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// The life of the log that the offset counts in.
    pub generation: u64,
    /// The first offset not yet applied.
    pub next: Offset,
}

/// What a batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Changes that took effect.
    pub changed: usize,
    /// Changes ignored, since the index has the same or a later version of that video.
    pub stale: usize,
}

/// A search.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchQuery {
    /// What a person typed: words, never a query language.
    pub text: String,
    /// Only videos of this channel.
    pub channel: Option<ChannelId>,
    /// Hits wanted, 1 to [`MAX_LIMIT`]; 0 is taken as 1.
    pub limit: usize,
    /// Where the page before ended; none for the first.
    pub cursor: Option<Cursor>,
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
    /// The number of videos that match at all.
    pub total: usize,
}

/// An index of listed videos.
///
/// # Guarantees
/// * **The latest version wins**, whatever the order of arrival and however often: a change takes
///   effect only if its version is higher than the highest applied for that video, and a removal
///   counts like any other version, so that an older upsert never brings a removed video back.
/// * **Content and position are one**: a batch and its position become durable together, or the
///   position stays behind; it is never ahead of the content. After any error the batch may be
///   applied again as a whole.
/// * **Visible at once**: when `apply` has resolved, searches that begin later see it (a remote
///   back end: within one second).
/// * **Words are words**: no text can be an error but for its length, and none is parsed as query
///   syntax. Every word is optional, more and better matches rank higher; a word of four letters
///   or more may have one letter wrong, of eight or more two; the last word may be unfinished.
///   The title weighs most, then tags, channel and description.
/// * **Pages**: while the index does not change, the pages of a search neither repeat nor skip a
///   video. Changes in between may move videos across a border.
#[async_trait]
pub trait SearchIndex: Send + Sync + 'static {
    /// Applies `changes` and, with them, records that `position` has been reached.
    ///
    /// # Errors
    /// A failing disk or server; nothing or all of it was applied.
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

    /// The videos that match, the best first. A text without words matches nothing.
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

    /// Whether the index answers, for readiness.
    ///
    /// # Errors
    /// What stands in the way.
    async fn check(&self) -> Result<(), SearchError>;
}
