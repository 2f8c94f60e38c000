//! Renditions, segments and posters: what of a video can be played.

use event_schemas::VideoId;
use sqlx::any::AnyRow;

use super::{
    SqlCatalog, jobs,
    rows::{self, Columns, signed},
};
use crate::{CatalogError, Job, MediaFile, NewRendition, Rendition, Result, Segment};

/// Joined rows, one a segment, to renditions. One statement reads both, so they fit together.
pub(super) async fn renditions(catalog: &SqlCatalog, id: VideoId) -> Result<Vec<Rendition>> {
    let found = sqlx::query(sql!("media/renditions.sql")).bind(id.to_string()).fetch_all(&catalog.readers).await?;
    let mut renditions: Vec<Rendition> = Vec::new();
    for row in &found {
        let name = row.text("name")?;
        if renditions.last().is_none_or(|last| last.info.name != name) {
            renditions.push(rendition(row, name)?);
        }
        if let (Some(number), Some(rendition)) = (row.maybe_number("number")?, renditions.last_mut()) {
            let segment = Segment { number, duration_us: row.int("duration_us")?, file: rows::media_file(row)? };
            rendition.segments.push(segment);
        }
    }
    Ok(renditions)
}

fn rendition(row: &AnyRow, name: String) -> Result<Rendition> {
    Ok(Rendition {
        info: NewRendition {
            name,
            kind: row.word("kind", rows::track_kind_of)?,
            codecs: row.text("codecs")?,
            width: row.maybe_number("width")?,
            height: row.maybe_number("height")?,
            frame_rate: row.maybe_float("frame_rate")?,
            init: MediaFile { name: row.text("init_name")?, bytes: row.number("init_bytes")? },
        },
        complete: row.flag("complete")?,
        segments: Vec::new(),
    })
}

pub(super) async fn file(catalog: &SqlCatalog, id: VideoId, name: &str) -> Result<Option<MediaFile>> {
    let row =
        sqlx::query(sql!("media/file.sql")).bind(id.to_string()).bind(name).fetch_optional(&catalog.readers).await?;
    row.as_ref().map(rows::media_file).transpose()
}

pub(super) async fn put_rendition(catalog: &SqlCatalog, job: &Job, rendition: NewRendition) -> Result<()> {
    let mut tx = catalog.write().await?;
    let video = jobs::fence(&mut tx, job).await?;
    sqlx::query(sql!("media/drop_earlier_rendition.sql"))
        .bind(video.to_string())
        .bind(rendition.name.as_str())
        .bind(signed(job.epoch)?)
        .execute(tx.conn())
        .await?;
    sqlx::query(sql!("media/put_rendition.sql"))
        .bind(video.to_string())
        .bind(rendition.name)
        .bind(signed(job.epoch)?)
        .bind(rows::track_kind(rendition.kind))
        .bind(rendition.codecs)
        .bind(rendition.width.map(i64::from))
        .bind(rendition.height.map(i64::from))
        .bind(rendition.frame_rate)
        .bind(rendition.init.name)
        .bind(signed(rendition.init.bytes)?)
        // `Any` declares a missing frame rate as another type than a given one, so a statement prepared with the
        // one must not be kept for the other.
        .persistent(false)
        .execute(tx.conn())
        .await?;
    tx.commit().await
}

pub(super) async fn put_segments(catalog: &SqlCatalog, job: &Job, rendition: &str, segments: &[Segment]) -> Result<()> {
    let mut tx = catalog.write().await?;
    let video = jobs::fence(&mut tx, job).await?;
    sqlx::query(sql!("media/has_rendition.sql"))
        .bind(video.to_string())
        .bind(rendition)
        .bind(signed(job.epoch)?)
        .fetch_optional(tx.conn())
        .await?
        .ok_or(CatalogError::NotFound("rendition"))?;
    for segment in segments {
        sqlx::query(sql!("media/put_segment.sql"))
            .bind(video.to_string())
            .bind(rendition)
            .bind(i64::from(segment.number))
            .bind(segment.duration_us)
            .bind(segment.file.name.as_str())
            .bind(signed(segment.file.bytes)?)
            .execute(tx.conn())
            .await?;
    }
    tx.commit().await
}
