//! `GET /internal/media-access/…`: what an edge cache asks before it gives out media that it
//! holds. The cache holds one copy of a file, whoever it was fetched for; this decides, by the
//! same policy as `/media` itself, who gets it.
//!
//! * `/{id}` asks for everybody: no credentials are looked at, so one answer serves all, and the
//!   cache may keep it. How long it may is the time within which a video that is no longer for
//!   everybody stops at the edge: see [`KEPT`].
//! * `/{id}/{token}` asks for the holder of a path token; its answer is kept by nobody.
//!
//! 204 allows. 401 does not, and says nothing else: the cache then passes the request on to
//! `/media`, which answers as it would without a cache. A refusal is kept like a permission, as it
//! must take an older permission's place.

use access::{Problem, policy};
use axum::{
    extract::{Path, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Playback,
    media::{Way, by_token},
    video_id,
};

/// Whether the media is `open` to everybody or `personal`; with a 204.
const MEDIA: HeaderName = HeaderName::from_static("millrace-media");

/// An answer for everybody holds for two seconds, for one more while it is asked for anew, and
/// for ten minutes while no origin answers: an owner then can't change anything either.
pub const KEPT: &str = "public, max-age=2, stale-while-revalidate=1, stale-if-error=600";

fn answer(way: Option<&Way>, kept: &'static str) -> Response {
    let mut response = match way {
        Some(way) => {
            let way = match way {
                Way::Open => "open",
                Way::Personal => "personal",
            };
            (StatusCode::NO_CONTENT, [(MEDIA, HeaderValue::from_static(way))]).into_response()
        }
        None => Problem::unauthorized().into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    response
}

#[utoipa::path(get, path = "/internal/media-access/{id}", tag = "edge", params(("id" = String, Path)),
    responses((status = 204, description = "The media is for everybody"),
              (status = 401, description = "It is not; ask `/media` with the caller's own credentials"),
              (status = 503, body = Problem)))]
async fn for_everybody(State(playback): State<Playback>, Path(id): Path<String>) -> Result<Response, Problem> {
    let video = match video_id(&id) {
        Ok(id) => playback.access.catalog.video(id).await?,
        Err(_) => None,
    };
    let is_open = video.is_some_and(|video| policy::is_open_media(&video));
    Ok(answer(is_open.then_some(&Way::Open), KEPT))
}

#[utoipa::path(get, path = "/internal/media-access/{id}/{token}", tag = "edge",
    params(("id" = String, Path), ("token" = String, Path, description = "`~` and a signed, expiring token")),
    responses((status = 204, description = "The token's holder may fetch the media"),
              (status = 401, description = "Not by this token; ask `/media`"), (status = 503, body = Problem)))]
async fn for_holder(
    State(playback): State<Playback>,
    Path((id, token)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let video = match video_id(&id) {
        Ok(id) => playback.access.catalog.video(id).await?,
        Err(_) => None,
    };
    let way = video.and_then(|video| by_token(&playback, &token, &video).ok());
    Ok(answer(way.as_ref(), "no-store"))
}

/// The routes of this module.
#[must_use]
pub fn router() -> OpenApiRouter<Playback> {
    OpenApiRouter::new().routes(routes!(for_everybody)).routes(routes!(for_holder))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the edge's configuration relies on. In particular a refusal must be kept like a
    /// permission, and must not be one of the statuses (403, 404, 5xx) in whose place nginx gives
    /// out the permission from before.
    #[test]
    fn a_refusal_takes_a_permissions_place() {
        let said = |response: &Response, name: HeaderName| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        let (open, refused) = (answer(Some(&Way::Open), KEPT), answer(None, KEPT));
        assert_eq!((open.status().as_u16(), refused.status().as_u16()), (204, 401));
        assert_eq!(said(&open, header::CACHE_CONTROL), said(&refused, header::CACHE_CONTROL));
        assert_eq!(said(&open, MEDIA).as_deref(), Some("open"));
        assert_eq!(said(&refused, MEDIA), None);
        assert_eq!(said(&answer(Some(&Way::Personal), "no-store"), MEDIA).as_deref(), Some("personal"));
    }
}
