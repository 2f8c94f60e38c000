//! Ties the subjects to the trait.

use async_trait::async_trait;
use event_schemas::{AccountId, ChannelId, JobId, Millis, Timestamp, UploadId, VideoId};
use uuid::Uuid;

use super::{SqlCatalog, accounts, credentials, jobs, leases, media, outbox, uploads, videos};
use crate::*;

#[async_trait]
impl Catalog for SqlCatalog {
    async fn create_account(&self, new: NewAccount) -> Result<Account> {
        accounts::create(self, new).await
    }

    async fn account(&self, id: AccountId) -> Result<Option<Account>> {
        accounts::by_id(self, id).await
    }

    async fn account_by_login(&self, login: &str) -> Result<Option<Account>> {
        accounts::by_login(self, login).await
    }

    async fn count_accounts(&self) -> Result<u64> {
        accounts::count(self).await
    }

    async fn channel(&self, id: ChannelId) -> Result<Option<Channel>> {
        accounts::channel(self, id).await
    }

    async fn create_invitation(&self, code_hash: &str, by: AccountId, expires_at: Timestamp) -> Result<()> {
        accounts::invite(self, code_hash, by, expires_at).await
    }

    async fn create_credential(&self, new: Credential) -> Result<()> {
        credentials::create(self, new).await
    }

    async fn credential(&self, secret_hash: &str, now: Timestamp) -> Result<Option<Credential>> {
        credentials::find(self, secret_hash, now).await
    }

    async fn api_tokens(&self, account: AccountId) -> Result<Vec<Credential>> {
        credentials::api_tokens(self, account).await
    }

    async fn delete_credential(&self, account: AccountId, id: Uuid) -> Result<bool> {
        credentials::delete(self, account, id).await
    }

    async fn delete_expired_credentials(&self, now: Timestamp, limit: u32) -> Result<u64> {
        credentials::delete_expired(self, now, limit).await
    }

    async fn create_upload(&self, new: NewUpload) -> Result<Upload> {
        uploads::create(self, new).await
    }

    async fn upload(&self, id: UploadId) -> Result<Option<Upload>> {
        uploads::by_id(self, id).await
    }

    async fn upload_of_video(&self, video: VideoId) -> Result<Option<Upload>> {
        uploads::by_video(self, video).await
    }

    async fn append_chunk(&self, id: UploadId, chunk: Chunk, now: Timestamp, expires_at: Timestamp) -> Result<Upload> {
        uploads::append_chunk(self, id, chunk, now, expires_at).await
    }

    async fn set_upload_length(&self, id: UploadId, length: u64, now: Timestamp) -> Result<Upload> {
        uploads::set_length(self, id, length, now).await
    }

    async fn chunks(&self, id: UploadId) -> Result<Vec<Chunk>> {
        uploads::chunks(self, id).await
    }

    async fn abort_upload(&self, id: UploadId, now: Timestamp) -> Result<Upload> {
        uploads::abort(self, id, now).await
    }

    async fn unfinished_uploads(&self, owner: AccountId, limit: u32) -> Result<Vec<Upload>> {
        uploads::unfinished(self, owner, limit).await
    }

    async fn expire_upload(&self, id: UploadId, now: Timestamp) -> Result<bool> {
        uploads::expire(self, id, now).await
    }

    async fn expired_uploads(&self, now: Timestamp, limit: u32) -> Result<Vec<Upload>> {
        uploads::expired(self, now, limit).await
    }

    async fn aborted_uploads(&self, limit: u32) -> Result<Vec<Upload>> {
        uploads::aborted(self, limit).await
    }

    async fn forget_upload(&self, id: UploadId) -> Result<()> {
        uploads::forget(self, id).await
    }

    async fn video(&self, id: VideoId) -> Result<Option<Video>> {
        videos::by_id(self, id).await
    }

    async fn videos(&self, ids: &[VideoId]) -> Result<Vec<Video>> {
        videos::by_ids(self, ids).await
    }

