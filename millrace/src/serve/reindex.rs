//! Fills a search index that has lost its place in the log from the catalog.

use std::sync::Arc;

use catalog::{Catalog, Video, VideoCursor, VideoFilter};
use event_log::EventLog;
use search_index::{Change, IndexDocument, SearchIndex};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const PAGE: u32 = 500;

fn document(video: Video) -> IndexDocument {
    IndexDocument {
        video_id: video.id,
        version: video.version,
        title: video.title,
        description: video.description,
        tags: video.tags,
        channel_id: video.channel.id,
        channel_name: video.channel.name,
        language: None,
        published_at: video.published_at,
        duration: video.duration,
        vectors: Vec::new(),
    }
}

/// Puts every listed video into the index, if the log no longer holds all that it needs.
///
/// # Errors
/// Catalog, log or index do not answer.
pub async fn if_needed(
    log: &Arc<dyn EventLog>,
    catalog: &Arc<dyn Catalog>,
    index: &Arc<dyn SearchIndex>,
) -> Result<(), Failure> {
    if !index_stage::history_is_missing(log.as_ref(), index.as_ref()).await? {
        return Ok(());
    }
    tracing::warn!("the search index is filled from the catalog");
    let mut after: Option<VideoCursor> = None;
    loop {
        let videos = catalog.list_videos(VideoFilter::Listed, after, PAGE).await?;
        let Some(last) = videos.last() else { return Ok(()) };
        after = Some(VideoCursor { created_at: last.created_at, id: last.id });
        let changes = videos.into_iter().map(|video| Change::Upsert(document(video))).collect();
        index.apply(changes, None).await?;
    }
}
