//! What is put into an index: documents and changes of them.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    str::FromStr,
};

use event_schemas::{ChannelId, Millis, Offset, Timestamp, VideoId};

use crate::{DenseVector, SearchError};

/// A language, as the first part of its BCP 47 tag: two or three letters, lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Language([u8; 3]);

impl FromStr for Language {
    type Err = SearchError;

    /// Takes whole tags too: `pt-BR` is `pt`.
    fn from_str(tag: &str) -> Result<Self, SearchError> {
        let first = tag.split(['-', '_']).next().unwrap_or_default().as_bytes();
        if !(2..=3).contains(&first.len()) || !first.iter().all(u8::is_ascii_alphabetic) {
            return Err(SearchError::BadLanguage(tag.chars().take(40).collect()));
        }
        let mut letters = [0; 3];
        for (to, from) in letters.iter_mut().zip(first) {
            *to = from.to_ascii_lowercase();
        }
        Ok(Self(letters))
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.iter().filter(|letter| **letter != 0) {
            fmt::Write::write_char(f, char::from(*letter))?;
        }
        Ok(())
    }
}

/// A video as the index knows it. Only listed videos are ever put in; the index stage decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexDocument {
    /// The video.
    pub video_id: VideoId,
    /// The version of the video's record; the highest wins. Between -2⁵³ and 2⁵³.
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
    /// The language it is in, once known.
    pub language: Option<Language>,
    /// When it was published; newer comes first among equals.
    pub published_at: Option<Timestamp>,
    /// Its length, once known.
    pub duration: Option<Millis>,
    /// What it means, at most once in each dense space. One of a space that the index does not
    /// hold is left out.
    pub vectors: Vec<DenseVector>,
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

/// What decides between two changes of one video: the higher takes effect.
///
/// The version first. In the same version a removal is final, and a document with more vectors
/// completes one with fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    /// The version of the record.
    pub version: i64,
    /// The number of vectors kept of a document; [`Precedence::REMOVED`] of a removal.
    pub vectors: i64,
}

impl Precedence {
    /// More vectors than a document can have.
    pub const REMOVED: i64 = 1 << 20;

    /// The precedence of `change` in an index for which `held` tells the vectors that it keeps.
    #[must_use]
    pub fn of(change: &Change, held: impl Fn(&DenseVector) -> bool) -> Self {
        let vectors = match change {
            Change::Upsert(document) => document.vectors.iter().filter(|vector| held(vector)).count() as i64,
            Change::Remove { .. } => Self::REMOVED,
        };
        Self { version: change.version(), vectors }
    }
}

/// Of each video the change that takes effect in the end, by `precedence`, in no particular order,
/// and how many others there were.
#[must_use]
pub fn latest(changes: Vec<Change>, precedence: impl Fn(&Change) -> Precedence) -> (Vec<(Precedence, Change)>, usize) {
    let all = changes.len();
    let mut latest: HashMap<VideoId, (Precedence, Change)> = HashMap::with_capacity(all);
    for change in changes {
        let precedence = precedence(&change);
        match latest.entry(change.video_id()) {
            Entry::Vacant(free) => {
                free.insert((precedence, change));
            }
            Entry::Occupied(mut there) if there.get().0 < precedence => {
                there.insert((precedence, change));
            }
            Entry::Occupied(_) => {}
        }
    }
    let others = all - latest.len();
    (latest.into_values().collect(), others)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_the_first_part_of_its_tag() {
        for (tag, language) in [("en", "en"), ("pt-BR", "pt"), ("EN_us", "en"), ("yue", "yue"), ("zh-Hans-CN", "zh")] {
            assert_eq!(tag.parse::<Language>().unwrap().to_string(), language);
        }
        for tag in ["", "e", "english", "-en", "1a", "é", "e\0"] {
            assert!(tag.parse::<Language>().is_err(), "{tag}");
        }
    }
}
