//! The tus routes and the list of one's unfinished uploads.

use std::sync::Arc;

use access::{Access, Caller, Problem, policy};
use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use catalog::{NewUpload, Upload};
use event_schemas::{ByteSize, UploadId, VideoId, records::UploadState};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    headers::*,
    metadata,
    receive::{Received, Receiver},
};
use crate::Ingest;

fn tus(status: StatusCode) -> Response {
    let mut response = status.into_response();
    mark(&mut response);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn mark(response: &mut Response) {
    response.headers_mut().insert(TUS_RESUMABLE, HeaderValue::from_static(VERSION));
}

/// Every answer of these routes says which version it speaks, refusals too.
fn answer(result: Result<Response, Problem>) -> Response {
    let mut response = result.unwrap_or_else(IntoResponse::into_response);
    mark(&mut response);
    if response.status() == StatusCode::PRECONDITION_FAILED {
        response.headers_mut().insert(TUS_VERSION, HeaderValue::from_static(VERSION));
    }
    response
}

fn set_number(response: &mut Response, name: axum::http::HeaderName, number: u64) {
    response.headers_mut().insert(name, HeaderValue::from(number));
}

fn set_expiry(response: &mut Response, upload: &Upload) {
    if upload.state == UploadState::Receiving
        && let Some(date) = http_date(upload.expires_at)
    {
        response.headers_mut().insert(UPLOAD_EXPIRES, date);
    }
}

async fn find(ingest: &Ingest, caller: &Caller, id: &str) -> Result<Upload, Problem> {
    caller.required()?;
    let id: UploadId = id.parse().map_err(|_| Problem::not_found("upload"))?;
    let upload = ingest.access.catalog.upload(id).await?.ok_or_else(|| Problem::not_found("upload"))?;
    policy::use_upload(caller, &upload).map_err(|deny| deny.problem("upload"))?;
    if upload.state == UploadState::Aborted {
        return Err(Problem::new(
            StatusCode::GONE,
            "upload-gone",
            "This upload was terminated or has expired",
            "start a new upload",
        ));
    }
    // Of a deleted video nothing is left, although its rows may wait for the collector.
    if upload.state == UploadState::Complete && ingest.access.catalog.video(upload.video_id).await?.is_none() {
        return Err(Problem::not_found("upload"));
    }
    Ok(upload)
}

#[utoipa::path(options, path = "/uploads", tag = "uploads",
    responses((status = 204, description = "What this server speaks, in `Tus-Version`, `Tus-Extension`, `Tus-Max-Size`")))]
async fn options(State(ingest): State<Ingest>) -> Response {
    let mut response = tus(StatusCode::NO_CONTENT);
    response.headers_mut().insert(TUS_VERSION, HeaderValue::from_static(VERSION));
    response.headers_mut().insert(TUS_EXTENSION, HeaderValue::from_static(EXTENSIONS));
    set_number(&mut response, TUS_MAX_SIZE, ingest.uploads.options.max_size.0);
    response
}

#[utoipa::path(post, path = "/uploads", tag = "uploads",
    params(("Upload-Length" = u64, Header, description = "Bytes"),
           ("Upload-Metadata" = Option<String>, Header, description = "filename, title, description, tags, visibility; values in base64")),
    responses((status = 201, description = "`Location` and `Millrace-Video-Id`"), (status = 401, body = Problem),
              (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
async fn create(State(ingest): State<Ingest>, caller: Caller, headers: HeaderMap) -> Response {
    answer(create_upload(&ingest, &caller, &headers).await)
}

async fn create_upload(ingest: &Ingest, caller: &Caller, headers: &HeaderMap) -> Result<Response, Problem> {
    check_version(headers)?;
    let account = caller.required()?;
    if headers.contains_key(UPLOAD_DEFER_LENGTH) || headers.contains_key(UPLOAD_CONCAT) {
        return Err(Problem::bad_request(format!(
            "deferred lengths and concatenation are not among the extensions spoken here: {EXTENSIONS}"
        )));
    }
    let length = number(headers, &UPLOAD_LENGTH)?
        .ok_or_else(|| Problem::bad_request("the `Upload-Length` header is missing"))?;
    if length == 0 {
        return Err(Problem::invalid_field("Upload-Length", "the file is empty"));
    }
    let max = ingest.uploads.options.max_size;
    if length > max.0 {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The file is too large",
            format!("the file has {}; at most {max} are taken", ByteSize(length)),
        ));
    }
    let raw = headers
        .get(UPLOAD_METADATA)
        .map(|value| value.to_str().map_err(|_| Problem::bad_request("the `Upload-Metadata` header is not ASCII")))
        .transpose()?
        .unwrap_or_default();
    let metadata = metadata::parse(raw)?;
    let now = ingest.access.clock.now();
    let upload = ingest
        .access
        .catalog
        .create_upload(NewUpload {
            id: UploadId::generate(),
            video_id: VideoId::generate(),
            owner: account.id,
            length: Some(length),
            metadata: raw.to_owned(),
            file_name: metadata.file_name,
            title: metadata.title,
            description: metadata.description,
            tags: metadata.tags,
            visibility: metadata.visibility,
            now,
            expires_at: now + ingest.uploads.options.expire_after,
        })
        .await?;
    let mut response = tus(StatusCode::CREATED);
    let text = |text: String| HeaderValue::from_str(&text).map_err(|error| Problem::internal(&error));
    let base = ingest.access.options.public_url.as_ref().map_or("", |url| url.as_str().trim_end_matches('/'));
    response.headers_mut().insert(header::LOCATION, text(format!("{base}/uploads/{}", upload.id))?);
    response.headers_mut().insert(VIDEO_ID, text(upload.video_id.to_string())?);
    set_expiry(&mut response, &upload);
    Ok(response)
}

