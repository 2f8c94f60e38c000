//! The records of every topic but `playback`: JSON with a version, pinned by golden files in
//! `tests/golden/`.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    ids::{AccountId, ChannelId, SessionId, UploadId, VideoId, ViewerId},
    units::{Millis, Timestamp},
};

/// What an envelope's payload is. Numbers are never used again for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum SchemaId {
    /// [`UploadRecord`] as JSON.
    Upload = 1,
    /// [`TranscodeRecord`] as JSON.
    Transcode = 2,
    /// [`VideoRecord`] as JSON.
    Video = 3,
    /// An Arrow record batch of playback events; see [`crate::playback`].
    PlaybackBatch = 4,
    /// [`ViewRecord`] as JSON.
    View = 5,
    /// [`DeadLetter`] as JSON.
    DeadLetter = 6,
}

impl TryFrom<u16> for SchemaId {
    type Error = RecordError;

    fn try_from(id: u16) -> Result<Self, RecordError> {
        [Self::Upload, Self::Transcode, Self::Video, Self::PlaybackBatch, Self::View, Self::DeadLetter]
            .into_iter()
            .find(|known| *known as u16 == id)
            .ok_or(RecordError::UnknownSchema(id))
    }
}

/// A record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The envelope names a schema this program does not know.
    #[error("schema {0} is unknown to this program")]
    UnknownSchema(u16),
    /// The envelope names another schema than the topic carries.
    #[error("schema {found:?} where {expected:?} was expected")]
    WrongSchema {
        /// What the topic carries.
        expected: SchemaId,
        /// What came.
        found: SchemaId,
    },
    /// The payload is not JSON of the expected shape.
    #[error("the record is not valid JSON of its schema")]
    Json(#[from] serde_json::Error),
    /// The payload is not a readable Arrow batch.
    #[error("the record is not a readable Arrow batch: {0}")]
    Arrow(String),
}

/// A record that travels as JSON under its own schema id.
pub trait JsonRecord: Serialize + DeserializeOwned {
    /// Its schema.
    const SCHEMA: SchemaId;

    /// The payload bytes.
    ///
    /// # Errors
    /// A value that JSON can't express; no record of this module has one.
    fn to_payload(&self) -> Result<bytes::Bytes, RecordError> {
        Ok(serde_json::to_vec(self)?.into())
    }

    /// Reads the payload of an envelope.
    ///
    /// # Errors
    /// Another schema, or JSON that does not fit.
    fn from_envelope(envelope: &crate::Envelope) -> Result<Self, RecordError> {
        let found = SchemaId::try_from(envelope.schema)?;
        if found != Self::SCHEMA {
            return Err(RecordError::WrongSchema { expected: Self::SCHEMA, found });
        }
        Ok(serde_json::from_slice(&envelope.payload)?)
    }
}

macro_rules! json_record {
    ($type:ty, $schema:expr) => {
        impl JsonRecord for $type {
            const SCHEMA: SchemaId = $schema;
        }
    };
}
json_record!(UploadRecord, SchemaId::Upload);
json_record!(TranscodeRecord, SchemaId::Transcode);
json_record!(VideoRecord, SchemaId::Video);
json_record!(ViewRecord, SchemaId::View);
json_record!(DeadLetter, SchemaId::DeadLetter);

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The text used in JSON, SQL and the lake.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value of this text, if there is one.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use text_enum;

text_enum! {
    /// How far the bytes of a video have come.
    UploadState {
        /// Bytes are still arriving.
        Receiving = "receiving",
        /// Every byte is durable.
        Complete = "complete",
        /// Given up by its owner, or expired.
        Aborted = "aborted",
    }
}

text_enum! {
    /// How far a video can be played.
    PlaybackState {
        /// Nothing to play yet.
        None = "none",
        /// Playing from 0 at normal speed will not stall for want of segments.
        Playable = "playable",
        /// All renditions are complete.
        Ready = "ready",
        /// Transcoding gave up; the video carries a reason for its owner.
        Failed = "failed",
    }
}

