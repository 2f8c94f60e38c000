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
    /// Begins a transaction that writes.
    pub(super) async fn write(&self) -> Result<Write<'_>> {
        let transaction = self.writer.begin_with(self.dialect.begin_write).await?;
        Ok(Write { catalog: self, transaction, wrote_outbox: false })
    }
}

impl Write<'_> {
    /// The connection, for the transaction's statements.
    pub fn conn(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    /// Commits: after `Ok` the changes survive the loss of power.
    pub async fn commit(self) -> Result<()> {
        let started = Instant::now();
        let result = self.transaction.commit().await;
        histogram!("millrace_catalog_commit_seconds").record(started.elapsed().as_secs_f64());
        if self.wrote_outbox {
            // Also when the outcome is unknown: a vain wake-up costs nothing.
            self.catalog.outbox_changed.notify_one();
        }
        result.map_err(|error| {
            if code(&error).is_some_and(|code| code.parse().is_ok_and(|code: u32| code & 0xff == SQLITE_BUSY)) {
                CatalogError::Database(error)
            } else {
                // Whatever else failed, a commit mark may have reached the disk.
                CatalogError::CommitUnknown(error)
            }
        })
    }
}

const SQLITE_BUSY: u32 = 5;

fn code(error: &sqlx::Error) -> Option<String> {
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
                    // SQLITE_CORRUPT, SQLITE_NOTADB.
                    Some("11" | "26") => Self::Corrupt(database.message().to_owned()),
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
