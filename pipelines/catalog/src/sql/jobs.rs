//! Jobs: leasing, and every write that only the present holder of a lease may make.

use event_schemas::{Millis, Timestamp, VideoId, records::TranscodeStep};

use super::{
    SqlCatalog, outbox,
    rows::{self, Columns, signed, to_json},
    transaction::Write,
};
use crate::{CatalogError, Job, JobKind, Result, SourceInfo, TranscodeResult, Video};
use event_schemas::JobId;

pub(super) async fn lease(
    catalog: &SqlCatalog,
    kind: JobKind,
    owner: &str,
    now: Timestamp,
    lease: Millis,
) -> Result<Option<Job>> {
    let mut tx = catalog.write().await?;
    let row = sqlx::query(catalog.dialect.lease_job)
        .bind(rows::job_kind(kind))
        .bind(owner)
        .bind(now.as_micros())
        .bind((now + lease).as_micros())
        .fetch_optional(tx.conn())
        .await?;
    let Some(row) = row else { return Ok(None) };
    let job = rows::job(&row)?;
    tx.commit().await?;
    Ok(Some(job))
}

/// Holds the job's row until the transaction ends, if the lease still stands; names its video.
pub(super) async fn fence(tx: &mut Write<'_>, job: &Job) -> Result<VideoId> {
    sqlx::query(sql!("jobs/fence.sql"))
        .bind(job.id.to_string())
        .bind(signed(job.epoch)?)
        .fetch_optional(tx.conn())
        .await?
        .ok_or(CatalogError::Fenced)?
        .parsed("video_id")
}

/// Runs a statement on a leased job that takes its id, epoch and an instant.
async fn update_leased(
    catalog: &SqlCatalog,
    statement: &'static str,
    job: JobId,
    epoch: u64,
    at: Timestamp,
) -> Result<()> {
    let mut tx = catalog.write().await?;
    let updated = sqlx::query(statement)
        .bind(job.to_string())
        .bind(signed(epoch)?)
        .bind(at.as_micros())
        .execute(tx.conn())
        .await?;
    if updated.rows_affected() == 0 {
        return Err(CatalogError::Fenced);
    }
    tx.commit().await
}

pub(super) async fn heartbeat(catalog: &SqlCatalog, job: JobId, epoch: u64, until: Timestamp) -> Result<()> {
    update_leased(catalog, sql!("jobs/heartbeat.sql"), job, epoch, until).await
}

pub(super) async fn release(catalog: &SqlCatalog, job: JobId, epoch: u64, not_before: Timestamp) -> Result<()> {
    update_leased(catalog, sql!("jobs/release.sql"), job, epoch, not_before).await
}

pub(super) async fn of_video(catalog: &SqlCatalog, id: VideoId) -> Result<Vec<Job>> {
    let found = sqlx::query(sql!("jobs/of_video.sql")).bind(id.to_string()).fetch_all(&catalog.readers).await?;
    found.iter().map(rows::job).collect()
}

pub(super) async fn set_source_info(catalog: &SqlCatalog, job: &Job, info: &SourceInfo) -> Result<()> {
    let mut tx = catalog.write().await?;
    let video = fence(&mut tx, job).await?;
    sqlx::query(sql!("jobs/set_source.sql")).bind(video.to_string()).bind(to_json(info)?).execute(tx.conn()).await?;
    tx.commit().await
}

pub(super) async fn set_progress(catalog: &SqlCatalog, job: &Job, percent: u8) -> Result<()> {
    let mut tx = catalog.write().await?;
    let video = fence(&mut tx, job).await?;
    sqlx::query(sql!("jobs/set_progress.sql"))
        .bind(video.to_string())
        .bind(i64::from(percent.min(100)))
        .execute(tx.conn())
        .await?;
    tx.commit().await
}

async fn end(tx: &mut Write<'_>, job: &Job, state: &'static str, now: Timestamp) -> Result<()> {
    sqlx::query(sql!("jobs/end.sql"))
        .bind(job.id.to_string())
        .bind(state)
        .bind(now.as_micros())
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub(super) async fn finish(catalog: &SqlCatalog, job: &Job, result: TranscodeResult, now: Timestamp) -> Result<Video> {
    let mut tx = catalog.write().await?;
    let id = fence(&mut tx, job).await?;
    let video = id.to_string();
    for name in &result.renditions {
        let completed = sqlx::query(sql!("media/complete_rendition.sql"))
            .bind(video.as_str())
            .bind(name.as_str())
            .bind(signed(job.epoch)?)
            .execute(tx.conn())
            .await?;
        if completed.rows_affected() == 0 {
            return Err(CatalogError::NotFound("rendition"));
        }
    }
    sqlx::query(sql!("media/drop_unfinished_renditions.sql"))
        .bind(video.as_str())
        .bind(signed(job.epoch)?)
        .execute(tx.conn())
        .await?;
    let (poster, poster_bytes) = result.poster.map_or((None, None), |file| (Some(file.name), Some(file.bytes)));
    sqlx::query(sql!("jobs/set_ready.sql"))
        .bind(video.as_str())
        .bind(result.duration.0)
        .bind(poster)
        .bind(poster_bytes.map(signed).transpose()?)
        .bind(now.as_micros())
        .execute(tx.conn())
        .await?;
    end(&mut tx, job, "done", now).await?;
    let step = TranscodeStep::Ready { duration: result.duration };
    outbox::put_transcode(&mut tx, id, job.epoch, step, now).await?;
    let video = outbox::put_video(&mut tx, id, false).await?;
    tx.commit().await?;
    Ok(video)
}

pub(super) async fn fail(catalog: &SqlCatalog, job: &Job, reason: &str, now: Timestamp) -> Result<Video> {
    let mut tx = catalog.write().await?;
    let id = fence(&mut tx, job).await?;
    let video = id.to_string();
    sqlx::query(sql!("media/drop_renditions.sql")).bind(video.as_str()).execute(tx.conn()).await?;
    sqlx::query(sql!("jobs/set_failed.sql")).bind(video.as_str()).bind(reason).execute(tx.conn()).await?;
    end(&mut tx, job, "failed", now).await?;
    let step = TranscodeStep::Failed { reason: reason.to_owned() };
    outbox::put_transcode(&mut tx, id, job.epoch, step, now).await?;
    let video = outbox::put_video(&mut tx, id, false).await?;
    tx.commit().await?;
    Ok(video)
}
