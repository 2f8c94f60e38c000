//! What can go wrong with a query, whose fault it is and what to do.

use datafusion::error::DataFusionError;
use event_schemas::{ByteSize, Fault, Faulty, Millis};
use lake_tables::LakeError;

/// An error of the SQL engine.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The statement would change something.
    #[error("only queries are allowed here: {0}")]
    ReadOnly(String),
    /// No table or view has this name.
    #[error("there is no table `{name}`; there are: {}", known.join(", "))]
    UnknownTable {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The lake's tables were never made.
    #[error("the lake has no tables yet: they are made when the server first starts on this data directory")]
    NoLake,
    /// The statement is not valid.
    #[error("{0}")]
    Invalid(String),
    /// The query took too long.
    #[error("the query was stopped after {} s: narrow it down, by event_date for one, or allow more time", .0.0 / 1000)]
    Timeout(Millis),
    /// The query needed more memory than it may use.
    #[error("the query needs more than the {limit} of memory it may use: narrow it down or allow more")]
    Memory {
        /// The limit.
        limit: ByteSize,
        /// What ran out.
        #[source]
        source: Box<DataFusionError>,
    },
    /// The query failed while running.
    #[error("the query failed")]
    Failed(#[source] Box<DataFusionError>),
    /// The lake can't be read.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// A result is not of the form that its reader expects.
    #[error("the result has no readable column `{0}`")]
    Column(String),
    /// Rows can't be written in the format asked for.
    #[error("the result can't be written")]
    Print(#[from] arrow::error::ArrowError),
}

impl SqlError {
    /// Sorts an error met while planning: nearly all are the statement's.
    pub(crate) fn planning(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::SQL(..)
            | DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Diagnostic(..)
            | DataFusionError::Collection(_) => Self::Invalid(error.strip_backtrace()),
            _ => Self::Failed(Box::new(error)),
        }
    }

    /// Sorts an error met while running.
    pub(crate) fn running(error: DataFusionError, limit: ByteSize) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::Memory { limit, source: Box::new(error) },
            // Such as a division by zero or text that is no number.
            DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => Self::Invalid(error.strip_backtrace()),
            _ => Self::Failed(Box::new(error)),
        }
    }
}

impl Faulty for SqlError {
    fn fault(&self) -> Fault {
        match self {
            Self::ReadOnly(_)
            | Self::UnknownTable { .. }
            | Self::Invalid(_)
            | Self::NoLake
            | Self::Timeout(_)
            | Self::Memory { .. } => Fault::Caller,
            Self::Column(_) | Self::Print(_) => Fault::Program,
            Self::Failed(_) => Fault::Dependency,
            Self::Lake(error) => error.fault(),
        }
    }
}