    async fn list_videos(&self, filter: VideoFilter, after: Option<VideoCursor>, limit: u32) -> Result<Vec<Video>> {
        videos::list(self, filter, after, limit).await
    }

    async fn edit_video(&self, id: VideoId, edit: VideoEdit, _now: Timestamp) -> Result<Video> {
        videos::edit(self, id, edit).await
    }

    async fn delete_video(&self, id: VideoId, now: Timestamp) -> Result<()> {
        videos::delete(self, id, now).await
    }

    async fn deleted_videos(&self, limit: u32) -> Result<Vec<DeletedVideo>> {
        videos::deleted(self, limit).await
    }

    async fn deleted_video_chunks(&self, id: VideoId) -> Result<Vec<Chunk>> {
        videos::deleted_chunks(self, id).await
    }

    async fn forget_video(&self, id: VideoId) -> Result<()> {
        videos::forget(self, id).await
    }

    async fn unswept_videos(&self, ended_before: Timestamp, limit: u32) -> Result<Vec<VideoId>> {
        videos::unswept(self, ended_before, limit).await
    }

    async fn mark_swept(&self, id: VideoId) -> Result<()> {
        videos::mark_swept(self, id).await
    }

    async fn renditions(&self, id: VideoId) -> Result<Vec<Rendition>> {
        media::renditions(self, id).await
    }

    async fn media_file(&self, id: VideoId, name: &str) -> Result<Option<MediaFile>> {
        media::file(self, id, name).await
    }

    async fn lease_job(&self, kind: JobKind, owner: &str, now: Timestamp, lease: Millis) -> Result<Option<Job>> {
        jobs::lease(self, kind, owner, now, lease).await
    }

    async fn heartbeat_job(&self, job: JobId, epoch: u64, until: Timestamp) -> Result<()> {
        jobs::heartbeat(self, job, epoch, until).await
    }

    async fn release_job(&self, job: JobId, epoch: u64, not_before: Timestamp) -> Result<()> {
        jobs::release(self, job, epoch, not_before).await
    }

    async fn jobs_of_video(&self, id: VideoId) -> Result<Vec<Job>> {
        jobs::of_video(self, id).await
    }

    async fn set_source_info(&self, job: &Job, info: SourceInfo, _now: Timestamp) -> Result<()> {
        jobs::set_source_info(self, job, &info).await
    }

    async fn set_progress(&self, job: &Job, percent: u8) -> Result<()> {
        jobs::set_progress(self, job, percent).await
    }

    async fn put_rendition(&self, job: &Job, rendition: NewRendition) -> Result<()> {
        media::put_rendition(self, job, rendition).await
    }

    async fn put_segments(&self, job: &Job, rendition: &str, segments: &[Segment]) -> Result<()> {
        media::put_segments(self, job, rendition, segments).await
    }

    async fn finish_transcode(&self, job: &Job, result: TranscodeResult, now: Timestamp) -> Result<Video> {
        jobs::finish(self, job, result, now).await
    }

    async fn fail_transcode(&self, job: &Job, reason: &str, now: Timestamp) -> Result<Video> {
        jobs::fail(self, job, reason, now).await
    }

    async fn acquire_lease(&self, name: &str, owner: &str, now: Timestamp, ttl: Millis) -> Result<Option<Lease>> {
        leases::acquire(self, name, owner, now, ttl).await
    }

    async fn renew_lease(&self, lease: &Lease, until: Timestamp) -> Result<()> {
        leases::renew(self, lease, until).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        leases::release(self, lease).await
    }

    async fn next_epoch(&self, name: &str) -> Result<u64> {
        leases::next_epoch(self, name).await
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxRow>> {
        outbox::read(self, limit).await
    }

    async fn outbox_delivered(&self, ids: &[i64]) -> Result<()> {
        outbox::delivered(self, ids).await
    }

    async fn outbox_changed(&self) {
        self.outbox_changed.notified().await;
    }

    async fn check(&self) -> Result<()> {
        self.check().await
    }

    async fn close(&self) {
        self.close().await;
    }
}
