//! The owner's side: all of one's videos, and the figures of each.

use access::{Caller, Problem};
use axum::{
    Json,
    extract::{Path, Query, State},
};
use catalog::VideoFilter;
use event_schemas::{Millis, OffsetVector, VideoId, rules::RULE_VERSION};
use serde::{Deserialize, Serialize};
use serving_store::{
    counters::VideoCounters,
    stats::{HoursOfVideo, RetentionOfVideo, RetentionPoint, VideoFigure as _},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Playback,
    cursor::Page,
    shapes::{Counters, VideoView},
    videos::{managed, next_cursor},
};

/// A page of one's own videos.
#[derive(Debug, Serialize, ToSchema)]
pub struct StudioPage {
    /// Newest first, in any state.
    pub items: Vec<VideoView>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

#[utoipa::path(get, path = "/api/v1/studio/videos", tag = "studio", params(Page),
    responses((status = 200, body = StudioPage), (status = 401, body = Problem)))]
async fn own(
    State(playback): State<Playback>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Json<StudioPage>, Problem> {
    let owner = caller.required()?.id;
    let limit = page.limit()?;
    let videos = playback.access.catalog.list_videos(VideoFilter::OfOwner(owner), page.after()?, limit).await?;
    let mut items = Vec::with_capacity(videos.len());
    for video in &videos {
        items.push(playback.whole(&caller, video).await?);
    }
    Ok(Json(StudioPage { items, next_cursor: next_cursor(&videos, limit)? }))
}

/// How far back the hours go.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StatsQuery {
    /// 1 to 2160 hours back from now; 168 (a week) if absent.
    hours: Option<i64>,
}

/// One hour of a video.
#[derive(Debug, Serialize, ToSchema)]
pub struct HourView {
    /// Its start (RFC 3339), UTC.
    pub hour: String,
    /// What was counted in it, by the corrected event time.
    #[serde(flatten)]
    pub counters: Counters,
}

/// The retention curve.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetentionView {
    /// The video's length in milliseconds.
    pub duration_ms: i64,
    /// 100 points, each a hundredth of the video.
    pub points: Vec<RetentionPoint>,
}

/// What the figures have taken into account: recount at these offsets, under this rule, and the
/// same numbers come out.
#[derive(Debug, Serialize, ToSchema)]
pub struct AsOf {
    /// When this answer was made (RFC 3339).
    pub generated_at: String,
    /// Next offset of each partition of the `playback` topic, for the counters.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub offsets: OffsetVector,
    /// The same for the hours, which come from the lake.
    #[schema(value_type = Option<std::collections::BTreeMap<String, u64>>)]
    pub lake_offsets: Option<OffsetVector>,
    /// The same for the retention curve.
    #[schema(value_type = Option<std::collections::BTreeMap<String, u64>>)]
    pub retention_offsets: Option<OffsetVector>,
}

/// The figures of a video.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatsView {
    /// The video.
    pub video_id: VideoId,
    /// All time.
    pub counters: Counters,
    /// The hours in which anything was counted, oldest first.
    pub hours: Vec<HourView>,
    /// The retention curve, once there is one.
    pub retention: Option<RetentionView>,
    /// The version of the counting rules.
    pub rule_version: u16,
    /// What the figures have taken into account.
    pub as_of: AsOf,
}

#[utoipa::path(get, path = "/api/v1/videos/{id}/stats", tag = "studio", params(("id" = String, Path), StatsQuery),
    responses((status = 200, body = StatsView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn stats(
    State(playback): State<Playback>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<StatsQuery>,
) -> Result<Json<StatsView>, Problem> {
    let back = query.hours.unwrap_or(168);
    if !(1..=2160).contains(&back) {
        return Err(Problem::invalid_field("hours", "1 to 2160"));
    }
    let video = managed(&playback, &caller, &id).await?.id;
    let store = playback.store.as_ref();
    let seam = |error: serving_store::ServingError| Problem::from_seam(&error);
    let counters = VideoCounters::read_many(store, &[video], playback.playback_partitions).await.map_err(seam)?.pop();
    let counters = counters.unwrap_or_default();
    let hours = HoursOfVideo::read(store, video).await.map_err(seam)?;
    let retention = RetentionOfVideo::read(store, video).await.map_err(seam)?;
    let now = playback.access.clock.now();
    let since = (now - Millis::from_secs(back * 3600)).hour();
    let lake_offsets = hours.as_ref().map(|hours| hours.offsets.clone());
    let retention_offsets = retention.as_ref().map(|retention| retention.offsets.clone());
    let rule_version = hours.as_ref().map_or(RULE_VERSION, |hours| hours.rule);
    Ok(Json(StatsView {
        video_id: video,
        counters: counters.counters.into(),
        hours: hours
            .map(|hours| hours.hours)
            .unwrap_or_default()
            .into_iter()
            .filter(|hour| hour.hour >= since)
            .map(|hour| HourView { hour: hour.hour.to_rfc3339(), counters: hour.counters.into() })
            .collect(),
        retention: retention
            .filter(|retention| !retention.points.is_empty())
            .map(|retention| RetentionView { duration_ms: retention.duration_ms.0, points: retention.points }),
        rule_version,
        as_of: AsOf { generated_at: now.to_rfc3339(), offsets: counters.offsets, lake_offsets, retention_offsets },
    }))
}

/// The routes of this module.
#[must_use]
pub fn router() -> OpenApiRouter<Playback> {
    OpenApiRouter::new().routes(routes!(own)).routes(routes!(stats))
}
