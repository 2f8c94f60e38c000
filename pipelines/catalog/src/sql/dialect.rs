//! What differs between the engines: how a connection is prepared, how a write transaction begins, and
//! how a job is taken. Everything else is one text.

use super::SqlOptions;
use crate::{CatalogError, Result};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Write,
}

/// One engine.
#[derive(Debug)]
pub(super) struct Dialect {
    /// Connections that may write at the same time.
    pub writers: u32,
    /// True if a connection can break by itself.
    pub is_remote: bool,
    /// Begins a transaction that will write.
    pub begin_write: &'static str,
    /// Takes the oldest due job, so that no two transactions take the same.
    pub lease_job: &'static str,
    /// How many tables there are, and whether the one that lists the migrations is among them.
    pub tables: &'static str,
}

/// SQLite lets one connection write; begun IMMEDIATE, a transaction holds the lock before it reads, so it
/// never fails half-way for want of it.
static SQLITE: Dialect = Dialect {
    writers: 1,
    is_remote: false,
    begin_write: "BEGIN IMMEDIATE",
    lease_job: sql!("jobs/lease.sqlite.sql"),
    tables: sql!("sqlite/tables.sql"),
};

impl Dialect {
    /// The engine that `url` names.
    pub fn of(url: &str) -> Result<&'static Self> {
        if url.starts_with("sqlite:") {
            Ok(&SQLITE)
        } else {
            let scheme: String = url.chars().take_while(|c| *c != ':').take(32).collect();
            Err(CatalogError::Open(format!("`{scheme}:` is not a catalog this program knows: use sqlite:<path>")))
        }
    }

    /// The URL to connect to: makes the file if it is absent.
    pub fn connect_url(&self, url: &str) -> Result<String> {
        let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
        if path.is_empty() || path.contains(":memory:") || path.contains('?') {
            return Err(CatalogError::Open(format!("`{url}` does not name a file: use sqlite:<path>")));
        }
        Ok(format!("sqlite:{path}?mode=rwc"))
    }

    /// What a new connection runs first. `synchronous = FULL` makes a commit survive the loss of power;
    /// the page limit is SQLite's own, with its page size of 4 KiB.
    pub fn prepare(&self, purpose: Use, options: &SqlOptions) -> String {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_sqlite_are_opened() {
        assert_eq!(
            Dialect::of("sqlite:/a/b.db").unwrap().connect_url("sqlite:/a/b.db").unwrap(),
            "sqlite:/a/b.db?mode=rwc"
        );
        for url in ["sqlite::memory:", "sqlite:", "sqlite://?mode=memory"] {
            assert!(matches!(SQLITE.connect_url(url), Err(CatalogError::Open(_))), "{url}");
        }
        let error = Dialect::of("mysql://user:secret@host/x").unwrap_err().to_string();
        assert!(error.contains("`mysql:`") && !error.contains("secret"), "{error}");
    }
}