#[utoipa::path(head, path = "/uploads/{id}", tag = "uploads", params(("id" = String, Path)),
    responses((status = 200, description = "`Upload-Offset` durable bytes of `Upload-Length`"), (status = 404, body = Problem), (status = 410, body = Problem)))]
async fn head(State(ingest): State<Ingest>, caller: Caller, headers: HeaderMap, Path(id): Path<String>) -> Response {
    answer(upload_state(&ingest, &caller, &headers, &id).await)
}

async fn upload_state(ingest: &Ingest, caller: &Caller, headers: &HeaderMap, id: &str) -> Result<Response, Problem> {
    check_version(headers)?;
    let upload = find(ingest, caller, id).await?;
    let mut response = tus(StatusCode::OK);
    set_number(&mut response, UPLOAD_OFFSET, upload.offset);
    if let Some(length) = upload.length {
        set_number(&mut response, UPLOAD_LENGTH, length);
    }
    if !upload.metadata.is_empty()
        && let Ok(value) = HeaderValue::from_str(&upload.metadata)
    {
        response.headers_mut().insert(UPLOAD_METADATA, value);
    }
    if let Ok(value) = HeaderValue::from_str(&upload.video_id.to_string()) {
        response.headers_mut().insert(VIDEO_ID, value);
    }
    set_expiry(&mut response, &upload);
    Ok(response)
}

#[utoipa::path(patch, path = "/uploads/{id}", tag = "uploads",
    params(("id" = String, Path), ("Upload-Offset" = u64, Header, description = "Must equal the upload's offset")),
    request_body(content_type = "application/offset+octet-stream", content = Vec<u8>),
    responses((status = 204, description = "Every byte sent is durable; `Upload-Offset` is the new offset"),
              (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 503, body = Problem)))]
async fn patch(State(ingest): State<Ingest>, caller: Caller, Path(id): Path<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    answer(append(&ingest, &caller, &id, &parts.headers, body).await)
}

async fn append(
    ingest: &Ingest,
    caller: &Caller,
    id: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_version(headers)?;
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if content_type != Some(OFFSET_BODY.as_bytes()) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-type",
            "Another content type",
            format!("the body of a PATCH must be `{OFFSET_BODY}`"),
        ));
    }
    let offset = number(headers, &UPLOAD_OFFSET)?
        .ok_or_else(|| Problem::bad_request("the `Upload-Offset` header is missing"))?;
    // Checked before the present writer is stopped: a stranger must not be able to stop it.
    let upload = find(ingest, caller, id).await?;
    let Ok(_permit) = ingest.uploads.at_once.try_acquire() else {
        return Err(Problem::unavailable("too many uploads are being received; resume in a moment"));
    };
    let writer = ingest.uploads.writers.take_over(upload.id).await;
    let upload = find(ingest, caller, id).await?;
    if offset != upload.offset {
        return Err(catalog::CatalogError::OffsetMismatch { actual: upload.offset, given: offset }.into());
    }
    if let (Some(length), Some(sent)) = (upload.length, number(headers, &header::CONTENT_LENGTH)?)
        && sent > length - upload.offset
    {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "more-than-announced",
            "More bytes than announced",
            format!("{} bytes are left of this upload, not {sent}", length - upload.offset),
        ));
    }
    let receiver = Receiver {
        catalog: &ingest.access.catalog,
        objects: &ingest.objects,
        clock: &ingest.access.clock,
        options: &ingest.uploads.options,
        closing: &ingest.uploads.closing,
    };
    match receiver.receive(upload, body.into_data_stream(), &writer).await? {
        Received::All(upload) => {
            let mut response = tus(StatusCode::NO_CONTENT);
            set_number(&mut response, UPLOAD_OFFSET, upload.offset);
            set_expiry(&mut response, &upload);
            Ok(response)
        }
        Received::Part(upload) if ingest.uploads.closing.is_cancelled() => Err(Problem::unavailable(format!(
            "the server is shutting down; {} bytes are durable, resume from there in a moment",
            upload.offset
        ))),
        Received::Part(upload) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "cut-short",
            "The body was cut short",
            format!("{} bytes are durable; resume from there", upload.offset),
        )),
    }
}