text_enum! {
    /// Who may see a video.
    Visibility {
        /// Everyone; listed, searchable, recommended.
        Public = "public",
        /// Whoever has the address; listed nowhere.
        Unlisted = "unlisted",
        /// Its owner only.
        Private = "private",
    }
}

/// Topic `uploads`: what became of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// The version of this shape: 1.
    pub v: u8,
    /// The video it is the source of.
    pub video_id: VideoId,
    /// The upload.
    pub upload_id: UploadId,
    /// Complete or aborted.
    pub state: UploadState,
    /// The size of the source in bytes.
    pub bytes: u64,
    /// When it happened.
    pub at: Timestamp,
}

/// Topic `transcodes`: one step of a video's transcoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscodeRecord {
    /// The version of this shape: 1.
    pub v: u8,
    /// The video.
    pub video_id: VideoId,
    /// The lease epoch of the worker that says so; a lower one than seen before is void.
    pub epoch: u64,
    /// What happened.
    pub step: TranscodeStep,
    /// When it happened.
    pub at: Timestamp,
}

/// A step of a video's transcoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TranscodeStep {
    /// So much of the source has been encoded.
    Progress {
        /// 0 to 100.
        percent: u8,
    },
    /// One rendition is complete.
    RenditionReady {
        /// Its name, such as `720p`.
        name: String,
    },
    /// The video can be played from its start.
    Playable,
    /// All renditions are complete.
    Ready {
        /// The length of the video.
        duration: Millis,
    },
    /// Transcoding gave up.
    Failed {
        /// What its owner can read.
        reason: String,
    },
}

/// Topic `videos`: a video's full public state. The highest `version` wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoRecord {
    /// The version of this shape: 1.
    pub v: u8,
    /// The video.
    pub video_id: VideoId,
    /// Rises with every change of the video.
    pub version: i64,
    /// True once the video is gone; the other fields then hold its last state.
    pub deleted: bool,
    /// Who owns it.
    pub owner: AccountId,
    /// Where it appears.
    pub channel_id: ChannelId,
    /// The channel's name as shown.
    pub channel_name: String,
    /// The title.
    pub title: String,
    /// The description.
    pub description: String,
    /// The tags.
    pub tags: Vec<String>,
    /// Who may see it.
    pub visibility: Visibility,
    /// How far its bytes have come.
    pub upload: UploadState,
    /// How far it can be played.
    pub playback: PlaybackState,
    /// Its length, once known.
    pub duration: Option<Millis>,
    /// When its upload began.
    pub created_at: Timestamp,
    /// When it first became playable.
    pub published_at: Option<Timestamp>,
}

impl VideoRecord {
    /// True if the video may appear in search, feeds and recommendations.
    #[must_use]
    pub const fn is_listed(&self) -> bool {
        !self.deleted
            && matches!(self.visibility, Visibility::Public)
            && matches!(self.upload, UploadState::Complete)
            && matches!(self.playback, PlaybackState::Playable | PlaybackState::Ready)
    }
}

/// Topic `views`: one qualified view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRecord {
    /// The version of this shape: 1.
    pub v: u8,
    /// The version of the view rule that counted it; see [`crate::rules::RULE_VERSION`].
    pub rule: u16,
    /// The video.
    pub video_id: VideoId,
    /// Who watched.
    pub viewer_id: ViewerId,
    /// In which playback.
    pub session_id: SessionId,
    /// The corrected time of the event that made it a view.
    pub event_ts: Timestamp,
    /// Added to the count: 1, or -1 to take back a view found false later.
    pub delta: i8,
}

/// A record that could not be processed, in topic `<topic>.dlq`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The version of this shape: 1.
    pub v: u8,
    /// The stage that gave up.
    pub stage: String,
    /// Why, in one line.
    pub reason: String,
    /// Tries made.
    pub attempts: u32,
    /// The partition it lay in.
    pub partition: u32,
    /// Its offset there.
    pub offset: u64,
    /// When the stage gave up.
    pub at: Timestamp,
    /// The whole stored record, as base64 (RFC 4648).
    pub record: String,
}
