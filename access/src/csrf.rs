//! Keeps other sites' pages from acting in a signed-in person's name.
//!
//! A browser says where a request comes from (`Sec-Fetch-Site`, else `Origin`; OWASP's
//! "fetch metadata" defence). An unsafe method that carries a session cookie and no bearer token
//! must come from this site's own pages. Programs send neither header and are let through: they
//! hold no browser's cookie. Telemetry is exempt: it acts in nobody's name.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{Access, Problem, who::SESSION_COOKIE};

fn host_of(origin: &str) -> Option<&str> {
    origin.split_once("://").map(|(_, host)| host)
}

/// Whether a request may go on.
#[must_use]
pub fn is_own_site(headers: &HeaderMap, public_host: Option<&str>) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    match text("origin") {
        None => true,
        Some(origin) => {
            let host = host_of(origin);
            host.is_some() && (host == text(header::HOST.as_str()) || (public_host.is_some() && host == public_host))
        }
    }
}

fn needs_check(method: &Method, headers: &HeaderMap) -> bool {
    let has_cookie = headers
        .get_all(header::COOKIE)
        .iter()
        .any(|value| value.to_str().is_ok_and(|text| text.contains(SESSION_COOKIE)));
    !method.is_safe() && has_cookie && !headers.contains_key(header::AUTHORIZATION)
}

/// The middleware.
pub async fn protect(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let public_host = access.options.public_url.as_ref().and_then(|url| {
        let host = url.host_str()?;
        Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    });
    // Sign-in and sign-up carry no cookie yet, but a page elsewhere must not sign its visitor in
    // to somebody else's account either.
    let signs_in = matches!(request.uri().path(), "/api/v1/session" | "/api/v1/accounts");
    let checked = needs_check(request.method(), request.headers()) || (signs_in && !request.method().is_safe());
    let exempt = request.uri().path() == "/api/v1/telemetry";
    if checked && !exempt && !is_own_site(request.headers(), public_host.as_deref()) {
        return Problem::forbidden("this request comes from a page of another site").into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_own_pages_and_programs_pass() {
        for (pairs, passes) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site"), ("origin", "http://a"), ("host", "a")], false),
            (&[("origin", "http://evil.example"), ("host", "millrace.example")], false),
            (&[("origin", "http://millrace.example"), ("host", "millrace.example")], true),
            (&[("origin", "https://video.example"), ("host", "127.0.0.1:8080")], true),
            (&[("origin", "null"), ("host", "millrace.example")], false),
            (&[("host", "millrace.example")], true),
        ] {
            assert_eq!(is_own_site(&headers(pairs), Some("video.example")), passes, "{pairs:?}");
        }
    }
}
