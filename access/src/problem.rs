//! Errors as callers see them: RFC 9457 `application/problem+json` with a stable `type`.
//!
//! What went wrong inside goes to the log, here, once; the caller learns whose fault it is and
//! when to try again.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use catalog::CatalogError;
use event_schemas::{Fault, Faulty, Millis};
use serde::Serialize;

/// One field of a form or body that is not right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The field's name, such as `title` or `events[3].kind`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// Stable, such as `/problems/not-found`; programs compare this.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short sentence for the kind of problem.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong in this case.
    pub detail: String,
    /// The fields that are not right, if it is about fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// When to try again.
    #[serde(skip)]
    pub retry_after: Option<Millis>,
}

impl Problem {
    /// A problem of this status; `slug` becomes its stable type.
    #[must_use]
    pub fn new(status: StatusCode, slug: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// 400: the request can't be read.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request can't be read", detail)
    }

    /// 401: who is asking must sign in.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "sign-in-required",
            "Sign in first",
            "this needs a signed-in session or an API token in `Authorization: Bearer`",
        )
    }

    /// 403: known, and not allowed.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// 404: absent, or not for this caller; the two look the same.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", format!("there is no such {what}"))
    }

    /// 422: readable, but some fields are not right.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect::<Vec<_>>().join("; ");
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Some fields are not right", detail);
        problem.errors = errors;
        problem
    }

    /// 422 for a single field.
    #[must_use]
    pub fn invalid_field(field: &str, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { field: field.to_owned(), message: message.into() }])
    }

    /// 429: too often.
    #[must_use]
    pub fn too_many(slug: &str, detail: impl Into<String>, retry_after: Millis) -> Self {
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, slug, "Too many requests", detail);
        problem.retry_after = Some(retry_after);
        problem
    }

    /// 503: a dependency is down or a disk is full; it heals.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let mut problem =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not possible at the moment", detail);
        problem.retry_after = Some(Millis::from_secs(5));
        problem
    }

    /// 500: this program's fault. The cause goes to the log only.
    #[must_use]
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %chain(error), "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong here",
            "the cause is in the server's log",
        )
    }

    /// What a seam's error means to a caller when no handler knows better.
    #[must_use]
    pub fn from_seam(error: &dyn Faulty) -> Self {
        match error.fault() {
            Fault::Caller => Self::bad_request(error.to_string()),
            Fault::Program => Self::internal(&Shown(error.to_string())),
            Fault::Dependency => {
                tracing::warn!(%error, "a dependency failed");
                Self::unavailable("something this needs does not answer; try again in a moment")
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Shown(String);

/// The error with its sources, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        match &error {
            CatalogError::NotFound(what) => Self::not_found(what),
            CatalogError::Conflict(what) => {
                Self::new(StatusCode::CONFLICT, "taken", "Already taken", format!("this {what} is taken"))
            }
            CatalogError::OffsetMismatch { .. } => {
                Self::new(StatusCode::CONFLICT, "wrong-offset", "Wrong offset", error.to_string())
            }
            CatalogError::WrongState(detail) => {
                Self::new(StatusCode::CONFLICT, "wrong-state", "Not possible in this state", *detail)
            }
            CatalogError::VersionMismatch { .. } => {
                Self::new(StatusCode::CONFLICT, "version-mismatch", "Changed meanwhile", error.to_string())
            }
            CatalogError::Full(_) => {
                tracing::warn!(error = %chain(&error), "the catalog's disk is full");
                Self::unavailable("the disk is full; nothing was written")
            }
            CatalogError::Fenced | CatalogError::Corrupt(_) | CatalogError::Open(_) => Self::internal(&error),
            CatalogError::Database(_) | CatalogError::CommitUnknown(_) => {
                tracing::warn!(error = %chain(&error), "the catalog failed");
                Self::unavailable("the catalog does not answer; try again in a moment")
            }
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from((after.0.max(0) as u64).div_ceil(1000).max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
