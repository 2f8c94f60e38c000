//! A catalog that fails on purpose, by a seeded plan, before a call or — with an unknown outcome —
//! after it. For tests of those who call a catalog.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use event_schemas::{AccountId, ChannelId, JobId, Millis, Timestamp, UploadId, VideoId};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use crate::*;

/// How often calls fail. Each call draws once, from its number and the seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailurePlan {
    /// Two plans of one seed fail the same calls.
    pub seed: u64,
    /// The share of calls that fail before anything is done, from 0 to 1.
    pub before: f64,
    /// The share of writes that are done and then reported as [`CatalogError::CommitUnknown`].
    pub after: f64,
}

impl FailurePlan {
    /// Never fails.
    pub const NONE: Self = Self { seed: 0, before: 0.0, after: 0.0 };
}

/// Passes calls on to another catalog, save those that its plan lets fail.
pub struct FailingCatalog {
    inner: Arc<dyn Catalog>,
    plan: FailurePlan,
    calls: AtomicU64,
    failed: AtomicU64,
}

enum Fate {
    Done,
    Before,
    After,
}

impl FailingCatalog {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Catalog>, plan: FailurePlan) -> Arc<Self> {
        Arc::new(Self { inner, plan, calls: AtomicU64::new(0), failed: AtomicU64::new(0) })
    }

    /// How many calls have failed on purpose.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    fn fate(&self) -> Fate {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut random = StdRng::seed_from_u64(self.plan.seed ^ call.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let draw: f64 = random.random();
        if draw < self.plan.before {
            Fate::Before
        } else if draw < self.plan.before + self.plan.after {
            Fate::After
        } else {
            Fate::Done
        }
    }

    fn fail(&self, error: impl FnOnce(sqlx::Error) -> CatalogError) -> CatalogError {
        self.failed.fetch_add(1, Ordering::Relaxed);
        error(sqlx::Error::Io(std::io::Error::other("injected")))
    }

    async fn read<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.fate() {
            Fate::Before => Err(self.fail(CatalogError::Database)),
            Fate::After | Fate::Done => call.await,
        }
    }

    async fn write<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.fate() {
            Fate::Before => Err(self.fail(CatalogError::Database)),
            Fate::Done => call.await,
            Fate::After => {
                call.await?;
                Err(self.fail(CatalogError::CommitUnknown))
            }
        }
    }
}

#[async_trait]
impl Catalog for FailingCatalog {
    async fn create_account(&self, new: NewAccount) -> Result<Account> {
        self.write(self.inner.create_account(new)).await
    }

    async fn account(&self, id: AccountId) -> Result<Option<Account>> {
        self.read(self.inner.account(id)).await
    }

    async fn account_by_login(&self, login: &str) -> Result<Option<Account>> {
        self.read(self.inner.account_by_login(login)).await
    }

    async fn count_accounts(&self) -> Result<u64> {
        self.read(self.inner.count_accounts()).await
    }

    async fn channel(&self, id: ChannelId) -> Result<Option<Channel>> {
        self.read(self.inner.channel(id)).await
    }

    async fn create_invitation(&self, code_hash: &str, by: AccountId, expires_at: Timestamp) -> Result<()> {
        self.write(self.inner.create_invitation(code_hash, by, expires_at)).await
    }

    async fn create_credential(&self, new: Credential) -> Result<()> {
        self.write(self.inner.create_credential(new)).await
    }

    async fn credential(&self, secret_hash: &str, now: Timestamp) -> Result<Option<Credential>> {
        self.read(self.inner.credential(secret_hash, now)).await
    }

    async fn api_tokens_page(
        &self,
        account: AccountId,
        after: Option<CredentialCursor>,
        limit: u32,
    ) -> Result<Vec<Credential>> {
        self.read(self.inner.api_tokens_page(account, after, limit)).await
    }

    async fn delete_credential(&self, account: AccountId, id: Uuid) -> Result<bool> {
        self.write(self.inner.delete_credential(account, id)).await
    }

