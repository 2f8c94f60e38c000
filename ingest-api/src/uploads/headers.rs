//! The headers of tus 1.0 (<https://tus.io/protocols/resumable-upload>).

use access::Problem;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use event_schemas::Timestamp;

/// The protocol version spoken.
pub const VERSION: &str = "1.0.0";
/// The extensions spoken.
pub const EXTENSIONS: &str = "creation,expiration,termination";
/// The body type of a PATCH.
pub const OFFSET_BODY: &str = "application/offset+octet-stream";

/// `Tus-Resumable`.
pub const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
/// `Tus-Version`.
pub const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
/// `Tus-Extension`.
pub const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
/// `Tus-Max-Size`.
pub const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
/// `Upload-Offset`.
pub const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// `Upload-Length`.
pub const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
/// `Upload-Metadata`.
pub const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
/// `Upload-Expires`.
pub const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
/// `Upload-Defer-Length`.
pub const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
/// `Upload-Concat`.
pub const UPLOAD_CONCAT: HeaderName = HeaderName::from_static("upload-concat");
/// `X-HTTP-Method-Override`.
pub const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
/// The video that an upload becomes.
pub const VIDEO_ID: HeaderName = HeaderName::from_static("millrace-video-id");

/// Refuses a request that speaks another version of the protocol.
///
/// # Errors
/// 412, with the version spoken here in its text (and in `Tus-Version`, set for every answer).
pub fn check_version(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(TUS_RESUMABLE).map(HeaderValue::as_bytes) {
        Some(version) if version == VERSION.as_bytes() => Ok(()),
        other => Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "tus-version",
            "Another version of tus",
            format!(
                "the `Tus-Resumable` header is {}; this server speaks {VERSION}",
                other.map_or_else(|| "missing".to_owned(), |value| format!("`{}`", String::from_utf8_lossy(value)))
            ),
        )),
    }
}

/// The value of a header that holds a number of bytes.
///
/// # Errors
/// 400 if it is not a whole number below 2^63.
pub fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value
        .to_str()
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse::<i64>().ok())
        .and_then(|number| u64::try_from(number).ok())
        .map(Some)
        .ok_or_else(|| Problem::bad_request(format!("the `{name}` header is not a whole number of bytes")))
}

/// An instant as an HTTP date (RFC 9110, section 5.6.7).
#[must_use]
pub fn http_date(at: Timestamp) -> Option<HeaderValue> {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_micros(u64::try_from(at.as_micros()).ok()?);
    HeaderValue::from_str(&httpdate::fmt_http_date(time)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_strictly() {
        let read = |text: &'static str| {
            number(&HeaderMap::from_iter([(UPLOAD_OFFSET, HeaderValue::from_static(text))]), &UPLOAD_OFFSET)
        };
        assert_eq!(read("17"), Ok(Some(17)));
        for text in ["", "-1", "+1", "1.0", "0x10", " 1", "9223372036854775808", "ten"] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert_eq!(number(&HeaderMap::new(), &UPLOAD_OFFSET), Ok(None));
    }
}
