//! Errors of opening a store, and how to read those of `object_store`.

use std::path::PathBuf;

use event_schemas::{Fault, Faulty};

use crate::space::NoSpace;

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The directory can't be made, read or written.
    #[error("the object directory {path} can't be used")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The library refused the directory.
    #[error("the object store can't be opened")]
    Store(#[from] object_store::Error),
}

impl Faulty for ObjectsError {
    fn fault(&self) -> Fault {
        Fault::Dependency
    }
}

/// The free-space refusal behind `error`, however deeply it is wrapped.
#[must_use]
pub fn no_space<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a NoSpace> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

/// Whose fault an error of an object store is.
#[must_use]
pub fn fault_of(error: &object_store::Error) -> Fault {
    use object_store::Error;
    match error {
        Error::NotFound { .. }
        | Error::AlreadyExists { .. }
        | Error::Precondition { .. }
        | Error::NotModified { .. }
        | Error::InvalidPath { .. } => Fault::Caller,
        Error::NotSupported { .. } | Error::NotImplemented { .. } | Error::UnknownConfigurationKey { .. } => {
            Fault::Program
        }
        _ => Fault::Dependency,
    }
}
