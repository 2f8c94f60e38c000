//! What can go wrong with the serving store, whose fault it is and whether to try again.

use event_schemas::{Fault, Faulty};

/// An error of the serving store.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// A score that can't be ordered.
    #[error("the score of `{member}` in ranking `{ranking}` is not a number")]
    NotANumber {
        /// The ranking.
        ranking: String,
        /// The member with the score.
        member: String,
    },
    /// A stored value does not have the shape its key promises.
    #[error("the value at `{key}` is not what is kept there")]
    Malformed {
        /// The key.
        key: String,
        /// What the JSON reader said.
        #[source]
        source: serde_json::Error,
    },
    /// The store does not answer.
    #[error("the serving store does not answer: {0}")]
    Unavailable(String),
    /// The store answered with an error, or the connection to it broke.
    #[error("the serving store failed to {doing}: {source}")]
    Failed {
        /// What it should have done.
        doing: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is kept at a key was not written by this program.
    #[error("something foreign is kept at `{key}`: {found}")]
    Foreign {
        /// The key.
        key: String,
        /// What was found.
        found: String,
    },
}

impl Faulty for ServingError {
    fn fault(&self) -> Fault {
        match self {
            Self::NotANumber { .. } | Self::Malformed { .. } | Self::Foreign { .. } => Fault::Program,
            Self::Unavailable(_) | Self::Failed { .. } => Fault::Dependency,
        }
    }
}
