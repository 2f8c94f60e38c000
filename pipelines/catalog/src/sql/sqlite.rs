//! What only SQLite needs: the path in its URL, and the settings of a connection.

use super::{SqlOptions, dialect::Use};
use crate::{CatalogError, Result};

/// The URL to connect to: makes the file if it is absent.
pub(super) fn connect_url(url: &str) -> Result<String> {
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
    if path.is_empty() || path.contains(":memory:") || path.contains('?') {
        return Err(CatalogError::Open(format!("`{url}` does not name a file: use sqlite:<path>")));
    }
    Ok(format!("sqlite:{path}?mode=rwc"))
}

/// What a new connection runs first. `synchronous = FULL` makes a commit survive the loss of power;
/// the page limit is SQLite's own, with its page size of 4 KiB.
pub(super) fn prepare(purpose: Use, options: &SqlOptions) -> String {
    let mut sql = format!(
        "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA journal_size_limit = 67108864;",
        options.wait.as_millis()
    );
    if purpose == Use::Read {
        sql.push_str(" PRAGMA query_only = ON;");
    }
    if let Some(limit) = options.max_bytes {
        sql.push_str(&format!(" PRAGMA max_page_count = {};", limit.0 / 4096));
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_opened() {
        assert_eq!(connect_url("sqlite:/a/b.db").unwrap(), "sqlite:/a/b.db?mode=rwc");
        for url in ["sqlite::memory:", "sqlite:", "sqlite://?mode=memory"] {
            assert!(matches!(connect_url(url), Err(CatalogError::Open(_))), "{url}");
        }
    }
}
