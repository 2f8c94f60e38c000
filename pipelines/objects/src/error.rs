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
    /// A store that is only to be read is not there.
    #[error("there is no object directory {path}")]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// A bucket can't be used as it is configured.
    #[error("{address} can't be used as `storage`: {problem}")]
    S3 {
        /// The bucket's address, without credentials.
        address: String,
        /// What is wrong and what to do.
        problem: S3Problem,
        /// What the server or the network said, if they said something.
        #[source]
        source: Option<object_store::Error>,
    },
    /// The library refused the directory or the bucket's settings.
    #[error("the object store can't be opened")]
    Store(#[from] object_store::Error),
}

/// Why a bucket can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum S3Problem {
    /// The server doesn't answer, or with an error of its own.
    #[error("the server can't be reached or fails: see that it runs and that `endpoint` is its address")]
    Unreachable,
    /// The server answers too slowly to be tried.
    #[error("the server did not answer in a minute: see that it runs and that `endpoint` is its address")]
    Slow,
    /// There is no such bucket.
    #[error("there is no such bucket at this server: make it, or correct the name or `endpoint`")]
    NoBucket,
    /// The server knows no such key, or the secret is another.
    #[error(
        "the server refuses the credentials: correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ACCESS_KEY:SECRET_KEY@ \
         before the bucket"
    )]
    Credentials,
    /// No credentials are configured, and the machine has no role that gives any.
    #[error(
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ACCESS_KEY:SECRET_KEY@ before \
         the bucket"
    )]
    NoCredentials,
    /// The credentials lack a right.
    #[error("the credentials lack the right {0} here: grant it, for the bucket and everything under its prefix")]
    Denied(&'static str),
    /// The clocks differ too much for signatures.
    #[error("this machine's clock and the server's differ too much: set them")]
    Clock,
    /// The bucket is in another region.
    #[error("the bucket is in another region: name it with `region`")]
    Region,
    /// The server has no conditional writes.
    #[error(
        "the server does not keep conditional writes (If-None-Match: *) apart, so that two writers could overwrite each other's \
         work: use a version of it that does, or another server"
    )]
    Unconditional,
}

impl Faulty for ObjectsError {
    fn fault(&self) -> Fault {
        match self {
            Self::Directory { .. } | Self::Store(_) => Fault::Dependency,
            Self::S3 { problem: S3Problem::Unreachable | S3Problem::Slow, .. } => Fault::Dependency,
            Self::S3 { .. } | Self::Absent { .. } => Fault::Caller,
        }
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