    async fn delete_expired_credentials(&self, now: Timestamp, limit: u32) -> Result<u64> {
        self.write(self.inner.delete_expired_credentials(now, limit)).await
    }

    async fn create_upload(&self, new: NewUpload) -> Result<Upload> {
        self.write(self.inner.create_upload(new)).await
    }

    async fn upload(&self, id: UploadId) -> Result<Option<Upload>> {
        self.read(self.inner.upload(id)).await
    }

    async fn upload_of_video(&self, video: VideoId) -> Result<Option<Upload>> {
        self.read(self.inner.upload_of_video(video)).await
    }

    async fn append_chunk(&self, id: UploadId, chunk: Chunk, now: Timestamp, expires_at: Timestamp) -> Result<Upload> {
        self.write(self.inner.append_chunk(id, chunk, now, expires_at)).await
    }

    async fn set_upload_length(&self, id: UploadId, length: u64, now: Timestamp) -> Result<Upload> {
        self.write(self.inner.set_upload_length(id, length, now)).await
    }

    async fn chunks_from(&self, id: UploadId, from: u64, limit: u32) -> Result<Vec<Chunk>> {
        self.read(self.inner.chunks_from(id, from, limit)).await
    }

    async fn abort_upload(&self, id: UploadId, now: Timestamp) -> Result<Upload> {
        self.write(self.inner.abort_upload(id, now)).await
    }

    async fn unfinished_uploads(&self, owner: AccountId, limit: u32) -> Result<Vec<Upload>> {
        self.read(self.inner.unfinished_uploads(owner, limit)).await
    }

    async fn expire_upload(&self, id: UploadId, now: Timestamp) -> Result<bool> {
        self.write(self.inner.expire_upload(id, now)).await
    }

    async fn expired_uploads(&self, now: Timestamp, limit: u32) -> Result<Vec<Upload>> {
        self.read(self.inner.expired_uploads(now, limit)).await
    }

    async fn aborted_uploads(&self, limit: u32) -> Result<Vec<Upload>> {
        self.read(self.inner.aborted_uploads(limit)).await
    }

    async fn forget_upload(&self, id: UploadId) -> Result<()> {
        self.write(self.inner.forget_upload(id)).await
    }

    async fn video(&self, id: VideoId) -> Result<Option<Video>> {
        self.read(self.inner.video(id)).await
    }

    async fn videos(&self, ids: &[VideoId]) -> Result<Vec<Video>> {
        self.read(self.inner.videos(ids)).await
    }

    async fn list_videos(&self, filter: VideoFilter, after: Option<VideoCursor>, limit: u32) -> Result<Vec<Video>> {
        self.read(self.inner.list_videos(filter, after, limit)).await
    }

    async fn edit_video(&self, id: VideoId, edit: VideoEdit, now: Timestamp) -> Result<Video> {
        self.write(self.inner.edit_video(id, edit, now)).await
    }

    async fn delete_video(&self, id: VideoId, now: Timestamp) -> Result<()> {
        self.write(self.inner.delete_video(id, now)).await
    }

    async fn deleted_videos(&self, limit: u32) -> Result<Vec<DeletedVideo>> {
        self.read(self.inner.deleted_videos(limit)).await
    }

    async fn deleted_video_chunks_from(&self, id: VideoId, from: u64, limit: u32) -> Result<Vec<Chunk>> {
        self.read(self.inner.deleted_video_chunks_from(id, from, limit)).await
    }

    async fn forget_video(&self, id: VideoId) -> Result<()> {
        self.write(self.inner.forget_video(id)).await
    }

    async fn unswept_videos(&self, ended_before: Timestamp, limit: u32) -> Result<Vec<VideoId>> {
        self.read(self.inner.unswept_videos(ended_before, limit)).await
    }

    async fn mark_swept(&self, id: VideoId) -> Result<()> {
        self.write(self.inner.mark_swept(id)).await
    }

