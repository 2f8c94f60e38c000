//! The outbox: rows written in the transaction of the change they tell of, numbered in the order of the
//! commits.

use event_schemas::{
    Topic, VideoId,
    records::{JsonRecord, TranscodeRecord, TranscodeStep, UploadRecord, UploadState, VideoRecord},
    units::Timestamp,
};

use super::{
    SqlCatalog, leases,
    rows::{self, Columns},
    transaction::Write,
};
use crate::{CatalogError, OutboxRow, Result, Upload, Video};

/// How many ids `outbox/delete.sql` takes, and an id that no row has: they are counted from 1.
const BATCH: usize = 32;
const NO_ROW: i64 = 0;

async fn put<R: JsonRecord>(tx: &mut Write<'_>, topic: Topic, video: VideoId, record: &R) -> Result<()> {
    let id = leases::next(tx, "outbox").await?;
    sqlx::query(sql!("outbox/insert.sql"))
        .bind(id)
        .bind(topic.name())
        .bind(video.to_string())
        .bind(i64::from(R::SCHEMA as u16))
        .bind(rows::to_json(record)?)
        .execute(tx.conn())
        .await?;
    tx.wrote_outbox = true;
    Ok(())
}

/// Tells what became of an upload.
pub(super) async fn put_upload(tx: &mut Write<'_>, upload: &Upload, state: UploadState, at: Timestamp) -> Result<()> {
    let record =
        UploadRecord { v: 1, video_id: upload.video_id, upload_id: upload.id, state, bytes: upload.offset, at };
    put(tx, Topic::Uploads, upload.video_id, &record).await
}

/// Tells of a step of a video's transcoding.
pub(super) async fn put_transcode(
    tx: &mut Write<'_>,
    video_id: VideoId,
    epoch: u64,
    step: TranscodeStep,
    at: Timestamp,
) -> Result<()> {
    put(tx, Topic::Transcodes, video_id, &TranscodeRecord { v: 1, video_id, epoch, step, at }).await
}

/// Raises the video's version, tells of its new state, and returns it. The one place that does, so that
/// no two records of a video bear the same version.
pub(super) async fn put_video(tx: &mut Write<'_>, id: VideoId, deleted: bool) -> Result<Video> {
    sqlx::query(sql!("videos/raise_version.sql")).bind(id.to_string()).execute(tx.conn()).await?;
    let row = sqlx::query(sql!("videos/by_id.sql")).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    let video = rows::video(&row.ok_or(CatalogError::NotFound("video"))?)?;
    let record = VideoRecord {
        v: 1,
        video_id: id,
        version: video.version,
        deleted,
        owner: video.owner,
        channel_id: video.channel.id,
        channel_name: video.channel.name.clone(),
        title: video.title.clone(),
        description: video.description.clone(),
        tags: video.tags.clone(),
        visibility: video.visibility,
        upload: video.upload,
        playback: video.playback,
        duration: video.duration,
        created_at: video.created_at,
        published_at: video.published_at,
    };
    put(tx, Topic::Videos, id, &record).await?;
    Ok(video)
}

pub(super) async fn read(catalog: &SqlCatalog, limit: u32) -> Result<Vec<OutboxRow>> {
    let found = sqlx::query(sql!("outbox/read.sql")).bind(i64::from(limit)).fetch_all(&catalog.readers).await?;
    let row = |row| {
        let row: &sqlx::any::AnyRow = row;
        Ok(OutboxRow {
            id: row.int("id")?,
            topic: row.parsed("topic")?,
            key: row.text("record_key")?,
            schema: row.number("schema_id")?,
            payload: row.text("payload")?,
        })
    };
    found.iter().map(row).collect()
}

pub(super) async fn delivered(catalog: &SqlCatalog, ids: &[i64]) -> Result<()> {
    let mut tx = catalog.write().await?;
    for batch in ids.chunks(BATCH) {
        let padded = batch.iter().copied().chain(std::iter::repeat_n(NO_ROW, BATCH - batch.len()));
        let query = padded.fold(sqlx::query(sql!("outbox/delete.sql")), sqlx::query::Query::bind);
        query.execute(tx.conn()).await?;
    }
    tx.commit().await
}