#[utoipa::path(delete, path = "/uploads/{id}", tag = "uploads", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn terminate(
    State(ingest): State<Ingest>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    answer(end(&ingest, &caller, &headers, &id).await)
}

async fn end(ingest: &Ingest, caller: &Caller, headers: &HeaderMap, id: &str) -> Result<Response, Problem> {
    check_version(headers)?;
    let upload = find(ingest, caller, id).await?;
    let _writer = ingest.uploads.writers.take_over(upload.id).await;
    ingest.access.catalog.abort_upload(upload.id, ingest.access.clock.now()).await?;
    Ok(tus(StatusCode::NO_CONTENT))
}

/// tus lets clients whose network allows only GET and POST name the method in a header.
#[utoipa::path(post, path = "/uploads/{id}", tag = "uploads",
    params(("id" = String, Path), ("X-HTTP-Method-Override" = String, Header, description = "PATCH, DELETE or HEAD")),
    responses((status = 204), (status = 405, body = Problem)))]
async fn overridden(
    State(ingest): State<Ingest>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let method = parts.headers.get(METHOD_OVERRIDE).and_then(|value| Method::from_bytes(value.as_bytes()).ok());
    answer(match method {
        Some(Method::PATCH) => append(&ingest, &caller, &id, &parts.headers, body).await,
        Some(Method::DELETE) => end(&ingest, &caller, &parts.headers, &id).await,
        Some(Method::HEAD) => upload_state(&ingest, &caller, &parts.headers, &id).await,
        _ => Err(Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            "Not possible with POST",
            "continue an upload with PATCH, or with POST and `X-HTTP-Method-Override: PATCH`",
        )),
    })
}

/// An upload that is not complete yet.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnfinishedUpload {
    /// Its id: resume at `/uploads/{id}`.
    pub id: String,
    /// The video it becomes.
    pub video_id: String,
    /// The file's name as sent.
    pub file_name: String,
    /// Bytes of the whole file.
    pub length: Option<u64>,
    /// Durable bytes.
    pub offset: u64,
    /// When it was begun (RFC 3339).
    pub created_at: String,
    /// Collected after this instant unless bytes arrive (RFC 3339).
    pub expires_at: String,
}

/// One's unfinished uploads.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnfinishedUploads {
    /// Newest first, at most 100.
    pub items: Vec<UnfinishedUpload>,
}

#[utoipa::path(get, path = "/api/v1/uploads", tag = "uploads",
    responses((status = 200, body = UnfinishedUploads), (status = 401, body = Problem)))]
async fn unfinished(State(access): State<Arc<Access>>, caller: Caller) -> Result<Json<UnfinishedUploads>, Problem> {
    let uploads = access.catalog.unfinished_uploads(caller.required()?.id, 100).await?;
    let items = uploads
        .into_iter()
        .map(|upload| UnfinishedUpload {
            id: upload.id.to_string(),
            video_id: upload.video_id.to_string(),
            file_name: upload.file_name,
            length: upload.length,
            offset: upload.offset,
            created_at: upload.created_at.to_rfc3339(),
            expires_at: upload.expires_at.to_rfc3339(),
        })
        .collect();
    Ok(Json(UnfinishedUploads { items }))
}

/// The routes of this module.
#[must_use]
pub fn router() -> OpenApiRouter<Ingest> {
    OpenApiRouter::new()
        .routes(routes!(options, create))
        .routes(routes!(head, patch, terminate, overridden))
        .routes(routes!(unfinished))
        // A PATCH streams into chunks; its size is bounded by the upload's length.
        .layer(axum::extract::DefaultBodyLimit::disable())
}
