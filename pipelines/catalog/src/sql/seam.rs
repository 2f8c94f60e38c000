//! Ties the subjects to the trait.

use async_trait::async_trait;
use event_schemas::{AccountId, ChannelId, JobId, Millis, Timestamp, UploadId, VideoId};
use uuid::Uuid;

use super::{SqlCatalog, accounts, credentials, jobs, leases, media, members, outbox, secrets, uploads, videos};
use crate::*;

#[async_trait]
impl Catalog for SqlCatalog {
    async fn create_account(&self, new: NewAccount) -> Result<Account> {
        self.writing(|| accounts::create(self, new.clone())).await
    }

    async fn account(&self, id: AccountId) -> Result<Option<Account>> {
        self.reading(accounts::by_id(self, id)).await
    }

    async fn account_by_login(&self, login: &str) -> Result<Option<Account>> {
        self.reading(accounts::by_login(self, login)).await
    }

    async fn count_accounts(&self) -> Result<u64> {
        self.reading(accounts::count(self)).await
    }

    async fn channel(&self, id: ChannelId) -> Result<Option<Channel>> {
        self.reading(accounts::channel(self, id)).await
    }

    async fn create_invitation(&self, code_hash: &str, by: AccountId, expires_at: Timestamp) -> Result<()> {
        self.writing(|| accounts::invite(self, code_hash, by, expires_at)).await
    }

    async fn create_credential(&self, new: Credential) -> Result<()> {
        self.writing(|| credentials::create(self, new.clone())).await
    }

    async fn credential(&self, secret_hash: &str, now: Timestamp) -> Result<Option<Credential>> {
        self.reading(credentials::find(self, secret_hash, now)).await
    }

    async fn api_tokens_page(
        &self,
        account: AccountId,
        after: Option<CredentialCursor>,
        limit: u32,
    ) -> Result<Vec<Credential>> {
        self.reading(credentials::api_tokens(self, account, after, limit)).await
    }

    async fn delete_credential(&self, account: AccountId, id: Uuid) -> Result<bool> {
        self.writing(|| credentials::delete(self, account, id)).await
    }

    async fn delete_expired_credentials(&self, now: Timestamp, limit: u32) -> Result<u64> {
        self.writing(|| credentials::delete_expired(self, now, limit)).await
    }

    async fn create_upload(&self, new: NewUpload) -> Result<Upload> {
        self.writing(|| uploads::create(self, new.clone())).await
    }

    async fn upload(&self, id: UploadId) -> Result<Option<Upload>> {
        self.reading(uploads::by_id(self, id)).await
    }

    async fn upload_of_video(&self, video: VideoId) -> Result<Option<Upload>> {
        self.reading(uploads::by_video(self, video)).await
    }

    async fn append_chunk(&self, id: UploadId, chunk: Chunk, now: Timestamp, expires_at: Timestamp) -> Result<Upload> {
        self.writing(|| uploads::append_chunk(self, id, chunk.clone(), now, expires_at)).await
    }

    async fn set_upload_length(&self, id: UploadId, length: u64, now: Timestamp) -> Result<Upload> {
        self.writing(|| uploads::set_length(self, id, length, now)).await
    }

    async fn chunks_from(&self, id: UploadId, from: u64, limit: u32) -> Result<Vec<Chunk>> {
        self.reading(uploads::chunks(self, id, from, limit)).await
    }

    async fn abort_upload(&self, id: UploadId, now: Timestamp) -> Result<Upload> {
        self.writing(|| uploads::abort(self, id, now)).await
    }

    async fn unfinished_uploads(&self, owner: AccountId, limit: u32) -> Result<Vec<Upload>> {
        self.reading(uploads::unfinished(self, owner, limit)).await
    }

    async fn expire_upload(&self, id: UploadId, now: Timestamp) -> Result<bool> {
        self.writing(|| uploads::expire(self, id, now)).await
    }

    async fn expired_uploads(&self, now: Timestamp, limit: u32) -> Result<Vec<Upload>> {
        self.reading(uploads::expired(self, now, limit)).await
    }

    async fn aborted_uploads(&self, limit: u32) -> Result<Vec<Upload>> {
        self.reading(uploads::aborted(self, limit)).await
    }

    async fn forget_upload(&self, id: UploadId) -> Result<()> {
        self.writing(|| uploads::forget(self, id)).await
    }

    async fn video(&self, id: VideoId) -> Result<Option<Video>> {
        self.reading(videos::by_id(self, id)).await
    }

    async fn videos(&self, ids: &[VideoId]) -> Result<Vec<Video>> {
        self.reading(videos::by_ids(self, ids)).await
    }

    async fn list_videos(&self, filter: VideoFilter, after: Option<VideoCursor>, limit: u32) -> Result<Vec<Video>> {
        self.reading(videos::list(self, filter, after, limit)).await
    }

    async fn edit_video(&self, id: VideoId, edit: VideoEdit, _now: Timestamp) -> Result<Video> {
        self.writing(|| videos::edit(self, id, edit.clone())).await
    }

