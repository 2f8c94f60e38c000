//! What can go wrong with a table, whose fault it is and whether to try again.

use deltalake::{DeltaTableError, kernel::transaction::TransactionError};
use event_schemas::{Fault, Faulty};

/// An error of the lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The folder of the lake is not a path.
    #[error("`{0}` is not an address in an object store")]
    Address(String),
    /// The table was made with a column of another type.
    #[error("column `{column}` of table `{table}` is {found}, where this program writes {expected}")]
    Column {
        /// The table.
        table: &'static str,
        /// The column.
        column: String,
        /// The type in the table.
        found: String,
        /// The type this program writes.
        expected: String,
    },
    /// The table has no value for something it must have.
    #[error("table `{table}` {what}")]
    Broken {
        /// The table.
        table: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Reading or writing the table failed.
    #[error("the lake failed")]
    Delta(#[source] Box<DeltaTableError>),
    /// A batch of rows is not of the table's form.
    #[error("rows that do not fit the table")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl From<DeltaTableError> for LakeError {
    fn from(error: DeltaTableError) -> Self {
        Self::Delta(Box::new(error))
    }
}

impl LakeError {
    /// True if a commit lost against another writer's and was not made.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        let Self::Delta(error) = self else { return false };
        matches!(
            **error,
            DeltaTableError::VersionAlreadyExists(_)
                | DeltaTableError::Transaction {
                    source: TransactionError::CommitConflict(_)
                        | TransactionError::MaxCommitAttempts(_)
                        | TransactionError::VersionAlreadyExists(_)
                }
        )
    }
}

impl Faulty for LakeError {
    fn fault(&self) -> Fault {
        match self {
            Self::Address(_) => Fault::Caller,
            Self::Column { .. } | Self::Broken { .. } | Self::Arrow(_) => Fault::Program,
            Self::Delta(_) => Fault::Dependency,
        }
    }
}
