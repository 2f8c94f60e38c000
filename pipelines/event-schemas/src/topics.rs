//! The topics of the log and positions in them.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A named stream of records. See `docs/design/08-messaging.md` for keys and record types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Key: video id. An upload completed or was aborted.
    Uploads,
    /// Key: video id. Progress of transcoding.
    Transcodes,
    /// Key: video id. A video's full public state; the latest version wins.
    Videos,
    /// Key: viewer id. Arrow batches of playback events.
    Playback,
    /// Key: viewer id. One qualified view.
    Views,
}

impl Topic {
    /// Every topic, in the order of the flow.
    pub const ALL: [Self; 5] = [Self::Uploads, Self::Transcodes, Self::Videos, Self::Playback, Self::Views];

    /// The name in the log, such as `playback`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uploads => "uploads",
            Self::Transcodes => "transcodes",
            Self::Videos => "videos",
            Self::Playback => "playback",
            Self::Views => "views",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No topic has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a topic: uploads, transcodes, videos, playback or views")]
pub struct UnknownTopic(pub String);

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Self, UnknownTopic> {
        Self::ALL.into_iter().find(|topic| topic.name() == text).ok_or_else(|| UnknownTopic(text.to_owned()))
    }
}

/// The number of a partition within its topic, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Partition {
    /// The partition of `key` among `count`: the first eight bytes of its BLAKE3 hash, modulo
    /// `count`. The same in every process and for ever.
    #[must_use]
    pub fn of_key(key: &[u8], count: u32) -> Self {
        let hash = blake3::hash(key);
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        let slot = u64::from_le_bytes(first) % u64::from(count.max(1));
        Self(u32::try_from(slot).unwrap_or(0))
    }
}

/// The position of a record in its partition, from 0. "Next offset" means the first not yet
/// taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What a figure has taken into account: the next offset of each partition of a topic. A
/// missing partition stands at 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OffsetVector(pub BTreeMap<Partition, Offset>);

impl OffsetVector {
    /// The next offset of `partition`.
    #[must_use]
    pub fn get(&self, partition: Partition) -> Offset {
        self.0.get(&partition).copied().unwrap_or_default()
    }

    /// The vector of a single partition.
    #[must_use]
    pub fn single(partition: Partition, next: Offset) -> Self {
        Self(BTreeMap::from([(partition, next)]))
    }

    /// True if this vector has taken into account everything that `other` has.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(partition, next)| self.get(*partition) >= *next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covering_is_a_partial_order() {
        let a = OffsetVector(BTreeMap::from([(Partition(0), Offset(3)), (Partition(1), Offset(1))]));
        let b = OffsetVector(BTreeMap::from([(Partition(0), Offset(2)), (Partition(2), Offset(1))]));
        assert!(!a.covers(&b) && !b.covers(&a));
        assert!(a.covers(&a) && a.covers(&OffsetVector::default()));
    }

    #[test]
    fn a_key_always_has_the_same_partition() {
        // Pinned: changing this function would send a viewer's events to another partition.
        assert_eq!(Partition::of_key(b"viewer", 4), Partition::of_key(b"viewer", 4));
        let spread: std::collections::BTreeSet<_> =
            (0..64u32).map(|n| Partition::of_key(&n.to_le_bytes(), 4)).collect();
        assert_eq!(spread.len(), 4);
    }
}
