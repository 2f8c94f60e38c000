//! Typed identifiers. Each is parsed once, at the edge; inside, an id of one kind can't be
//! passed for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text was not an identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a {kind} id: {expected}")]
pub struct InvalidId {
    /// What was given, cut to 64 characters.
    pub value: String,
    /// The kind of id wanted, such as `video`.
    pub kind: &'static str,
    /// The form that would have been right.
    pub expected: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, format = "uuid")]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, ordered by the time it was made (UUID version 7, RFC 9562).
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id made of these 128 bits.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The 128 bits.
            #[must_use]
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($kind, ":{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId {
                    value: text.chars().take(64).collect(),
                    kind: $kind,
                    expected: "a UUID such as 0193a6f0-5f6c-7d3e-9c41-6f2b8a9d0e11",
                })
            }
        }
    };
}

uuid_id!(/// A person or program that signs in.
    AccountId, "account");
uuid_id!(/// Where an account's videos appear; every account has one.
    ChannelId, "channel");
uuid_id!(/// A video, from the creation of its upload to its deletion.
    VideoId, "video");
uuid_id!(/// One resumable upload.
    UploadId, "upload");
uuid_id!(/// One unit of background work.
    JobId, "job");
uuid_id!(/// One playback of one video in one player.
    SessionId, "session");
uuid_id!(/// One producer of log records: a process's data directory.
    ProducerId, "producer");

/// Who watched: 128 bits derived at the edge, written as 32 hexadecimal digits. It is never an
/// address and can't be turned back into one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewerId([u8; 16]);

impl ViewerId {
    /// The viewer of these 128 bits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 128 bits.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A viewer id derived from `parts`, each prefixed by its length so that no two lists of
    /// parts give the same input.
    #[must_use]
    pub fn derive(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(bytes)
    }
}

impl fmt::Display for ViewerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ViewerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "viewer:{self}")
    }
}

impl FromStr for ViewerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid =
            || InvalidId { value: text.chars().take(64).collect(), kind: "viewer", expected: "32 hexadecimal digits" };
        if text.len() != 32 || !text.is_ascii() {
            return Err(invalid());
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| invalid())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for ViewerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ViewerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The identity of an event for deduplication: 128 bits hashed from its session and its number
/// in that session.
#[must_use]
pub fn event_id(session: SessionId, seq: u32) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(session.as_uuid().as_bytes());
    hasher.update(&seq.to_le_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_id_reads_back_what_it_prints() {
        let viewer = ViewerId::derive(&[b"account", b"x"]);
        assert_eq!(viewer.to_string().parse::<ViewerId>(), Ok(viewer));
        assert!("zz".parse::<ViewerId>().is_err());
        assert!("é".repeat(16).parse::<ViewerId>().is_err());
    }

    #[test]
    fn parts_are_delimited() {
        assert_ne!(ViewerId::derive(&[b"ab", b"c"]), ViewerId::derive(&[b"a", b"bc"]));
    }

    #[test]
    fn an_invalid_id_says_what_was_wanted() {
        let error = "nope".parse::<VideoId>().unwrap_err();
        assert!(error.to_string().contains("`nope` is not a video id"), "{error}");
    }
}
