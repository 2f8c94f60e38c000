//! The web app, built into the program, for every address that no other route has.

use access::Problem;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, header::InvalidHeaderValue},
    response::{IntoResponse, Response},
};

#[derive(rust_embed::RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../web/dist"]
#[allow_missing = true]
struct Files;

/// What the pages may load and from where (Content Security Policy). `media_origin` is where
/// segments come from besides this server, if from anywhere.
///
/// # Errors
/// The origin can't stand in a header.
pub fn policy(media_origin: Option<&str>) -> Result<HeaderValue, InvalidHeaderValue> {
    let media = media_origin.map(|origin| format!(" {origin}")).unwrap_or_default();
    HeaderValue::try_from(format!(
        "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:{media}; worker-src 'self' blob:; \
         style-src 'self' 'unsafe-inline'; connect-src 'self'{media}; frame-ancestors 'self'; base-uri 'self'; \
         form-action 'self'"
    ))
}

fn file(path: &str, headers: &HeaderMap, policy: &HeaderValue) -> Option<Response> {
    let file = Files::get(path)?;
    let etag =
        format!("\"{}\"", file.metadata.sha256_hash()[..16].iter().map(|b| format!("{b:02x}")).collect::<String>());
    let unchanged = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Body::from(file.data.into_owned()).into_response()
    };
    let set = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(mime_guess::from_path(path).first_or_octet_stream().as_ref()) {
        set.insert(header::CONTENT_TYPE, value);
    }
    if let Ok(value) = HeaderValue::from_str(&etag) {
        set.insert(header::ETAG, value);
    }
    // Vite names what is under assets/ by its content.
    let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    set.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    set.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    set.insert(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin"));
    Some(response)
}

/// Answers with the file of this path, or with the app itself, whose router knows the address.
/// Pages are sent with this [`policy`].
pub async fn fallback(uri: Uri, headers: HeaderMap, policy: HeaderValue) -> Response {
    let path = uri.path().trim_start_matches('/');
    let is_api = ["api/", "media/", "uploads/"].iter().any(|prefix| path.starts_with(prefix));
    let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    if is_api || path == "uploads" {
        return Problem::not_found("address").into_response();
    }
    if let Some(response) = file(if path.is_empty() { "index.html" } else { path }, &headers, &policy) {
        return response;
    }
    if is_file {
        return Problem::not_found("file").into_response();
    }
    file("index.html", &headers, &policy).unwrap_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no-web-app",
            "The web app is not built in",
            "build it with `make web`, then build the program again",
        )
        .into_response()
    })
}
