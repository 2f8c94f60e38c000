//! Search, trending and related videos. Whatever an index or a ranking names is looked up in the
//! catalog and put before the policy again, so that none of them can leak a video.

use std::collections::HashSet;

use access::{Caller, Problem, policy};
use axum::{
    Json,
    extract::{Path, Query, State},
};
use catalog::{Video, VideoFilter};
use event_schemas::VideoId;
use search_index::{SearchError, SearchQuery};
use serde::{Deserialize, Serialize};
use serving_store::stats::{self, RelatedToVideo, VideoFigure as _};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Playback,
    cursor::Page,
    shapes::{VideoCard, VideoPage},
    videos::visible,
};

/// A search.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SearchParams {
    /// Words; at most 500 characters.
    q: Option<String>,
    /// 1 to 100 items; 24 if absent.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of search results.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchResults {
    /// The best first.
    pub items: Vec<VideoCard>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
    /// How many videos match.
    pub total: usize,
}

fn search_problem(error: &SearchError) -> Problem {
    match error {
        SearchError::TooLong { .. } => Problem::invalid_field("q", error.to_string()),
        SearchError::BadCursor => Problem::invalid_field("cursor", error.to_string()),
        _ => Problem::from_seam(error),
    }
}

impl Playback {
    /// The videos of these ids that may be listed, in their order.
    async fn listed(&self, ids: &[VideoId]) -> Result<Vec<Video>, Problem> {
        let mut videos = self.access.catalog.videos(ids).await?;
        videos.retain(policy::is_listed);
        Ok(videos)
    }
}

#[utoipa::path(get, path = "/api/v1/search", tag = "feeds", params(SearchParams),
    responses((status = 200, body = SearchResults), (status = 422, body = Problem)))]
async fn search(
    State(playback): State<Playback>,
    Query(params): Query<SearchParams>,
) -> Result<Json<SearchResults>, Problem> {
    let limit = Page { limit: params.limit, cursor: None }.limit()?;
    let cursor =
        params.cursor.map(|text| text.parse()).transpose().map_err(|error: SearchError| search_problem(&error))?;
    let query =
        SearchQuery { text: params.q.unwrap_or_default(), limit: limit as usize, cursor, ..SearchQuery::default() };
    let page = playback.index.search(&query).await.map_err(|error| search_problem(&error))?;
    let ids: Vec<VideoId> = page.hits.iter().map(|hit| hit.video).collect();
    let videos = playback.listed(&ids).await?;
    Ok(Json(SearchResults {
        items: playback.cards(&videos).await,
        next_cursor: page.next.map(|cursor| cursor.to_string()),
        total: page.total,
    }))
}

#[utoipa::path(get, path = "/api/v1/trending", tag = "feeds", params(Page),
    responses((status = 200, body = VideoPage), (status = 422, body = Problem)))]
async fn trending(State(playback): State<Playback>, Query(page): Query<Page>) -> Result<Json<VideoPage>, Problem> {
    let limit = page.limit()?;
    // Without the ranking the newest are shown: some videos are worth more than none.
    let ranked = stats::read_trending(playback.store.as_ref(), 0, limit as usize).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the trending ranking can't be read");
        Vec::new()
    });
    let ids: Vec<VideoId> = ranked.iter().map(|ranked| ranked.video_id).collect();
    let mut videos = playback.listed(&ids).await?;
    if videos.len() < limit as usize {
        // A young instance has watched little: the newest fill the row up.
        let known: HashSet<VideoId> = videos.iter().map(|video| video.id).collect();
        let newest = playback.access.catalog.list_videos(VideoFilter::Listed, None, limit).await?;
        videos.extend(newest.into_iter().filter(|video| policy::is_listed(video) && !known.contains(&video.id)));
        videos.truncate(limit as usize);
    }
    Ok(Json(VideoPage { items: playback.cards(&videos).await, next_cursor: None }))
}

/// Why a video is related.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RelatedReason {
    /// The same viewers watched both.
    WatchedTogether,
    /// Their texts are alike.
    SimilarText,
}

/// A related video.
#[derive(Debug, Serialize, ToSchema)]
pub struct RelatedCard {
    /// The video.
    #[serde(flatten)]
    pub card: VideoCard,
    /// Why it is here.
    pub reason: RelatedReason,
}

/// Related videos.
#[derive(Debug, Serialize, ToSchema)]
pub struct RelatedList {
    /// The closest first.
    pub items: Vec<RelatedCard>,
}

#[utoipa::path(get, path = "/api/v1/videos/{id}/related", tag = "feeds", params(("id" = String, Path), Page),
    responses((status = 200, body = RelatedList), (status = 404, body = Problem)))]
async fn related(
    State(playback): State<Playback>,
    caller: Caller,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<RelatedList>, Problem> {
    let limit = page.limit()? as usize;
    let video = visible(&playback, &caller, &id).await?;
    let together = match RelatedToVideo::read(playback.store.as_ref(), video.id).await {
        Ok(related) => related.map(|related| related.videos).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "the related videos can't be read");
            Vec::new()
        }
    };
    let mut seen = HashSet::from([video.id]);
    let mut found: Vec<(VideoId, RelatedReason)> = together
        .into_iter()
        .map(|related| (related.video_id, RelatedReason::WatchedTogether))
        .filter(|(id, _)| seen.insert(*id))
        .collect();
    // Asked for twice as many as wanted: some may not be listed any more.
    let mut text = format!("{} {}", video.title, video.tags.join(" "));
    text.push(' ');
    text.extend(video.description.chars().take(1000));
    let similar = match playback.index.similar_to_text(&text, limit * 2).await {
        Ok(similar) => similar,
        Err(error) if found.is_empty() => return Err(search_problem(&error)),
        Err(error) => {
            tracing::warn!(%error, "videos with a similar text can't be found");
            Vec::new()
        }
    };
    found.extend(
        similar.into_iter().map(|hit| (hit.video, RelatedReason::SimilarText)).filter(|(id, _)| seen.insert(*id)),
    );
    let ids: Vec<VideoId> = found.iter().map(|(id, _)| *id).collect();
    let mut videos = playback.listed(&ids).await?;
    videos.truncate(limit);
    let reasons: std::collections::HashMap<VideoId, RelatedReason> = found.into_iter().collect();
    let items = playback
        .cards(&videos)
        .await
        .into_iter()
        .map(|card| {
            let reason = reasons.get(&card.id).copied().unwrap_or(RelatedReason::SimilarText);
            RelatedCard { card, reason }
        })
        .collect();
    Ok(Json(RelatedList { items }))
}

/// The routes of this module.
#[must_use]
pub fn router() -> OpenApiRouter<Playback> {
    OpenApiRouter::new().routes(routes!(search)).routes(routes!(trending)).routes(routes!(related))
}
