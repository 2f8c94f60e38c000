//! A write transaction, and what a database error means.

use std::time::Instant;

use metrics::histogram;
use sqlx::{Any, AnyConnection, Transaction, error::ErrorKind};

use super::SqlCatalog;
use crate::{CatalogError, Result};

/// A transaction that writes. Dropped without [`Self::commit`], it leaves nothing behind.
pub(super) struct Write<'a> {
    catalog: &'a SqlCatalog,
    transaction: Transaction<'static, Any>,
    /// Set by whoever writes an outbox row.
    pub wrote_outbox: bool,
}

impl SqlCatalog {
    /// Begins a transaction that writes. On PostgreSQL it sees what others commit meanwhile: whoever decides
    /// from a row holds it first, by the statement that changes it or one of `hold.sql`. Rows are held in one
    /// order, so that transactions do not wait for each other in a circle: upload, job, video, the counter of
    /// the outbox.
    pub(super) async fn write(&self) -> Result<Write<'_>> {
        self.begin(self.dialect.begin_write).await
    }

    /// Begins a transaction that writes and is broken off where another one disturbs what it has read: for
    /// decisions from rows that are not there.
    pub(super) async fn write_serializable(&self) -> Result<Write<'_>> {
        self.begin(self.dialect.begin_serializable).await
    }

    async fn begin(&self, statement: &'static str) -> Result<Write<'_>> {
        let transaction = self.writer.begin_with(statement).await?;
        Ok(Write { catalog: self, transaction, wrote_outbox: false })
    }
}

impl Write<'_> {
    /// The connection, for the transaction's statements.
    pub fn conn(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    /// Commits: after `Ok` the changes survive the loss of power.
    pub async fn commit(mut self) -> Result<()> {
        if self.wrote_outbox
            && let Some(tell) = self.catalog.dialect.tell_outbox
        {
            sqlx::raw_sql(tell).execute(self.conn()).await?;
        }
        let started = Instant::now();
        let result = self.transaction.commit().await;
        histogram!("millrace_catalog_commit_seconds").record(started.elapsed().as_secs_f64());
        if self.wrote_outbox {
            // Also when the outcome is unknown: a vain wake-up costs nothing.
            self.catalog.outbox_changed.notify_one();
        }
        result.map_err(|error| {
            if code(&error).is_some_and(|code| was_refused(&code)) {
                CatalogError::Database(error)
            } else {
                // Whatever else failed, a commit mark may have reached the disk.
                CatalogError::CommitUnknown(error)
            }
        })
    }
}

/// Whether an error of COMMIT says that nothing was committed. PostgreSQL's codes have five characters: those
/// of class 40 (rolled back, save 40003, which says that it does not know) and 23 (a constraint). SQLite's
/// SQLITE_BUSY has extended forms.
fn was_refused(code: &str) -> bool {
    const SQLITE_BUSY: u32 = 5;
    if code.len() == 5 {
        (code.starts_with("40") && code != "40003") || code.starts_with("23")
    } else {
        code.parse().is_ok_and(|code: u32| code & 0xff == SQLITE_BUSY)
    }
}

/// The engine's own code of an error.
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(std::borrow::Cow::into_owned)
}

impl From<sqlx::Error> for CatalogError {
    /// What an error before the commit means: nothing was changed.
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => match database.kind() {
                ErrorKind::UniqueViolation => Self::Conflict("a unique value"),
                ErrorKind::ForeignKeyViolation => Self::NotFound("row that was referred to"),
                _ => match code(&error).as_deref() {
                    // SQLITE_FULL, SQLITE_IOERR_SHMSIZE; PostgreSQL's disk_full.
                    Some("13" | "4874" | "53100") => Self::Full(error),
                    // PostgreSQL's text holds no NUL.
                    Some("22021") => Self::WrongState("a text holds a character that can't be stored"),
                    // SQLITE_CORRUPT, SQLITE_NOTADB; PostgreSQL's data_corrupted, index_corrupted.
                    Some("11" | "26" | "XX001" | "XX002") => Self::Corrupt(database.message().to_owned()),
                    _ => Self::Database(error),
                },
            },
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::TypeNotFound { .. } => Self::Corrupt(error.to_string()),
            _ => Self::Database(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_refusal_of_a_commit_is_known() {
        for code in ["40001", "40P01", "23505", "23503", "5", "261", "517"] {
            assert!(was_refused(code), "{code}");
        }
        for code in ["40003", "57P01", "57014", "08006", "53100", "XX000", "10", "13", "266"] {
            assert!(!was_refused(code), "{code}");
        }
    }
}
