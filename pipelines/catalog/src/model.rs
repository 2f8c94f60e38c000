//! The values that go into and come out of the catalog.

use event_schemas::{
    AccountId, ChannelId, JobId, Millis, Timestamp, UploadId, VideoId,
    records::{PlaybackState, UploadState, Visibility},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Someone who signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// The name to sign in with, as written at sign-up.
    pub login: String,
    /// The argon2id hash in PHC string form.
    pub password_hash: String,
    /// May do what operators may.
    pub is_admin: bool,
    /// Its channel.
    pub channel: Channel,
    /// When it signed up.
    pub created_at: Timestamp,
}

/// Where an account's videos appear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// The account that owns it.
    pub owner: AccountId,
    /// Unique, lower-case ASCII, in addresses.
    pub handle: String,
    /// As shown.
    pub name: String,
}

/// What [`crate::Catalog::create_account`] takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccount {
    /// The name to sign in with.
    pub login: String,
    /// The argon2id hash in PHC string form.
    pub password_hash: String,
    /// May do what operators may.
    pub is_admin: bool,
    /// Refuse unless there is no account yet; decided in the transaction that creates it.
    pub must_be_first: bool,
    /// The channel's handle.
    pub handle: String,
    /// The channel's name.
    pub name: String,
    /// The hash of an invitation's code to use up.
    pub invitation: Option<String>,
    /// When.
    pub now: Timestamp,
}

/// What kind of secret a credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// A browser's session cookie.
    Session,
    /// An API token.
    ApiToken,
}

/// A secret that stands for an account, stored by its hash only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id, shown in lists.
    pub id: Uuid,
    /// Hash of the secret.
    pub secret_hash: String,
    /// Whose.
    pub account: AccountId,
    /// Which kind.
    pub kind: CredentialKind,
    /// What its owner calls it.
    pub label: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; none for never.
    pub expires_at: Option<Timestamp>,
}

/// The place after a credential in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialCursor {
    /// `created_at` of the last credential seen.
    pub created_at: Timestamp,
    /// Its id.
    pub id: Uuid,
}

/// What [`crate::Catalog::create_upload`] takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUpload {
    /// The upload's id.
    pub id: UploadId,
    /// The video's id.
    pub video_id: VideoId,
    /// Who uploads.
    pub owner: AccountId,
    /// Its length in bytes; none while deferred.
    pub length: Option<u64>,
    /// The tus metadata as sent (RFC-less `Upload-Metadata` header), returned by HEAD.
    pub metadata: String,
    /// The file's name as sent.
    pub file_name: String,
    /// The video's title.
    pub title: String,
    /// The video's description.
    pub description: String,
    /// The video's tags.
    pub tags: Vec<String>,
    /// Who may see the video.
    pub visibility: Visibility,
    /// When.
    pub now: Timestamp,
    /// Collected after this instant unless bytes arrive.
    pub expires_at: Timestamp,
}

/// A resumable upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// The video it is the source of.
    pub video_id: VideoId,
    /// Who uploads.
    pub owner: AccountId,
    /// Its length in bytes; none while deferred.
    pub length: Option<u64>,
    /// Durable bytes, from the start.
    pub offset: u64,
    /// Its state.
    pub state: UploadState,
    /// The tus metadata as sent.
    pub metadata: String,
    /// The file's name as sent.
    pub file_name: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Collected after this instant unless bytes arrive.
    pub expires_at: Timestamp,
}

/// A durable piece of an upload: one immutable object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The byte of the upload it starts at.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
    /// The object's key in the object store.
    pub key: String,
}

impl Chunk {
    /// What the key of every chunk object of an upload begins with.
    #[must_use]
    pub fn prefix(upload: UploadId) -> String {
        format!("uploads/{upload}/")
    }
}

/// A deleted video whose objects are still to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedVideo {
    /// Its id.
    pub id: VideoId,
    /// The upload that was its source.
    pub upload_id: UploadId,
    /// When it was deleted.
    pub deleted_at: Timestamp,
}

/// A video with its channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Video {
    /// Its id.
    pub id: VideoId,
    /// Rises with every change.
    pub version: i64,
    /// Whose it is.
    pub owner: AccountId,
    /// Where it appears.
    pub channel: Channel,
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
    /// Why it failed, for its owner.
    pub failure: Option<String>,
    /// Encoding progress in percent.
    pub progress: u8,
    /// Its length, once known.
    pub duration: Option<Millis>,
    /// The source, once probed.
    pub source: Option<SourceInfo>,
    /// The poster's content-hashed file name.
    pub poster: Option<String>,
    /// When its upload was created.
    pub created_at: Timestamp,
    /// When it first became playable.
    pub published_at: Option<Timestamp>,
}

