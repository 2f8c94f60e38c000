//! `/media`: playlists, segments, init segments and posters.
//!
//! * `/media/{id}/master.m3u8` is the stable address of a video; playlists change, so they are
//!   `no-cache` with an ETag.
//! * Everything else is named by its content and never changes.
//! * A private video's playlists lead to `/media/{id}/~{token}/…`, signed and expiring, and are
//!   kept by no shared cache.

use std::sync::Arc;

use access::{Access, Caller, Problem, policy};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use catalog::{CatalogError, MediaFile, Video};
use event_schemas::{Millis, VideoId};
use futures::TryStreamExt as _;
use http_range_header::parse_range_header;
use object_store::{GetOptions, GetRange, ObjectStore as _, path::Path as Key};
use serving_store::flight::{FlightError, Freshness};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Playback, Presigned, video_id};

const HLS: &str = "application/vnd.apple.mpegurl";

/// How a caller came to be allowed.
pub(crate) enum Way {
    /// The media is for everyone.
    Open,
    /// A signed address or a signed-in owner.
    Personal,
}

impl Way {
    fn cache(&self, immutable: bool) -> HeaderValue {
        HeaderValue::from_static(match (self, immutable) {
            (Self::Open, true) => "public, max-age=31536000, immutable",
            (Self::Open, false) => "no-cache",
            (Self::Personal, true) => "private, max-age=3600, immutable",
            (Self::Personal, false) => "private, no-cache",
        })
    }
}

async fn find(playback: &Playback, id: &str) -> Result<Video, Problem> {
    playback.access.catalog.video(video_id(id)?).await?.ok_or_else(|| Problem::not_found("video"))
}

fn by_caller(caller: &Caller, video: &Video) -> Result<Way, Problem> {
    if policy::is_open_media(video) {
        return Ok(Way::Open);
    }
    policy::see(caller, video).map(|()| Way::Personal).map_err(|deny| deny.problem("video"))
}

pub(crate) fn by_token(playback: &Playback, token: &str, video: &Video) -> Result<Way, Problem> {
    let token = token.strip_prefix('~').ok_or_else(|| Problem::not_found("address"))?;
    match playback.access.signer.verify_path(token) {
        Ok(granted) if granted.video == video.id => Ok(Way::Personal),
        Ok(_) | Err(access::signing::TokenError::Forged) => Err(Problem::not_found("video")),
        Err(access::signing::TokenError::Expired) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "address-expired",
            "This address has expired",
            "load the page again to get a new one",
        )),
    }
}

fn text(headers: &HeaderMap, way: &Way, body: String) -> Response {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(body.as_bytes());
    let etag = format!("\"{}\"", digest[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let unchanged = headers.get(header::IF_NONE_MATCH).is_some_and(|value| lists(value, &etag));
    let mut response =
        if unchanged { StatusCode::NOT_MODIFIED.into_response() } else { Body::from(body).into_response() };
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static(HLS));
    set.insert(header::CACHE_CONTROL, way.cache(false));
    set.insert(header::VARY, HeaderValue::from_static("cookie, authorization, accept-encoding"));
    open_to_pages(set, way);
    if let Ok(value) = HeaderValue::from_str(&etag) {
        set.insert(header::ETAG, value);
    }
    response
}

/// Players on other sites may fetch what is for everyone.
fn open_to_pages(headers: &mut HeaderMap, way: &Way) {
    if matches!(way, Way::Open) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let exposed = HeaderValue::from_static("content-length, content-range, etag");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// Whether an `If-None-Match` value names this tag (RFC 9110, section 13.1.2).
fn lists(value: &HeaderValue, etag: &str) -> bool {
    value
        .to_str()
        .is_ok_and(|text| text.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag))
}

async fn playlist(
    playback: &Playback,
    headers: &HeaderMap,
    video: &Video,
    way: &Way,
    name: &str,
    prefix: &str,
) -> Result<Response, Problem> {
    let body = match way {
        Way::Open => shared_playlist(playback, video, name).await?,
        // Its addresses carry the caller's token.
        Way::Personal => rendered(&playback.access, video.id, name, prefix).await?,
    };
    body.map(|body| text(headers, way, body)).ok_or_else(|| Problem::not_found("playlist"))
}

/// A playlist as the catalog has it; none of that name.
async fn rendered(access: &Access, video: VideoId, name: &str, prefix: &str) -> Result<Option<String>, CatalogError> {
    let renditions = access.catalog.renditions(video).await?;
    Ok(if name == "master" {
        crate::hls::multivariant(&renditions, prefix)
    } else {
        crate::hls::media(&renditions, name)
    })
}

/// A playlist that is the same for everyone: put together once for all processes, however many ask
/// at once. What changes it raises the video's version, under which it is kept.
async fn shared_playlist(playback: &Playback, video: &Video, name: &str) -> Result<Option<String>, Problem> {
    const FRESH: Freshness = Freshness { fresh: Millis::from_secs(60), stale: Millis(0) };
    // Only names that could be a rendition's become keys.
    if name.len() > 32 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Ok(None);
    }
    let key = format!("playlist/{}/{}/{name}", video.id, video.version);
    let (access, id, name) = (Arc::clone(&playback.access), video.id, name.to_owned());
    let body = playback.playlists.get_or_compute(&key, FRESH, move || async move {
        // An error, since these are not kept: asking for names at random fills nothing.
        let body = rendered(&access, id, &name, "").await?.ok_or(CatalogError::NotFound("playlist"))?;
        Ok(Bytes::from(body))
    });
    match body.await {
        Ok(body) => Ok(Some(String::from_utf8(body.into()).map_err(|error| Problem::internal(&error))?)),
        Err(FlightError::Computation(error)) if matches!(*error, CatalogError::NotFound(_)) => Ok(None),
        Err(error) => Err(Problem::from_seam(&error)),
    }
}

