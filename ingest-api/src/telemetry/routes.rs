//! `POST /api/v1/telemetry`.

use access::{Caller, Problem, client::Peer, policy, signing::TokenError, viewer};
use axum::{
    Json,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
};
use event_schemas::Millis;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    contract::{Accepted, MAX_BODY, TelemetryBatch},
    decide::{Stamp, decide},
};
use crate::Ingest;

/// The video's signed length and the viewer, from a grant that fits the batch.
fn check_grant(ingest: &Ingest, batch: &TelemetryBatch, token: &str) -> Result<access::Grant, Problem> {
    let refuse =
        |slug: &str, detail: &str| Problem::new(StatusCode::FORBIDDEN, slug, "The playback grant is not valid", detail);
    let grant = ingest.access.signer.verify_grant(token).map_err(|error| match error {
        TokenError::Forged => refuse(
            "grant-forged",
            "the grant was not made by this instance; ask for one with POST /api/v1/videos/{id}/playback",
        ),
        TokenError::Expired => {
            refuse("grant-expired", "the grant has expired; ask for a new one with POST /api/v1/videos/{id}/playback")
        }
    })?;
    if grant.session != batch.session_id || grant.video != batch.video_id {
        return Err(refuse("grant-mismatch", "the grant is for another session or video"));
    }
    Ok(grant)
}

#[utoipa::path(post, path = "/api/v1/telemetry", tag = "telemetry", request_body = TelemetryBatch,
    responses((status = 202, body = Accepted, description = "The events are durable in the log"),
              (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 413, body = Problem),
              (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn telemetry(
    State(ingest): State<Ingest>,
    caller: Caller,
    peer: Peer,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let body = body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "The batch is too large",
                format!("a batch has at most {MAX_BODY} bytes; send it in parts"),
            )
        } else {
            Problem::bad_request(rejection.body_text())
        }
    })?;
    // `sendBeacon` can't set a content type of its own without a preflight, so text/plain is
    // taken as well; the body must be JSON either way.
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !matches!(media_type, "application/json" | "text/plain" | "") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-type",
            "Another content type",
            "the body must be JSON, as application/json or text/plain",
        ));
    }
    let batch: TelemetryBatch = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("the batch can't be read: {error}")))?;
    let now = ingest.access.clock.now();
    let (viewer, granted): (_, Option<Millis>) = match &batch.grant {
        Some(token) => {
            let grant = check_grant(&ingest, &batch, token)?;
            (grant.viewer, Some(grant.duration))
        }
        None => {
            let video =
                ingest.access.catalog.video(batch.video_id).await?.ok_or_else(|| Problem::not_found("video"))?;
            policy::see(&caller, &video).map_err(|deny| deny.problem("video"))?;
            (viewer::viewer(&ingest.access, &caller, peer, &headers, now), None)
        }
    };
    let device = viewer::device(&headers);
    let stamp =
        Stamp { viewer, granted, server_ts: now, device: device.device, os: device.os, browser: device.browser };
    let decided = decide(batch, &stamp)?;
    let accepted = Accepted { accepted: decided.events.len(), refused_as_too_old: decided.too_old };
    metrics::counter!("millrace_telemetry_refused_events_total", "reason" => "too_old")
        .increment(decided.too_old as u64);
    ingest.edge.append(viewer, decided.events).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

/// The routes of this module.
#[must_use]
pub fn router() -> OpenApiRouter<Ingest> {
    OpenApiRouter::new().routes(routes!(telemetry)).layer(DefaultBodyLimit::max(MAX_BODY))
}
