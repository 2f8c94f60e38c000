//! What an answer of the server means for the caller.

use qdrant_client::QdrantError;
use search_index::SearchError;
use tonic::Code;

/// The remedy for a collection that does not fit.
pub(crate) const REBUILD: &str =
    "have the index built anew beside it, which switches the alias when done (`millrace rebuild index`)";

/// An error of the server at `shown` while it was asked to do `what`.
pub(crate) fn from_server(shown: &str, what: &str, error: QdrantError) -> SearchError {
    let (QdrantError::ResponseError { status } | QdrantError::ResourceExhaustedError { status, .. }) = &error else {
        return match error {
            QdrantError::Io(error) => SearchError::Unavailable(format!("Qdrant at {shown}, {what}: {error}")),
            other => SearchError::Engine(Box::new(other)),
        };
    };
    let told = format!("Qdrant at {shown}, {what}: {}", status.message());
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => SearchError::Refused {
            problem: format!("Qdrant at {shown} refuses the API key"),
            remedy: "put a key with write access into the address, qdrant://:key@host, or into its secret".into(),
        },
        Code::NotFound => SearchError::Damaged(told),
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::AlreadyExists
        | Code::DataLoss => SearchError::Engine(Box::new(error)),
        // A connection that can't be made is an internal error to the client.
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable => SearchError::Unavailable(told),
    }
}

/// The gRPC code of an answer, if it is one.
pub(crate) fn code(error: &QdrantError) -> Option<Code> {
    match error {
        QdrantError::ResponseError { status } | QdrantError::ResourceExhaustedError { status, .. } => {
            Some(status.code())
        }
        _ => None,
    }
}
