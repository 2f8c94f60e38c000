//! Listing, reading, editing and deleting videos.

use access::{Caller, FieldError, Problem, policy, routes::Body};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use catalog::{Video, VideoCursor, VideoEdit, VideoFilter, check_video_text};
use event_schemas::records::Visibility;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Playback,
    cursor::{self, Page},
    shapes::{VideoPage, VideoView},
    video_id,
};

/// Which videos a list holds.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only those of the channel with this id.
    channel: Option<String>,
    /// 1 to 100 items; 24 if absent.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The cursor after the last of `videos`, if the page is full.
pub(crate) fn next_cursor(videos: &[Video], limit: u32) -> Result<Option<String>, Problem> {
    match videos.last() {
        Some(last) if videos.len() >= limit as usize => {
            cursor::encode(&VideoCursor { created_at: last.created_at, id: last.id }).map(Some)
        }
        _ => Ok(None),
    }
}

#[utoipa::path(get, path = "/api/v1/videos", tag = "videos", params(ListQuery),
    responses((status = 200, body = VideoPage), (status = 422, body = Problem)))]
async fn list(State(playback): State<Playback>, Query(query): Query<ListQuery>) -> Result<Json<VideoPage>, Problem> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    let limit = page.limit()?;
    let filter = match query.channel {
        None => VideoFilter::Listed,
        Some(id) => VideoFilter::ListedOfChannel(id.parse().map_err(|_| Problem::not_found("channel"))?),
    };
    let videos = playback.access.catalog.list_videos(filter, page.after()?, limit).await?;
    let next_cursor = next_cursor(&videos, limit)?;
    let listed: Vec<Video> = videos.into_iter().filter(policy::is_listed).collect();
    Ok(Json(VideoPage { items: playback.cards(&listed).await, next_cursor }))
}

/// The video of a path, if the caller may see it.
pub(crate) async fn visible(playback: &Playback, caller: &Caller, id: &str) -> Result<Video, Problem> {
    let video = playback.access.catalog.video(video_id(id)?).await?.ok_or_else(|| Problem::not_found("video"))?;
    policy::see(caller, &video).map_err(|deny| deny.problem("video"))?;
    Ok(video)
}

/// The video of a path, if the caller may change and analyse it.
pub(crate) async fn managed(playback: &Playback, caller: &Caller, id: &str) -> Result<Video, Problem> {
    let video = visible(playback, caller, id).await?;
    policy::manage(caller, &video).map_err(|deny| deny.problem("video"))?;
    Ok(video)
}

#[utoipa::path(get, path = "/api/v1/videos/{id}", tag = "videos", params(("id" = String, Path)),
    responses((status = 200, body = VideoView), (status = 404, body = Problem)))]
async fn read(
    State(playback): State<Playback>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<VideoView>, Problem> {
    let video = visible(&playback, &caller, &id).await?;
    Ok(Json(playback.whole(&caller, &video).await?))
}

/// Changes to a video; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditForm {
    /// 1 to 120 characters.
    title: Option<String>,
    /// At most 5000 characters.
    description: Option<String>,
    /// At most 20 of 1 to 40 characters.
    tags: Option<Vec<String>>,
    /// public, unlisted or private.
    visibility: Option<Visibility>,
    /// Refuse with 409 unless the video has this version.
    expected_version: Option<i64>,
}

#[utoipa::path(patch, path = "/api/v1/videos/{id}", tag = "videos", params(("id" = String, Path)), request_body = EditForm,
    responses((status = 200, body = VideoView), (status = 401, body = Problem), (status = 403, body = Problem),
              (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn edit(
    State(playback): State<Playback>,
    caller: Caller,
    Path(id): Path<String>,
    Body(form): Body<EditForm>,
) -> Result<Json<VideoView>, Problem> {
    let video = managed(&playback, &caller, &id).await?;
    let tags: Option<Vec<String>> = form.tags.map(|tags| tags.into_iter().map(|tag| tag.trim().to_owned()).collect());
    let errors = check_video_text(form.title.as_deref(), form.description.as_deref(), tags.as_deref());
    if !errors.is_empty() {
        let errors =
            errors.into_iter().map(|(field, message)| FieldError { field: field.to_owned(), message }).collect();
        return Err(Problem::invalid(errors));
    }
    let edit = VideoEdit {
        expected_version: form.expected_version,
        title: form.title.map(|title| title.trim().to_owned()),
        description: form.description,
        tags,
        visibility: form.visibility,
    };
    let video = playback.access.catalog.edit_video(video.id, edit, playback.access.clock.now()).await?;
    Ok(Json(playback.whole(&caller, &video).await?))
}

#[utoipa::path(delete, path = "/api/v1/videos/{id}", tag = "videos", params(("id" = String, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn delete(
    State(playback): State<Playback>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let video = managed(&playback, &caller, &id).await?;
    playback.access.catalog.delete_video(video.id, playback.access.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The routes of this module.
#[must_use]
pub fn router() -> OpenApiRouter<Playback> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(read, edit, delete))
}
