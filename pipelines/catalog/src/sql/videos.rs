//! Videos: reading, lists, edits, deletion.

use std::collections::HashMap;

use event_schemas::{
    Timestamp, VideoId,
    records::{UploadState, Visibility},
};

use super::{
    SqlCatalog, outbox,
    rows::{self, Columns, signed, to_json},
    uploads,
};
use crate::{CatalogError, Chunk, DeletedVideo, Result, Video, VideoCursor, VideoEdit, VideoFilter};

/// How many ids `videos/batch.sql` takes.
const BATCH: usize = 32;

pub(super) async fn by_id(catalog: &SqlCatalog, id: VideoId) -> Result<Option<Video>> {
    Ok(by_ids(catalog, &[id]).await?.pop())
}

pub(super) async fn by_ids(catalog: &SqlCatalog, ids: &[VideoId]) -> Result<Vec<Video>> {
    let mut found = HashMap::with_capacity(ids.len());
    for batch in ids.chunks(BATCH) {
        let padded =
            batch.iter().map(VideoId::to_string).chain(std::iter::repeat_n(String::new(), BATCH - batch.len()));
        let query = padded.fold(sqlx::query(sql!("videos/batch.sql")), sqlx::query::Query::bind);
        for row in query.fetch_all(&catalog.readers).await? {
            let video = rows::video(&row)?;
            found.insert(video.id, video);
        }
    }
    Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
}

pub(super) async fn list(
    catalog: &SqlCatalog,
    filter: VideoFilter,
    after: Option<VideoCursor>,
    limit: u32,
) -> Result<Vec<Video>> {
    let (created_at, id) = after.map_or_else(
        || (rows::FIRST_PAGE.0, rows::FIRST_PAGE.1.to_owned()),
        |cursor| (cursor.created_at.as_micros(), cursor.id.to_string()),
    );
    let (statement, of) = match filter {
        VideoFilter::Listed => (sql!("videos/listed.sql"), None),
        VideoFilter::ListedOfChannel(channel) => (sql!("videos/listed_of_channel.sql"), Some(channel.to_string())),
        VideoFilter::OfOwner(owner) => (sql!("videos/of_owner.sql"), Some(owner.to_string())),
    };
    let mut query = sqlx::query(statement).bind(created_at).bind(id).bind(i64::from(limit));
    if let Some(of) = of {
        query = query.bind(of);
    }
    query.fetch_all(&catalog.readers).await?.iter().map(rows::video).collect()
}

pub(super) async fn edit(catalog: &SqlCatalog, id: VideoId, edit: VideoEdit) -> Result<Video> {
    let mut tx = catalog.write().await?;
    // Held, so that the reason of a refusal is the state that was refused.
    sqlx::query(sql!("videos/hold.sql")).bind(id.to_string()).execute(tx.conn()).await?;
    let edited = sqlx::query(sql!("videos/edit.sql"))
        .bind(id.to_string())
        .bind(edit.title)
        .bind(edit.description)
        .bind(edit.tags.as_ref().map(to_json).transpose()?)
        .bind(edit.visibility.map(Visibility::as_str))
        .bind(edit.expected_version)
        .execute(tx.conn())
        .await?;
    if edited.rows_affected() == 0 {
        let row = sqlx::query(sql!("videos/by_id.sql")).bind(id.to_string()).fetch_optional(tx.conn()).await?;
        let row = row.ok_or(CatalogError::NotFound("video"))?;
        if row.maybe_int("deleted_at_us")?.is_some() {
            return Err(CatalogError::NotFound("video"));
        }
        let video = rows::video(&row)?;
        if video.upload == UploadState::Aborted {
            return Err(CatalogError::WrongState("the video's upload was aborted"));
        }
        let given = edit.expected_version.unwrap_or(video.version);
        return Err(CatalogError::VersionMismatch { actual: video.version, given });
    }
    let video = outbox::put_video(&mut tx, id, false).await?;
    tx.commit().await?;
    Ok(video)
}

pub(super) async fn delete(catalog: &SqlCatalog, id: VideoId, now: Timestamp) -> Result<()> {
    let mut tx = catalog.write().await?;
    let key = id.to_string();
    // The upload and the jobs first: in that order everybody holds them.
    let row = sqlx::query(sql!("uploads/hold_of_video.sql")).bind(key.as_str()).fetch_optional(tx.conn()).await?;
    let upload = rows::upload(&row.ok_or(CatalogError::NotFound("video"))?)?;
    sqlx::query(sql!("videos/cancel_jobs.sql")).bind(key.as_str()).bind(now.as_micros()).execute(tx.conn()).await?;
    let marked = sqlx::query(sql!("videos/mark_deleted.sql"))
        .bind(key.as_str())
        .bind(now.as_micros())
        .execute(tx.conn())
        .await?;
    if marked.rows_affected() == 0 {
        return Err(CatalogError::NotFound("video"));
    }
    if upload.state == UploadState::Receiving {
        sqlx::query(sql!("uploads/abort.sql"))
            .bind(upload.id.to_string())
            .bind(now.as_micros())
            .execute(tx.conn())
            .await?;
        outbox::put_upload(&mut tx, &upload, UploadState::Aborted, now).await?;
    }
    outbox::put_video(&mut tx, id, true).await?;
    tx.commit().await
}

pub(super) async fn deleted(catalog: &SqlCatalog, limit: u32) -> Result<Vec<DeletedVideo>> {
    let found = sqlx::query(sql!("videos/deleted.sql")).bind(i64::from(limit)).fetch_all(&catalog.readers).await?;
    found
        .iter()
        .map(|row| {
            Ok(DeletedVideo {
                id: row.parsed("id")?,
                upload_id: row.parsed("upload_id")?,
                deleted_at: row.time("deleted_at_us")?,
            })
        })
        .collect()
}

pub(super) async fn deleted_chunks(catalog: &SqlCatalog, id: VideoId, from: u64, limit: u32) -> Result<Vec<Chunk>> {
    let found = sqlx::query(sql!("videos/deleted_chunks.sql"))
        .bind(id.to_string())
        .bind(signed(from)?)
        .bind(i64::from(limit))
        .fetch_all(&catalog.readers)
        .await?;
    found.iter().map(rows::chunk).collect()
}

pub(super) async fn forget(catalog: &SqlCatalog, id: VideoId) -> Result<()> {
    let mut tx = catalog.write().await?;
    let row = sqlx::query(sql!("videos/by_id.sql")).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    let Some(row) = row else { return Ok(()) };
    if row.maybe_int("deleted_at_us")?.is_none() {
        return Err(CatalogError::WrongState("the video was not deleted"));
    }
    uploads::forget_rows(&mut tx, id).await?;
    tx.commit().await
}

pub(super) async fn unswept(catalog: &SqlCatalog, ended_before: Timestamp, limit: u32) -> Result<Vec<VideoId>> {
    let found = sqlx::query(sql!("videos/unswept.sql"))
        .bind(ended_before.as_micros())
        .bind(i64::from(limit))
        .fetch_all(&catalog.readers)
        .await?;
    found.iter().map(|row| row.parsed("video_id")).collect()
}

pub(super) async fn mark_swept(catalog: &SqlCatalog, id: VideoId) -> Result<()> {
    let mut tx = catalog.write().await?;
    sqlx::query(sql!("videos/mark_swept.sql")).bind(id.to_string()).execute(tx.conn()).await?;
    tx.commit().await
}