/// The part of a file that a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Range(std::ops::Range<u64>),
    Unsatisfiable,
}

/// A single range is served; of several, or one that can't be read, the whole (RFC 9110 allows
/// a server to ignore `Range`).
fn part(headers: &HeaderMap, size: u64, etag: &str) -> Part {
    let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else { return Part::Whole };
    if headers.get(header::IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes()) {
        return Part::Whole;
    }
    let Ok(parsed) = parse_range_header(range) else { return Part::Whole };
    match parsed.validate(size) {
        Ok(ranges) => match ranges.as_slice() {
            [range] => Part::Range(*range.start()..*range.end() + 1),
            _ => Part::Whole,
        },
        Err(_) => Part::Unsatisfiable,
    }
}

async fn object(
    playback: &Playback,
    headers: &HeaderMap,
    video: &Video,
    way: &Way,
    file: &MediaFile,
) -> Result<Response, Problem> {
    if let Some(redirect) = away(playback, headers, video, way, file).await? {
        return Ok(redirect);
    }
    // The name is the hash of the content.
    let etag = format!("\"{}\"", file.name.split('.').next().unwrap_or_default());
    let mut response = if headers.get(header::IF_NONE_MATCH).is_some_and(|value| lists(value, &etag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let part = part(headers, file.bytes, &etag);
        if part == Part::Unsatisfiable {
            let mut response = Problem::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range",
                "No such range",
                format!("the file has {} bytes", file.bytes),
            )
            .into_response();
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{}", file.bytes)) {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            return Ok(response);
        }
        let range = match &part {
            Part::Range(range) => Some(GetRange::Bounded(range.clone())),
            Part::Whole | Part::Unsatisfiable => None,
        };
        let options = GetOptions { range, ..GetOptions::default() };
        let found =
            playback.objects.get_opts(&Key::from(file.key(video.id)), options).await.map_err(|error| match error {
                object_store::Error::NotFound { .. } => Problem::not_found("file"),
                error => {
                    tracing::warn!(error = %access::problem::chain(&error), "a media object can't be read");
                    Problem::unavailable("storage does not answer; try again in a moment")
                }
            })?;
        let length = found.range.end - found.range.start;
        metrics::counter!("millrace_media_bytes_total").increment(length);
        let status = if matches!(part, Part::Range(_)) { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let content_range = format!("bytes {}-{}/{}", found.range.start, found.range.end.saturating_sub(1), file.bytes);
        let body = Body::from_stream(found.into_stream().map_err(std::io::Error::other));
        let mut response = (status, body).into_response();
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if status == StatusCode::PARTIAL_CONTENT
            && let Ok(value) = HeaderValue::from_str(&content_range)
        {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
        response
    };
    let content_type = match file.name.rsplit('.').next() {
        Some("m4s") => "video/iso.segment",
        Some("mp4") => "video/mp4",
        Some("jpg") => "image/jpeg",
        Some("vtt") => "text/vtt",
        _ => "application/octet-stream",
    };
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    set.insert(header::CACHE_CONTROL, way.cache(true));
    set.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    set.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    open_to_pages(set, way);
    if let Ok(value) = HeaderValue::from_str(&etag) {
        set.insert(header::ETAG, value);
    }
    Ok(response)
}

/// Sends players to the store itself for public segments, where that is wanted. What is private
/// stays here, where each request is checked.
async fn away(
    playback: &Playback,
    headers: &HeaderMap,
    video: &Video,
    way: &Way,
    file: &MediaFile,
) -> Result<Option<Response>, Problem> {
    let Some(Presigned { by, valid_for }) = &playback.presigned else { return Ok(None) };
    let is_segment = file.name.ends_with(".m4s") || file.name.ends_with(".mp4");
    // Who has a copy only asks whether it is still right; that is answered here.
    if !is_segment || !matches!(way, Way::Open) || headers.contains_key(header::IF_NONE_MATCH) {
        return Ok(None);
    }
    let url = by.get_url(&Key::from(file.key(video.id)), *valid_for).await.map_err(|error| {
        tracing::warn!(error = %access::problem::chain(&error), "an address can't be signed");
        Problem::unavailable("storage does not answer; try again in a moment")
    })?;
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    let set = response.headers_mut();
    let location = HeaderValue::from_str(url.as_str()).map_err(|error| Problem::internal(&error))?;
    set.insert(header::LOCATION, location);
    // Half of the time that the address is valid: a kept answer must not lead to a refusal.
    let keep = format!("public, max-age={}", valid_for.0 / 2000);
    set.insert(header::CACHE_CONTROL, HeaderValue::from_str(&keep).map_err(|error| Problem::internal(&error))?);
    open_to_pages(set, way);
    metrics::counter!("millrace_media_redirects_total").increment(1);
    Ok(Some(response))
}

async fn serve(
    playback: &Playback,
    headers: &HeaderMap,
    video: &Video,
    way: &Way,
    name: &str,
    prefix: &str,
) -> Result<Response, Problem> {
    if let Some(name) = name.strip_suffix(".m3u8") {
        return playlist(playback, headers, video, way, name, prefix).await;
    }
    let file = playback.access.catalog.media_file(video.id, name).await?;
    let file = file.ok_or_else(|| Problem::not_found("file"))?;
    object(playback, headers, video, way, &file).await
}

#[utoipa::path(get, path = "/media/{id}/{name}", tag = "media",
    params(("id" = String, Path), ("name" = String, Path, description = "master.m3u8, a rendition's playlist, or a content-hashed file")),
    responses((status = 200), (status = 206), (status = 304), (status = 404, body = Problem), (status = 416, body = Problem)))]
