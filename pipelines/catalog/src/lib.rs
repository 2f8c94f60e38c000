//! The catalog seam: accounts, channels, videos, uploads, jobs, leases and the outbox.
//!
//! [`Catalog`] states what every back end guarantees. One implementation, `sql`, speaks one SQL
//! text to SQLite (embedded) and PostgreSQL (for many processes). The APIs and the stages hold
//! `Arc<dyn Catalog>`; only the binary's `bootstrap.rs` opens one.

#[cfg(feature = "conformance")]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test suite that other crates can run")]
pub mod conformance;
pub mod error;
#[cfg(feature = "conformance")]
pub mod failing;
pub mod model;
pub mod sql;
mod video_text;

use async_trait::async_trait;
use event_schemas::{AccountId, ChannelId, JobId, Millis, Timestamp, Topic, UploadId, VideoId};

pub use error::CatalogError;
pub use model::*;
pub use sql::{SqlCatalog, SqlOptions, sqlite_url};
pub use video_text::check_video_text;

type Result<T> = std::result::Result<T, CatalogError>;

/// How many rows the methods that return a whole list read at a time.
const PAGE: u32 = 1000;

/// The durable, transactional record of everything that is not an event.
///
/// # Guarantees
/// * **Durable and atomic**: a method that returns `Ok` has committed; one that returns an error
///   has changed nothing, save on [`CatalogError::is_unknown_outcome`].
/// * **Outbox**: a change that others must hear of writes its outbox row in the same transaction,
///   so either both exist or neither does.
/// * **Fencing**: a write made under a lease or a job carries its epoch and fails with
///   [`CatalogError::Fenced`] once a later epoch exists, having changed nothing.
/// * **Time**: instants come from the caller (its clock), never from the database.
/// * **Bounds**: a call ends in bounded time, by an error that may be tried again if the database is away;
///   a list has a limit and goes on after a key, or holds what is few by its nature.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    // --- accounts ---------------------------------------------------------------------------

    /// Creates an account and its channel. With an invitation, uses it up in the same
    /// transaction.
    ///
    /// # Errors
    /// [`CatalogError::Conflict`] naming `login` or `handle` if taken; [`CatalogError::NotFound`]
    /// for an invitation that is unknown, used or expired;
    /// [`CatalogError::WrongState`] if it must be the first and is not.
    async fn create_account(&self, new: NewAccount) -> Result<Account>;
    /// The account of this id.
    async fn account(&self, id: AccountId) -> Result<Option<Account>>;
    /// The account that signs in with `login` (compared without regard to ASCII case).
    async fn account_by_login(&self, login: &str) -> Result<Option<Account>>;
    /// How many accounts there are.
    async fn count_accounts(&self) -> Result<u64>;
    /// The channel of this id.
    async fn channel(&self, id: ChannelId) -> Result<Option<Channel>>;
    /// Stores an invitation by the hash of its code.
    async fn create_invitation(&self, code_hash: &str, by: AccountId, expires_at: Timestamp) -> Result<()>;

    /// Stores a signed-in session or an API token, by the hash of its secret.
    async fn create_credential(&self, new: Credential) -> Result<()>;
    /// The unexpired credential with this hash.
    async fn credential(&self, secret_hash: &str, now: Timestamp) -> Result<Option<Credential>>;
    /// One page of the API tokens of an account, newest first by (created_at, id).
    async fn api_tokens_page(
        &self,
        account: AccountId,
        after: Option<CredentialCursor>,
        limit: u32,
    ) -> Result<Vec<Credential>>;
    /// All API tokens of an account, newest first, page by page.
    async fn api_tokens(&self, account: AccountId) -> Result<Vec<Credential>> {
        let mut all: Vec<Credential> = Vec::new();
        loop {
            let after = all.last().map(|last| CredentialCursor { created_at: last.created_at, id: last.id });
            let page = self.api_tokens_page(account, after, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            all.extend(page);
            if is_last {
                break Ok(all);
            }
        }
    }
    /// Deletes a credential (`id`) of `account`; false if there is none.
    async fn delete_credential(&self, account: AccountId, id: uuid::Uuid) -> Result<bool>;
    /// Deletes up to `limit` expired credentials and invitations; returns how many.
    async fn delete_expired_credentials(&self, now: Timestamp, limit: u32) -> Result<u64>;

    // --- uploads ----------------------------------------------------------------------------

    /// Creates an upload and its video (`upload = receiving`, `playback = none`) together.
    ///
    /// # Errors
    /// [`CatalogError::Conflict`] if the id of the upload or the video is taken;
    /// [`CatalogError::NotFound`] for an unknown account.
    async fn create_upload(&self, new: NewUpload) -> Result<Upload>;
    /// The upload, in any state.
    async fn upload(&self, id: UploadId) -> Result<Option<Upload>>;
    /// The upload whose video this is.
    async fn upload_of_video(&self, video: VideoId) -> Result<Option<Upload>>;
    /// Records a durable chunk object that continues the upload at `chunk.start` and moves its
    /// expiry to `expires_at`. When the chunk reaches the upload's length, completes it in the
    /// same transaction: upload and video states, the transcode job, and the outbox rows for
    /// `uploads` and `videos`.
    ///
    /// # Errors
    /// [`CatalogError::OffsetMismatch`] if the upload's offset is not `chunk.start`;
    /// [`CatalogError::WrongState`] if it is complete or aborted, or the chunk is empty or ends beyond
    /// the upload's length.
    async fn append_chunk(&self, id: UploadId, chunk: Chunk, now: Timestamp, expires_at: Timestamp) -> Result<Upload>;
    /// Completes an upload of length zero's worth of remaining bytes, or declares the length of
    /// one that was deferred; same transaction as in [`Self::append_chunk`]. Setting the same length
    /// again is harmless while bytes are missing.
    ///
    /// # Errors
    /// [`CatalogError::WrongState`] if it has another length, holds more bytes, or is complete or aborted.
    async fn set_upload_length(&self, id: UploadId, length: u64, now: Timestamp) -> Result<Upload>;
    /// One page of the chunks of an upload, in order: those that start at byte `from` or later.
    async fn chunks_from(&self, id: UploadId, from: u64, limit: u32) -> Result<Vec<Chunk>>;
    /// All chunks of an upload, in order, page by page: a prefix of the upload, as chunks are only added
    /// at its end, unless it is forgotten meanwhile.
    async fn chunks(&self, id: UploadId) -> Result<Vec<Chunk>> {
        let mut all = Vec::new();
        loop {
            let page = self.chunks_from(id, end_of(&all), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            all.extend(page);
            if is_last {
                break Ok(all);
            }
        }
    }
    /// Marks a receiving upload and its video aborted, sets its expiry to `now`, and writes the
    /// outbox rows (the video's says deleted: it will never be played). Its chunks stay listed until
    /// [`Self::forget_upload`]. An aborted upload is returned as it is.
    ///
    /// # Errors
    /// [`CatalogError::WrongState`] if it is complete.
    async fn abort_upload(&self, id: UploadId, now: Timestamp) -> Result<Upload>;
    /// An owner's uploads that are still receiving, newest first.
    async fn unfinished_uploads(&self, owner: AccountId, limit: u32) -> Result<Vec<Upload>>;
    /// Aborts an upload as [`Self::abort_upload`] does, if it is still receiving and past its expiry at
    /// `now`; false, with nothing changed, if it is not.
    async fn expire_upload(&self, id: UploadId, now: Timestamp) -> Result<bool>;
    /// Receiving uploads past their expiry, oldest first.
    async fn expired_uploads(&self, now: Timestamp, limit: u32) -> Result<Vec<Upload>>;
    /// Aborted uploads whose objects are still to be removed, oldest first; those of deleted videos
    /// are found by [`Self::deleted_videos`].
    async fn aborted_uploads(&self, limit: u32) -> Result<Vec<Upload>>;
    /// Removes an aborted upload, its chunks and its video's row, once its objects are gone. Harmless
    /// if it is gone.
    ///
    /// # Errors
    /// [`CatalogError::WrongState`] if it was not aborted.
    async fn forget_upload(&self, id: UploadId) -> Result<()>;

    // --- videos -----------------------------------------------------------------------------

    /// The video with its owner's channel, in any state but deleted.
    async fn video(&self, id: VideoId) -> Result<Option<Video>>;
    /// The videos of these ids, in the same order, without those that are gone.
    async fn videos(&self, ids: &[VideoId]) -> Result<Vec<Video>>;
    /// One page, newest first by (created_at, id).
    async fn list_videos(&self, filter: VideoFilter, after: Option<VideoCursor>, limit: u32) -> Result<Vec<Video>>;
    /// Applies an edit, raises the version and writes the outbox row for `videos`.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`]; [`CatalogError::VersionMismatch`] if `edit.expected_version` is
    /// set and another; [`CatalogError::WrongState`] if its upload was aborted.
    async fn edit_video(&self, id: VideoId, edit: VideoEdit, now: Timestamp) -> Result<Video>;
    /// Marks a video deleted (it is found by no other method from now on), cancels its jobs, aborts
    /// its upload if that is still receiving, and writes the outbox rows. Its objects stay listed by
    /// [`Self::deleted_videos`].
    ///
    /// # Errors
    /// [`CatalogError::NotFound`], also if it is deleted already.
    async fn delete_video(&self, id: VideoId, now: Timestamp) -> Result<()>;
    /// Deleted videos whose objects are still to be removed, oldest first.
    async fn deleted_videos(&self, limit: u32) -> Result<Vec<DeletedVideo>>;
    /// One page of the upload chunks of a deleted video, in order: those that start at byte `from` or later.
    async fn deleted_video_chunks_from(&self, id: VideoId, from: u64, limit: u32) -> Result<Vec<Chunk>>;
    /// All upload chunks of a deleted video, in order, page by page.
    async fn deleted_video_chunks(&self, id: VideoId) -> Result<Vec<Chunk>> {
        let mut all = Vec::new();
        loop {
            let page = self.deleted_video_chunks_from(id, end_of(&all), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            all.extend(page);
            if is_last {
                break Ok(all);
            }
        }
    }
    /// Removes what is left of a deleted video, once its objects are gone. Harmless if it is gone.
    ///
    /// # Errors
    /// [`CatalogError::WrongState`] if it was not deleted.
    async fn forget_video(&self, id: VideoId) -> Result<()>;
    /// Videos whose job ended at `ended_before` or earlier and whose media objects have not been
    /// compared with their renditions since, oldest first.
    async fn unswept_videos(&self, ended_before: Timestamp, limit: u32) -> Result<Vec<VideoId>>;
    /// Records that no media object is left that belongs to none of the video's renditions.
    async fn mark_swept(&self, id: VideoId) -> Result<()>;
    /// The renditions of a video with their segments, by track kind then height descending: those of
    /// the finished job, else those of its latest attempt.
    async fn renditions(&self, id: VideoId) -> Result<Vec<Rendition>>;
    /// The video's media object of this content-hashed file name, if it is part of it: a
    /// segment, an init segment or the poster. Names of earlier attempts are not.
    async fn media_file(&self, id: VideoId, name: &str) -> Result<Option<MediaFile>>;

    // --- jobs -------------------------------------------------------------------------------

    /// Leases the oldest job that is due (never leased, released, or its lease has run out) until
    /// `now + lease`, raising its epoch and its attempt. None if there is none.
    async fn lease_job(&self, kind: JobKind, owner: &str, now: Timestamp, lease: Millis) -> Result<Option<Job>>;
    /// Extends a lease.
    ///
    /// # Errors
    /// [`CatalogError::Fenced`] if the job was taken over, finished or cancelled.
    async fn heartbeat_job(&self, job: JobId, epoch: u64, until: Timestamp) -> Result<()>;
    /// Gives a job back to be tried again from `not_before` on. Fenced.
    async fn release_job(&self, job: JobId, epoch: u64, not_before: Timestamp) -> Result<()>;
    /// The jobs of a video, newest first.
    async fn jobs_of_video(&self, id: VideoId) -> Result<Vec<Job>>;

    /// Records what a worker found out about the source. Fenced.
    async fn set_source_info(&self, job: &Job, info: SourceInfo, now: Timestamp) -> Result<()>;
    /// Records encoding progress in percent (0–100) for those who look. Fenced.
    async fn set_progress(&self, job: &Job, percent: u8) -> Result<()>;
    /// Records a rendition without segments, replacing one of the same name made under an
    /// earlier epoch together with its segments. Fenced.
    async fn put_rendition(&self, job: &Job, rendition: NewRendition) -> Result<()>;
    /// Records segments of a rendition whose objects are durable. Fenced; a segment already
    /// recorded under this epoch is left as it is.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] if the rendition was not put under this epoch.
    async fn put_segments(&self, job: &Job, rendition: &str, segments: &[Segment]) -> Result<()>;
    /// Finishes a transcode job: marks the renditions named complete, removes every other
    /// rendition, sets the poster, the duration and `playback = ready` and, the first time,
    /// `published_at`; writes the outbox rows for `transcodes` and `videos`. Fenced.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] if a rendition named was not put under this epoch.
    async fn finish_transcode(&self, job: &Job, result: TranscodeResult, now: Timestamp) -> Result<Video>;
    /// Ends a transcode job for good: `playback = failed` with a reason its owner can read,
    /// no renditions; outbox rows. Fenced.
    async fn fail_transcode(&self, job: &Job, reason: &str, now: Timestamp) -> Result<Video>;

    // --- leases -----------------------------------------------------------------------------

    /// Takes a named lease that nobody holds at `now` until `now + ttl`, raising its epoch; the
    /// holder itself gets it again with the same epoch. None if another holds it.
    async fn acquire_lease(&self, name: &str, owner: &str, now: Timestamp, ttl: Millis) -> Result<Option<Lease>>;
    /// Extends a lease.
    ///
    /// # Errors
    /// [`CatalogError::Fenced`] if it was taken over or released.
    async fn renew_lease(&self, lease: &Lease, until: Timestamp) -> Result<()>;
    /// Gives a lease back; harmless if it was lost.
    async fn release_lease(&self, lease: &Lease) -> Result<()>;
    /// The leases whose name begins with `prefix` that have not run out at `now`, by name. They are few: one
    /// for each partition or single task.
    async fn leases_of(&self, prefix: &str, now: Timestamp) -> Result<Vec<Lease>>;
    /// The next value of a named counter, from 1; used for producer epochs.
    async fn next_epoch(&self, name: &str) -> Result<u64>;
    /// The value that [`Self::next_epoch`] last gave; 0 if it never did.
    async fn counter(&self, name: &str) -> Result<u64>;

    // --- the processes of one instance ------------------------------------------------------

    /// The instance's secret of this name: `proposed` if there was none, else the one that was proposed first,
    /// the same for every process and for ever. After an unknown outcome ask again.
    async fn instance_secret(&self, name: &str, proposed: &[u8]) -> Result<Vec<u8>>;
    /// Makes `member` one of a group until `now + ttl`, or renews that. Forgets members that ran out more than
    /// `ttl` ago.
    async fn join_group(&self, group: &str, member: &str, now: Timestamp, ttl: Millis) -> Result<()>;
    /// Takes a member out of a group; harmless if it is not in it.
    async fn leave_group(&self, group: &str, member: &str) -> Result<()>;
    /// Who is in a group at `now`, sorted by bytes.
    async fn group_members(&self, group: &str, now: Timestamp) -> Result<Vec<String>>;

    // --- outbox -----------------------------------------------------------------------------

    /// Rows not yet delivered, in the order of their transactions.
    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxRow>>;
    /// Deletes rows that are durable in the log.
    async fn outbox_delivered(&self, ids: &[i64]) -> Result<()>;
    /// Resolves soon after an outbox row was written, at once if one was written since the last call. A hint
    /// for one waiter, which may come in vain and may be lost: poll besides. On PostgreSQL it tells of the rows
    /// of every process, on SQLite of those of this one.
    async fn outbox_changed(&self);

    // --- the whole --------------------------------------------------------------------------

    /// Whether the catalog answers, for readiness.
    async fn check(&self) -> Result<()>;
    /// Closes the connections, after the calls under way.
    async fn close(&self);
}

/// The byte after the last of these chunks.
fn end_of(chunks: &[Chunk]) -> u64 {
    chunks.last().map_or(0, |last| last.start.saturating_add(last.length))
}

/// The payload and topic of an outbox row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Rises with each row.
    pub id: i64,
    /// Where it goes.
    pub topic: Topic,
    /// What the partition is chosen by.
    pub key: String,
    /// The schema of the payload; see [`event_schemas::records::SchemaId`].
    pub schema: u16,
    /// The JSON payload.
    pub payload: String,
}
