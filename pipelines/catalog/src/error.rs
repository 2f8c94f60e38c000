//! What can go wrong with the catalog, whose fault it is and whether to try again.

use event_schemas::{Fault, Faulty};

/// An error of the catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// No such row.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A unique value is taken.
    #[error("{0} is taken")]
    Conflict(&'static str),
    /// The upload stands elsewhere.
    #[error("the upload is at byte {actual}, not {given}")]
    OffsetMismatch {
        /// The upload's offset in bytes.
        actual: u64,
        /// The offset given.
        given: u64,
    },
    /// Not possible in the present state.
    #[error("{0}")]
    WrongState(&'static str),
    /// Edited by somebody else meanwhile.
    #[error("the video has version {actual}, not {given}: read it again and repeat the edit")]
    VersionMismatch {
        /// The video's version.
        actual: i64,
        /// The version given.
        given: i64,
    },
    /// The lease or job was taken over, finished or cancelled; nothing was written.
    #[error("the lease was lost")]
    Fenced,
    /// A stored value can't be read: written by another version, or damaged.
    #[error("the catalog holds an unreadable value: {0}")]
    Corrupt(String),
    /// The database can't be opened: wrong file, or of a later version.
    #[error("the catalog can't be opened: {0}")]
    Open(String),
    /// The disk has no room.
    #[error("the catalog has no room to write")]
    Full(#[source] sqlx::Error),
    /// The database failed.
    #[error("the catalog failed")]
    Database(#[source] sqlx::Error),
    /// The database failed during a commit, which may have happened.
    #[error("the catalog failed during a commit")]
    CommitUnknown(#[source] sqlx::Error),
}

impl CatalogError {
    /// True if the change may have been made all the same.
    #[must_use]
    pub const fn is_unknown_outcome(&self) -> bool {
        matches!(self, Self::CommitUnknown(_))
    }
}

impl Faulty for CatalogError {
    fn fault(&self) -> Fault {
        match self {
            Self::NotFound(_)
            | Self::Conflict(_)
            | Self::OffsetMismatch { .. }
            | Self::WrongState(_)
            | Self::VersionMismatch { .. } => Fault::Caller,
            Self::Fenced | Self::Corrupt(_) | Self::Open(_) => Fault::Program,
            Self::Full(_) | Self::Database(_) | Self::CommitUnknown(_) => Fault::Dependency,
        }
    }
}