/// What a worker found out about a source; stored as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SourceInfo {
    /// Container format, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub format: String,
    /// Length.
    pub duration: Millis,
    /// Video codec, such as `h264`.
    pub video_codec: Option<String>,
    /// Audio codec, such as `aac`.
    pub audio_codec: Option<String>,
    /// Width in pixels as displayed.
    pub width: Option<u32>,
    /// Height in pixels as displayed.
    pub height: Option<u32>,
    /// Frames a second.
    pub frame_rate: Option<f64>,
}

/// Which videos a list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoFilter {
    /// Public, complete and playable or ready.
    Listed,
    /// Listed videos of one channel.
    ListedOfChannel(ChannelId),
    /// Every video of an owner but aborted ones.
    OfOwner(AccountId),
}

/// The place after a video in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoCursor {
    /// `created_at` of the last video seen.
    pub created_at: Timestamp,
    /// Its id.
    pub id: VideoId,
}

/// Changes to a video; what is none stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VideoEdit {
    /// Refuse unless the video has this version.
    pub expected_version: Option<i64>,
    /// New title.
    pub title: Option<String>,
    /// New description.
    pub description: Option<String>,
    /// New tags.
    pub tags: Option<Vec<String>>,
    /// New visibility.
    pub visibility: Option<Visibility>,
}

/// What kind of elementary stream a rendition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// What [`crate::Catalog::put_rendition`] takes.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRendition {
    /// Unique in the video, such as `720p` or `audio`.
    pub name: String,
    /// Pictures or sound.
    pub kind: TrackKind,
    /// RFC 6381 codecs string, such as `avc1.64001f`.
    pub codecs: String,
    /// Width in pixels; none for sound.
    pub width: Option<u32>,
    /// Height in pixels; none for sound.
    pub height: Option<u32>,
    /// Frames a second; none for sound.
    pub frame_rate: Option<f64>,
    /// The init segment.
    pub init: MediaFile,
}

/// One rendition of a video.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendition {
    /// Its description.
    pub info: NewRendition,
    /// True once all segments are there.
    pub complete: bool,
    /// Its segments, in order.
    pub segments: Vec<Segment>,
}

/// One media segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Its place, from 0.
    pub number: u32,
    /// Its length in microseconds of media.
    pub duration_us: i64,
    /// The object.
    pub file: MediaFile,
}

/// A content-hashed, immutable media object of a video; its key in the object store is
/// `media/<video id>/<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFile {
    /// `<hash>.<extension>`.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
}

impl MediaFile {
    /// Its key in the object store.
    #[must_use]
    pub fn key(&self, video: VideoId) -> String {
        format!("{}{}", Self::prefix(video), self.name)
    }

    /// What the key of every media object of a video begins with.
    #[must_use]
    pub fn prefix(video: VideoId) -> String {
        format!("media/{video}/")
    }
}

/// What kind of work a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Make a video's renditions.
    Transcode,
}

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Waiting to be leased.
    Queued,
    /// Leased; by another if the lease has run out.
    Leased,
    /// Finished.
    Done,
    /// Given up.
    Failed,
    /// Its video was deleted.
    Cancelled,
}

/// A unit of background work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Which kind.
    pub kind: JobKind,
    /// The video it is about.
    pub video_id: VideoId,
    /// Its state.
    pub state: JobState,
    /// Rises with every lease; the fence of all writes.
    pub epoch: u64,
    /// Leases so far, this one included.
    pub attempt: u32,
    /// Who leases it.
    pub owner: Option<String>,
    /// When the lease ends.
    pub leased_until: Option<Timestamp>,
}

/// What a finished transcode has made.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscodeResult {
    /// The length of the video.
    pub duration: Millis,
    /// The names of the renditions made under this epoch.
    pub renditions: Vec<String>,
    /// The poster.
    pub poster: Option<MediaFile>,
}

/// A named lease held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its name, such as `playback/3`.
    pub name: String,
    /// Who holds it.
    pub owner: String,
    /// The fence of all writes under it.
    pub epoch: u64,
    /// When it ends unless renewed.
    pub until: Timestamp,
}
