//! Uploads, their chunks, and what their completion sets going.

use event_schemas::{AccountId, JobId, Timestamp, UploadId, VideoId, records::UploadState};

use super::{
    SqlCatalog, outbox,
    rows::{self, Columns, signed, to_json},
    transaction::Write,
};
use crate::{CatalogError, Chunk, NewUpload, Result, Upload};

pub(super) async fn create(catalog: &SqlCatalog, new: NewUpload) -> Result<Upload> {
    let mut tx = catalog.write().await?;
    let channel = sqlx::query(sql!("accounts/channel_of_owner.sql"))
        .bind(new.owner.to_string())
        .fetch_optional(tx.conn())
        .await?
        .ok_or(CatalogError::NotFound("account"))?;
    let video = sqlx::query(sql!("uploads/insert_video.sql"))
        .bind(new.video_id.to_string())
        .bind(new.owner.to_string())
        .bind(channel.text("channel_id")?)
        .bind(new.title)
        .bind(new.description)
        .bind(to_json(&new.tags)?)
        .bind(new.visibility.as_str())
        .bind(new.now.as_micros())
        .execute(tx.conn())
        .await?;
    if video.rows_affected() == 0 {
        return Err(CatalogError::Conflict("video"));
    }
    let upload = sqlx::query(sql!("uploads/insert.sql"))
        .bind(new.id.to_string())
        .bind(new.video_id.to_string())
        .bind(new.owner.to_string())
        .bind(new.length.map(signed).transpose()?)
        .bind(new.metadata.as_str())
        .bind(new.file_name.as_str())
        .bind(new.now.as_micros())
        .bind(new.expires_at.as_micros())
        .execute(tx.conn())
        .await?;
    if upload.rows_affected() == 0 {
        return Err(CatalogError::Conflict("upload"));
    }
    tx.commit().await?;
    Ok(Upload {
        id: new.id,
        video_id: new.video_id,
        owner: new.owner,
        length: new.length,
        offset: 0,
        state: UploadState::Receiving,
        metadata: new.metadata,
        file_name: new.file_name,
        created_at: new.now,
        expires_at: new.expires_at,
    })
}

pub(super) async fn by_id(catalog: &SqlCatalog, id: UploadId) -> Result<Option<Upload>> {
    let row = sqlx::query(sql!("uploads/by_id.sql")).bind(id.to_string()).fetch_optional(&catalog.readers).await?;
    row.as_ref().map(rows::upload).transpose()
}

pub(super) async fn by_video(catalog: &SqlCatalog, video: VideoId) -> Result<Option<Upload>> {
    let row =
        sqlx::query(sql!("uploads/by_video.sql")).bind(video.to_string()).fetch_optional(&catalog.readers).await?;
    row.as_ref().map(rows::upload).transpose()
}

async fn read(tx: &mut Write<'_>, id: UploadId) -> Result<Upload> {
    let row = sqlx::query(sql!("uploads/by_id.sql")).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    rows::upload(&row.ok_or(CatalogError::NotFound("upload"))?)
}

/// Reads an upload, which stays as it is until the transaction ends.
async fn hold(tx: &mut Write<'_>, id: UploadId) -> Result<Upload> {
    let row = sqlx::query(sql!("uploads/hold.sql")).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    rows::upload(&row.ok_or(CatalogError::NotFound("upload"))?)
}

fn must_be_receiving(upload: &Upload) -> Result<()> {
    match upload.state {
        UploadState::Receiving => Ok(()),
        UploadState::Complete => Err(CatalogError::WrongState("the upload is complete")),
        UploadState::Aborted => Err(CatalogError::WrongState("the upload was aborted")),
    }
}

/// Moves the offset over a chunk. The condition is in the statement, so of two callers at one offset one
/// finds it gone.
async fn advance(tx: &mut Write<'_>, id: UploadId, chunk: &Chunk, expires_at: Timestamp) -> Result<bool> {
    let advanced = sqlx::query(sql!("uploads/advance.sql"))
        .bind(id.to_string())
        .bind(signed(chunk.start)?)
        .bind(signed(chunk.length)?)
        .bind(expires_at.as_micros())
        .execute(tx.conn())
        .await?;
    Ok(advanced.rows_affected() > 0)
}