    async fn delete_video(&self, id: VideoId, now: Timestamp) -> Result<()> {
        self.writing(|| videos::delete(self, id, now)).await
    }

    async fn deleted_videos(&self, limit: u32) -> Result<Vec<DeletedVideo>> {
        self.reading(videos::deleted(self, limit)).await
    }

    async fn deleted_video_chunks_from(&self, id: VideoId, from: u64, limit: u32) -> Result<Vec<Chunk>> {
        self.reading(videos::deleted_chunks(self, id, from, limit)).await
    }

    async fn forget_video(&self, id: VideoId) -> Result<()> {
        self.writing(|| videos::forget(self, id)).await
    }

    async fn unswept_videos(&self, ended_before: Timestamp, limit: u32) -> Result<Vec<VideoId>> {
        self.reading(videos::unswept(self, ended_before, limit)).await
    }

    async fn mark_swept(&self, id: VideoId) -> Result<()> {
        self.writing(|| videos::mark_swept(self, id)).await
    }

    async fn renditions(&self, id: VideoId) -> Result<Vec<Rendition>> {
        self.reading(media::renditions(self, id)).await
    }

    async fn media_file(&self, id: VideoId, name: &str) -> Result<Option<MediaFile>> {
        self.reading(media::file(self, id, name)).await
    }

    async fn lease_job(&self, kind: JobKind, owner: &str, now: Timestamp, lease: Millis) -> Result<Option<Job>> {
        self.writing(|| jobs::lease(self, kind, owner, now, lease)).await
    }

    async fn heartbeat_job(&self, job: JobId, epoch: u64, until: Timestamp) -> Result<()> {
        self.writing(|| jobs::heartbeat(self, job, epoch, until)).await
    }

    async fn release_job(&self, job: JobId, epoch: u64, not_before: Timestamp) -> Result<()> {
        self.writing(|| jobs::release(self, job, epoch, not_before)).await
    }

    async fn jobs_of_video(&self, id: VideoId) -> Result<Vec<Job>> {
        self.reading(jobs::of_video(self, id)).await
    }

    async fn set_source_info(&self, job: &Job, info: SourceInfo, _now: Timestamp) -> Result<()> {
        self.writing(|| jobs::set_source_info(self, job, &info)).await
    }

    async fn set_progress(&self, job: &Job, percent: u8) -> Result<()> {
        self.writing(|| jobs::set_progress(self, job, percent)).await
    }

    async fn put_rendition(&self, job: &Job, rendition: NewRendition) -> Result<()> {
        self.writing(|| media::put_rendition(self, job, rendition.clone())).await
    }

    async fn put_segments(&self, job: &Job, rendition: &str, segments: &[Segment]) -> Result<()> {
        self.writing(|| media::put_segments(self, job, rendition, segments)).await
    }

    async fn finish_transcode(&self, job: &Job, result: TranscodeResult, now: Timestamp) -> Result<Video> {
        self.writing(|| jobs::finish(self, job, result.clone(), now)).await
    }

    async fn fail_transcode(&self, job: &Job, reason: &str, now: Timestamp) -> Result<Video> {
        self.writing(|| jobs::fail(self, job, reason, now)).await
    }

    async fn acquire_lease(&self, name: &str, owner: &str, now: Timestamp, ttl: Millis) -> Result<Option<Lease>> {
        self.writing(|| leases::acquire(self, name, owner, now, ttl)).await
    }

    async fn renew_lease(&self, lease: &Lease, until: Timestamp) -> Result<()> {
        self.writing(|| leases::renew(self, lease, until)).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.writing(|| leases::release(self, lease)).await
    }

    async fn next_epoch(&self, name: &str) -> Result<u64> {
        self.writing(|| leases::next_epoch(self, name)).await
    }

    async fn counter(&self, name: &str) -> Result<u64> {
        self.reading(leases::counter(self, name)).await
    }

    async fn leases_of(&self, prefix: &str, now: Timestamp) -> Result<Vec<Lease>> {
        self.reading(leases::of_prefix(self, prefix, now)).await
    }

    async fn instance_secret(&self, name: &str, proposed: &[u8]) -> Result<Vec<u8>> {
        self.writing(|| secrets::first(self, name, proposed)).await
    }

    async fn join_group(&self, group: &str, member: &str, now: Timestamp, ttl: Millis) -> Result<()> {
        self.writing(|| members::join(self, group, member, now, ttl)).await
    }

    async fn leave_group(&self, group: &str, member: &str) -> Result<()> {
        self.writing(|| members::leave(self, group, member)).await
    }

    async fn group_members(&self, group: &str, now: Timestamp) -> Result<Vec<String>> {
        self.reading(members::present(self, group, now)).await
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxRow>> {
        self.reading(outbox::read(self, limit)).await
    }

    async fn outbox_delivered(&self, ids: &[i64]) -> Result<()> {
        self.writing(|| outbox::delivered(self, ids)).await
    }

    async fn outbox_changed(&self) {
        self.outbox_changed.notified().await;
    }

    async fn check(&self) -> Result<()> {
        self.reading(self.check()).await
    }

    async fn close(&self) {
        self.close().await;
    }
}
