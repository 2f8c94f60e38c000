//! `POST /api/v1/videos/{id}/playback`: begins a playback and grants that it may be counted.

use access::{
    Caller, Grant, Problem,
    client::Peer,
    viewer::{VIEWER_COOKIE, viewer},
};
use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
};
use axum_extra::extract::{
    CookieJar,
    cookie::{Cookie, SameSite},
};
use event_schemas::{Millis, SessionId, ViewerId, records::PlaybackState};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Playback, videos::visible};

/// How long a first-party viewer id lasts.
const VIEWER_LIFETIME: Millis = Millis::from_days(400);

/// What a player needs to play and report.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlaybackStart {
    /// The playback's session.
    pub session_id: SessionId,
    /// Sent along with its telemetry.
    pub grant: String,
    /// The grant's end (RFC 3339).
    pub expires_at: String,
    /// Milliseconds of playing between heartbeats, at most.
    pub heartbeat_ms: i64,
    /// Where telemetry goes.
    pub telemetry_url: String,
    /// The multivariant playlist.
    pub hls_url: String,
}

#[utoipa::path(post, path = "/api/v1/videos/{id}/playback", tag = "videos", params(("id" = String, Path)),
    responses((status = 200, body = PlaybackStart), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn start(
    State(playback): State<Playback>,
    caller: Caller,
    peer: Peer,
    headers: HeaderMap,
    jar: CookieJar,
    Path(id): Path<String>,
) -> Result<(CookieJar, Json<PlaybackStart>), Problem> {
    let access = &playback.access;
    let video = visible(&playback, &caller, &id).await?;
    let (Some(duration), PlaybackState::Playable | PlaybackState::Ready) = (video.duration, video.playback) else {
        return Err(Problem::new(
            axum::http::StatusCode::CONFLICT,
            "not-playable",
            "Not playable yet",
            "this video has nothing to play yet",
        ));
    };
    let now = access.clock.now();
    let known = jar.get(VIEWER_COOKIE).is_some_and(|cookie| access.signer.verify_viewer(cookie.value()).is_ok());
    let (viewer, jar) = if caller.account().is_some() || known {
        (viewer(access, &caller, peer, &headers, now), jar)
    } else {
        let viewer = ViewerId::from_bytes(rand::random());
        let cookie = Cookie::build((VIEWER_COOKIE, access.signer.sign_viewer(viewer, now + VIEWER_LIFETIME)))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(access.secure_cookies())
            .max_age(time::Duration::milliseconds(VIEWER_LIFETIME.0))
            .build();
        (viewer, jar.add(cookie))
    };
    let session = SessionId::generate();
    let expires_at = now + access.options.grant_lifetime;
    let grant = access.signer.sign_grant(Grant { session, video: video.id, viewer, duration }, expires_at);
    Ok((
        jar,
        Json(PlaybackStart {
            session_id: session,
            grant,
            expires_at: expires_at.to_rfc3339(),
            heartbeat_ms: event_schemas::rules::MAX_INTERVAL.0,
            telemetry_url: "/api/v1/telemetry".to_owned(),
            hls_url: format!("/media/{}/master.m3u8", video.id),
        }),
    ))
}

/// The route of this module.
#[must_use]
pub fn router() -> OpenApiRouter<Playback> {
    OpenApiRouter::new().routes(routes!(start))
}