    async fn renditions(&self, id: VideoId) -> Result<Vec<Rendition>> {
        self.read(self.inner.renditions(id)).await
    }

    async fn media_file(&self, id: VideoId, name: &str) -> Result<Option<MediaFile>> {
        self.read(self.inner.media_file(id, name)).await
    }

    async fn lease_job(&self, kind: JobKind, owner: &str, now: Timestamp, lease: Millis) -> Result<Option<Job>> {
        self.write(self.inner.lease_job(kind, owner, now, lease)).await
    }

    async fn heartbeat_job(&self, job: JobId, epoch: u64, until: Timestamp) -> Result<()> {
        self.write(self.inner.heartbeat_job(job, epoch, until)).await
    }

    async fn release_job(&self, job: JobId, epoch: u64, not_before: Timestamp) -> Result<()> {
        self.write(self.inner.release_job(job, epoch, not_before)).await
    }

    async fn jobs_of_video(&self, id: VideoId) -> Result<Vec<Job>> {
        self.read(self.inner.jobs_of_video(id)).await
    }

    async fn set_source_info(&self, job: &Job, info: SourceInfo, now: Timestamp) -> Result<()> {
        self.write(self.inner.set_source_info(job, info, now)).await
    }

    async fn set_progress(&self, job: &Job, percent: u8) -> Result<()> {
        self.write(self.inner.set_progress(job, percent)).await
    }

    async fn put_rendition(&self, job: &Job, rendition: NewRendition) -> Result<()> {
        self.write(self.inner.put_rendition(job, rendition)).await
    }

    async fn put_segments(&self, job: &Job, rendition: &str, segments: &[Segment]) -> Result<()> {
        self.write(self.inner.put_segments(job, rendition, segments)).await
    }

    async fn finish_transcode(&self, job: &Job, result: TranscodeResult, now: Timestamp) -> Result<Video> {
        self.write(self.inner.finish_transcode(job, result, now)).await
    }

    async fn fail_transcode(&self, job: &Job, reason: &str, now: Timestamp) -> Result<Video> {
        self.write(self.inner.fail_transcode(job, reason, now)).await
    }

    async fn acquire_lease(&self, name: &str, owner: &str, now: Timestamp, ttl: Millis) -> Result<Option<Lease>> {
        self.write(self.inner.acquire_lease(name, owner, now, ttl)).await
    }

    async fn renew_lease(&self, lease: &Lease, until: Timestamp) -> Result<()> {
        self.write(self.inner.renew_lease(lease, until)).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.write(self.inner.release_lease(lease)).await
    }

    async fn next_epoch(&self, name: &str) -> Result<u64> {
        self.write(self.inner.next_epoch(name)).await
    }

    async fn counter(&self, name: &str) -> Result<u64> {
        self.read(self.inner.counter(name)).await
    }

    async fn leases_of(&self, prefix: &str, now: Timestamp) -> Result<Vec<Lease>> {
        self.read(self.inner.leases_of(prefix, now)).await
    }

    async fn instance_secret(&self, name: &str, proposed: &[u8]) -> Result<Vec<u8>> {
        self.write(self.inner.instance_secret(name, proposed)).await
    }

    async fn join_group(&self, group: &str, member: &str, now: Timestamp, ttl: Millis) -> Result<()> {
        self.write(self.inner.join_group(group, member, now, ttl)).await
    }

    async fn leave_group(&self, group: &str, member: &str) -> Result<()> {
        self.write(self.inner.leave_group(group, member)).await
    }

    async fn group_members(&self, group: &str, now: Timestamp) -> Result<Vec<String>> {
        self.read(self.inner.group_members(group, now)).await
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxRow>> {
        self.read(self.inner.outbox(limit)).await
    }

    async fn outbox_delivered(&self, ids: &[i64]) -> Result<()> {
        self.write(self.inner.outbox_delivered(ids)).await
    }

    async fn outbox_changed(&self) {
        self.inner.outbox_changed().await;
    }

    async fn check(&self) -> Result<()> {
        self.read(self.inner.check()).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
