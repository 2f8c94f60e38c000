//! The layout: which key holds what. Everything begins with the prefix and one letter.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `v:<key>` | hash | `v` a value, `o` its offsets |
//! | `r:{<ranking>}` | sorted set | `#<offsets>` first, then `=<member>` by negated score |
//! | `t:{<ranking>}:<random>` | sorted set | a ranking being written; expires in a minute |
//! | `l:<burst>/<ms>:<shard>` | sorted set | when each rate-limit bucket will be full again; expires |
//! | `k:<key>` | string | a cached value; expires |
//! | `h:<key>` | string | the holder of a lease; expires |
//! | `c:<database>:<channel>` | channel | messages, kept apart by database as Redis does not |
//!
//! A ranking and the place it is staged at share a hash tag, so every script's keys are in one
//! slot of a cluster.

use event_schemas::Partition;
use serving_store::Quota;

/// Rate-limit buckets of a quota are spread over so many sorted sets.
pub(crate) const SHARDS: u32 = 16;

/// The patterns of what `clear` forgets.
pub(crate) const REBUILT: [&str; 3] = ["v:", "r:", "k:"];

/// Names keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
    channels: String,
}

impl Keys {
    /// None if `prefix` could be the beginning of somebody else's or has characters of a pattern:
    /// it is a name and one colon.
    pub(crate) fn new(prefix: &str, database: i64) -> Option<Self> {
        let name = prefix.strip_suffix(':')?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        ((1..=64).contains(&name.len()) && name.chars().all(plain))
            .then(|| Self { prefix: prefix.to_owned(), channels: format!("{prefix}c:{database}:") })
    }

    pub(crate) fn value(&self, key: &str) -> String {
        format!("{}v:{key}", self.prefix)
    }

    pub(crate) fn ranking(&self, ranking: &str) -> String {
        format!("{}r:{{{ranking}}}", self.prefix)
    }

    pub(crate) fn staged(&self, ranking: &str) -> String {
        format!("{}t:{{{ranking}}}:{}", self.prefix, uuid::Uuid::new_v4().simple())
    }

    pub(crate) fn limits(&self, bucket: &str, quota: Quota) -> String {
        let shard = Partition::of_key(bucket.as_bytes(), SHARDS);
        format!("{}l:{}/{}:{shard}", self.prefix, quota.burst, quota.per.0)
    }

    pub(crate) fn cached(&self, key: &str) -> String {
        format!("{}k:{key}", self.prefix)
    }

    pub(crate) fn lease(&self, key: &str) -> String {
        format!("{}h:{key}", self.prefix)
    }

    pub(crate) fn channel(&self, channel: &str) -> String {
        format!("{}{channel}", self.channels)
    }

    /// The channel that this name stands for.
    pub(crate) fn channel_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&self.channels)
    }

    /// The beginning of the keys of one kind.
    pub(crate) fn kind(&self, letter: &str) -> String {
        format!("{}{letter}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_name_and_a_colon() {
        for good in ["millrace:", "a.b_c-9:"] {
            assert!(Keys::new(good, 0).is_some(), "{good}");
        }
        let long = format!("{}:", "x".repeat(65));
        for bad in ["", ":", "millrace", "a:b:", "a*:", "a[b]:", "a?:", "ü:", "a b:", &long] {
            assert!(Keys::new(bad, 0).is_none(), "{bad}");
        }
    }

    #[test]
    fn channels_know_their_database() {
        let keys = Keys::new("m:", 3).unwrap();
        assert_eq!(keys.channel("videos/1"), "m:c:3:videos/1");
        assert_eq!(keys.channel_of("m:c:3:videos/1"), Some("videos/1"));
        assert_eq!(keys.channel_of("m:c:30:videos/1"), None);
    }
}