async fn media(
    State(playback): State<Playback>,
    caller: Caller,
    headers: HeaderMap,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let video = find(&playback, &id).await?;
    let way = by_caller(&caller, &video)?;
    // From here on the player needs no cookie: the addresses carry the right to fetch.
    let prefix = match way {
        Way::Open => String::new(),
        Way::Personal => {
            let base = playback.media_base(&video);
            base.rsplit('/')
                .next()
                .filter(|last| last.starts_with('~'))
                .map(|token| format!("{token}/"))
                .unwrap_or_default()
        }
    };
    serve(&playback, &headers, &video, &way, &name, &prefix).await
}

#[utoipa::path(get, path = "/media/{id}/{token}/{name}", tag = "media",
    params(("id" = String, Path), ("token" = String, Path, description = "`~` and a signed, expiring token"), ("name" = String, Path)),
    responses((status = 200), (status = 206), (status = 304), (status = 403, body = Problem), (status = 404, body = Problem), (status = 416, body = Problem)))]
async fn signed_media(
    State(playback): State<Playback>,
    headers: HeaderMap,
    Path((id, token, name)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let video = find(&playback, &id).await?;
    let way = by_token(&playback, &token, &video)?;
    serve(&playback, &headers, &video, &way, &name, "").await
}

/// The routes of this module.
#[must_use]
pub fn router() -> OpenApiRouter<Playback> {
    OpenApiRouter::new().routes(routes!(media)).routes(routes!(signed_media))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_served_singly() {
        let headers = |pairs: &[(header::HeaderName, &'static str)]| {
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect::<HeaderMap>()
        };
        let range = |text| part(&headers(&[(header::RANGE, text)]), 100, "\"a\"");
        assert_eq!(part(&HeaderMap::new(), 100, "\"a\""), Part::Whole);
        assert_eq!(range("bytes=0-9"), Part::Range(0..10));
        assert_eq!(range("bytes=90-"), Part::Range(90..100));
        assert_eq!(range("bytes=-5"), Part::Range(95..100));
        assert_eq!(range("bytes=100-"), Part::Unsatisfiable);
        assert_eq!(range("bytes=0-1,5-6"), Part::Whole);
        assert_eq!(range("lines=0-1"), Part::Whole);
        let other = headers(&[(header::RANGE, "bytes=0-9"), (header::IF_RANGE, "\"b\"")]);
        assert_eq!(part(&other, 100, "\"a\""), Part::Whole);
    }

    #[test]
    fn tags_are_compared_weakly() {
        assert!(lists(&HeaderValue::from_static("\"x\", W/\"a\""), "\"a\""));
        assert!(lists(&HeaderValue::from_static("*"), "\"a\""));
        assert!(!lists(&HeaderValue::from_static("\"b\""), "\"a\""));
    }
}
