//! The web app, built into the program, for every address that no other route has.

use access::Problem;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

#[derive(rust_embed::RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../web/dist"]
#[allow_missing = true]
struct Files;

const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; connect-src 'self'; frame-ancestors 'self'; base-uri 'self'; form-action 'self'";

fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
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
    set.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    set.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    set.insert(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin"));
    Some(response)
}

/// Answers with the file of this path, or with the app itself, whose router knows the address.
pub async fn fallback(uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let is_api = ["api/", "media/", "uploads/"].iter().any(|prefix| path.starts_with(prefix));
    let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    if is_api || path == "uploads" {
        return Problem::not_found("address").into_response();
    }
    if let Some(response) = file(if path.is_empty() { "index.html" } else { path }, &headers) {
        return response;
    }
    if is_file {
        return Problem::not_found("file").into_response();
    }
    file("index.html", &headers).unwrap_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no-web-app",
            "The web app is not built in",
            "build it with `make web`, then build the program again",
        )
        .into_response()
    })
}
