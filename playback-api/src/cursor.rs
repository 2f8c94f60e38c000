//! Opaque page cursors and page sizes.

use access::Problem;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use catalog::VideoCursor;
use serde::Deserialize;

/// The largest page.
pub const MAX_LIMIT: u32 = 100;

/// `limit` and `cursor` of a list.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// 1 to 100 items; 24 if absent.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl Page {
    /// The page size.
    ///
    /// # Errors
    /// 422 unless 1 to 100.
    pub fn limit(&self) -> Result<u32, Problem> {
        match self.limit.unwrap_or(24) {
            limit @ 1..=MAX_LIMIT => Ok(limit),
            _ => Err(Problem::invalid_field("limit", format!("1 to {MAX_LIMIT}"))),
        }
    }

    /// Where the page before ended.
    ///
    /// # Errors
    /// 422 for a cursor that this server did not make.
    pub fn after(&self) -> Result<Option<VideoCursor>, Problem> {
        let Some(text) = &self.cursor else { return Ok(None) };
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .map(Some)
            .ok_or_else(|| Problem::invalid_field("cursor", "not a cursor of this list; leave it out to start anew"))
    }
}

/// The cursor as text.
///
/// # Errors
/// Never for a cursor of the catalog.
pub fn encode(cursor: &VideoCursor) -> Result<String, Problem> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(cursor).map_err(|error| Problem::internal(&error))?))
}

#[cfg(test)]
mod tests {
    use event_schemas::{Timestamp, VideoId};

    use super::*;

    #[test]
    fn a_cursor_reads_back_and_foreign_ones_are_refused() {
        let cursor = VideoCursor { created_at: Timestamp::from_micros(17), id: VideoId::generate() };
        let page = Page { limit: None, cursor: Some(encode(&cursor).unwrap()) };
        assert_eq!((page.limit(), page.after()), (Ok(24), Ok(Some(cursor))));
        for bad in ["", "x", "e30", "../../etc"] {
            assert!(Page { limit: None, cursor: Some(bad.to_owned()) }.after().is_err(), "{bad}");
        }
        for limit in [0, 101] {
            assert!(Page { limit: Some(limit), cursor: None }.limit().is_err());
        }
    }
}
