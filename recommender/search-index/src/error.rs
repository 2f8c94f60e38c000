//! What can go wrong with the index, whose fault it is and whether to try again.

use event_schemas::{Fault, Faulty};
use tantivy::TantivyError;

use crate::MAX_QUERY_CHARS;

/// An error of the search index.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The search text is too long.
    #[error("the search text has {0} characters; at most {MAX_QUERY_CHARS} are taken")]
    TooLong(usize),
    /// The cursor was not made by this program, or for another search.
    #[error("the cursor does not belong to this search: start again without it")]
    BadCursor,
    /// A language tag without a language.
    #[error("{0:?} is not the tag of a language")]
    BadLanguage(String),
    /// A vector or a dense space that can't be.
    #[error("a vector of the search index: {0}")]
    BadVector(String),
    /// The settings and what is there do not fit.
    #[error("the search index can't be used as configured: {problem}; {remedy}")]
    Refused {
        /// What does not fit.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A rebuild is to end that never began, or that failed.
    #[error("no rebuild of the search index is under way")]
    NoRebuild,
    /// The files of the index can't be used as they are; rebuilding it from the log helps.
    #[error("the search index is damaged: {0}")]
    Damaged(String),
    /// The engine failed in a way that is neither the disk's, the network's nor the files' fault.
    #[error("the search engine failed")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The disk or the server failed.
    #[error("the search index does not answer: {0}")]
    Unavailable(String),
}

impl Faulty for SearchError {
    fn fault(&self) -> Fault {
        match self {
            Self::TooLong(_) | Self::BadCursor | Self::BadLanguage(_) => Fault::Caller,
            Self::Refused { .. } | Self::NoRebuild => Fault::Caller,
            Self::BadVector(_) | Self::Damaged(_) | Self::Engine(_) => Fault::Program,
            Self::Unavailable(_) => Fault::Dependency,
        }
    }
}

impl From<TantivyError> for SearchError {
    fn from(error: TantivyError) -> Self {
        match error {
            TantivyError::IoError(_)
            | TantivyError::OpenDirectoryError(_)
            | TantivyError::OpenWriteError(_)
            | TantivyError::OpenReadError(tantivy::directory::error::OpenReadError::IoError { .. })
            | TantivyError::LockFailure(..)
            // Indexing threads report a failing disk in this way.
            | TantivyError::ErrorInThread(_)
            | TantivyError::SystemError(_) => Self::Unavailable(error.to_string()),
            TantivyError::DataCorruption(_)
            | TantivyError::IncompatibleIndex(_)
            | TantivyError::OpenReadError(_)
            | TantivyError::DeserializeError(_) => Self::Damaged(error.to_string()),
            other => Self::Engine(Box::new(other)),
        }
    }
}

impl From<std::io::Error> for SearchError {
    fn from(error: std::io::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}