pub(super) async fn append_chunk(
    catalog: &SqlCatalog,
    id: UploadId,
    chunk: Chunk,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<Upload> {
    if chunk.length == 0 {
        return Err(CatalogError::WrongState("a chunk has at least one byte"));
    }
    let mut tx = catalog.write().await?;
    if !advance(&mut tx, id, &chunk, expires_at).await? {
        let upload = hold(&mut tx, id).await?;
        must_be_receiving(&upload)?;
        if upload.offset != chunk.start {
            return Err(CatalogError::OffsetMismatch { actual: upload.offset, given: chunk.start });
        }
        // Somebody may have brought the upload to this offset since; held, it takes the chunk or never will.
        if !advance(&mut tx, id, &chunk, expires_at).await? {
            return Err(CatalogError::WrongState("the chunk ends beyond the upload's length"));
        }
    }
    sqlx::query(sql!("uploads/insert_chunk.sql"))
        .bind(id.to_string())
        .bind(signed(chunk.start)?)
        .bind(signed(chunk.length)?)
        .bind(chunk.key)
        .execute(tx.conn())
        .await?;
    let upload = complete_if_whole(&mut tx, id, now).await?;
    tx.commit().await?;
    Ok(upload)
}

pub(super) async fn set_length(catalog: &SqlCatalog, id: UploadId, length: u64, now: Timestamp) -> Result<Upload> {
    let mut tx = catalog.write().await?;
    hold(&mut tx, id).await?;
    let set = sqlx::query(sql!("uploads/set_length.sql"))
        .bind(id.to_string())
        .bind(signed(length)?)
        .execute(tx.conn())
        .await?;
    if set.rows_affected() == 0 {
        let upload = read(&mut tx, id).await?;
        must_be_receiving(&upload)?;
        return Err(CatalogError::WrongState(if upload.length.is_some() {
            "the upload has another length already"
        } else {
            "the upload holds more bytes than that"
        }));
    }
    let upload = complete_if_whole(&mut tx, id, now).await?;
    tx.commit().await?;
    Ok(upload)
}

/// Completes the upload if it holds all its bytes: its video, the job and the outbox with it.
async fn complete_if_whole(tx: &mut Write<'_>, id: UploadId, now: Timestamp) -> Result<Upload> {
    let completed = sqlx::query(sql!("uploads/complete.sql")).bind(id.to_string()).execute(tx.conn()).await?;
    let upload = read(tx, id).await?;
    if completed.rows_affected() > 0 {
        let video = upload.video_id.to_string();
        sqlx::query(sql!("uploads/complete_video.sql")).bind(video.as_str()).execute(tx.conn()).await?;
        sqlx::query(sql!("uploads/insert_job.sql"))
            .bind(JobId::generate().to_string())
            .bind(video.as_str())
            .bind(now.as_micros())
            .execute(tx.conn())
            .await?;
        outbox::put_upload(tx, &upload, UploadState::Complete, now).await?;
        outbox::put_video(tx, upload.video_id, false).await?;
    }
    Ok(upload)
}

pub(super) async fn chunks(catalog: &SqlCatalog, id: UploadId, from: u64, limit: u32) -> Result<Vec<Chunk>> {
    let found = sqlx::query(sql!("uploads/chunks.sql"))
        .bind(id.to_string())
        .bind(signed(from)?)
        .bind(i64::from(limit))
        .fetch_all(&catalog.readers)
        .await?;
    found.iter().map(rows::chunk).collect()
}

pub(super) async fn abort(catalog: &SqlCatalog, id: UploadId, now: Timestamp) -> Result<Upload> {
    let mut tx = catalog.write().await?;
    hold(&mut tx, id).await?;
    let aborted =
        sqlx::query(sql!("uploads/abort.sql")).bind(id.to_string()).bind(now.as_micros()).execute(tx.conn()).await?;
    let upload = read(&mut tx, id).await?;
    if aborted.rows_affected() == 0 {
        return match upload.state {
            UploadState::Aborted => Ok(upload),
            _ => Err(CatalogError::WrongState("the upload is complete")),
        };
    }
    tell_aborted(&mut tx, &upload, now).await?;
    tx.commit().await?;
    Ok(upload)
}

pub(super) async fn expire(catalog: &SqlCatalog, id: UploadId, now: Timestamp) -> Result<bool> {
    let mut tx = catalog.write().await?;
    let expired =
        sqlx::query(sql!("uploads/expire.sql")).bind(id.to_string()).bind(now.as_micros()).execute(tx.conn()).await?;
    if expired.rows_affected() == 0 {
        return Ok(false);
    }
    let upload = read(&mut tx, id).await?;
    tell_aborted(&mut tx, &upload, now).await?;
    tx.commit().await?;
    Ok(true)
}

/// Aborts the video of an upload that was just aborted, and tells of both.
async fn tell_aborted(tx: &mut Write<'_>, upload: &Upload, now: Timestamp) -> Result<()> {
    sqlx::query(sql!("uploads/abort_video.sql")).bind(upload.video_id.to_string()).execute(tx.conn()).await?;
    outbox::put_upload(tx, upload, UploadState::Aborted, now).await?;
    outbox::put_video(tx, upload.video_id, true).await?;
    Ok(())
}

pub(super) async fn expired(catalog: &SqlCatalog, now: Timestamp, limit: u32) -> Result<Vec<Upload>> {
    let found = sqlx::query(sql!("uploads/expired.sql"))
        .bind(now.as_micros())
        .bind(i64::from(limit))
        .fetch_all(&catalog.readers)
        .await?;
    found.iter().map(rows::upload).collect()
}

pub(super) async fn unfinished(catalog: &SqlCatalog, owner: AccountId, limit: u32) -> Result<Vec<Upload>> {
    let found = sqlx::query(sql!("uploads/unfinished.sql"))
        .bind(owner.to_string())
        .bind(i64::from(limit))
        .fetch_all(&catalog.readers)
        .await?;
    found.iter().map(rows::upload).collect()
}

pub(super) async fn aborted(catalog: &SqlCatalog, limit: u32) -> Result<Vec<Upload>> {
    let found = sqlx::query(sql!("uploads/aborted.sql")).bind(i64::from(limit)).fetch_all(&catalog.readers).await?;
    found.iter().map(rows::upload).collect()
}

pub(super) async fn forget(catalog: &SqlCatalog, id: UploadId) -> Result<()> {
    let mut tx = catalog.write().await?;
    let row = sqlx::query(sql!("uploads/by_id.sql")).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    let Some(row) = row else { return Ok(()) };
    let upload = rows::upload(&row)?;
    if upload.state != UploadState::Aborted {
        return Err(CatalogError::WrongState("the upload was not aborted"));
    }
    forget_rows(&mut tx, upload.video_id).await?;
    tx.commit().await
}

/// Deletes a video's row and all that hangs on it.
pub(super) async fn forget_rows(tx: &mut Write<'_>, video: VideoId) -> Result<()> {
    for statement in [sql!("uploads/delete_of_video.sql"), sql!("videos/delete.sql")] {
        sqlx::query(statement).bind(video.to_string()).execute(tx.conn()).await?;
    }
    Ok(())
}
