//! A query's rows, and reading columns of them.

use arrow::{
    array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    compute::{cast, concat_batches},
    datatypes::{DataType, SchemaRef, TimeUnit},
};
use event_schemas::Timestamp;

use crate::SqlError;

/// The rows of a query.
#[derive(Debug, Clone)]
pub struct QueryResult {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// True if there were more rows than the limit allows.
    pub truncated: bool,
}

impl QueryResult {
    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// All rows as one batch.
    ///
    /// # Errors
    /// They do not fit one batch.
    pub fn into_one(self) -> Result<RecordBatch, SqlError> {
        Ok(concat_batches(&self.schema, &self.batches)?)
    }
}

fn column<T: Array + Clone + 'static>(batch: &RecordBatch, name: &str, to: &DataType) -> Result<T, SqlError> {
    let missing = || SqlError::Column(name.to_owned());
    let values: &ArrayRef = batch.column_by_name(name).ok_or_else(missing)?;
    let values = cast(values, to)?;
    values.as_any().downcast_ref::<T>().cloned().ok_or_else(missing)
}

/// A column of text, in whichever form the engine gave it.
///
/// # Errors
/// There is no such column, or it can't be read as text.
pub fn texts(batch: &RecordBatch, name: &str) -> Result<StringArray, SqlError> {
    column(batch, name, &DataType::Utf8)
}

/// A column of whole numbers.
///
/// # Errors
/// There is no such column, or it can't be read as whole numbers.
pub fn bigints(batch: &RecordBatch, name: &str) -> Result<Int64Array, SqlError> {
    column(batch, name, &DataType::Int64)
}

/// A column of numbers.
///
/// # Errors
/// There is no such column, or it can't be read as numbers.
pub fn doubles(batch: &RecordBatch, name: &str) -> Result<Float64Array, SqlError> {
    column(batch, name, &DataType::Float64)
}

/// A column of instants without nulls.
///
/// # Errors
/// There is no such column, or it can't be read as instants.
pub fn instants(batch: &RecordBatch, name: &str) -> Result<Vec<Timestamp>, SqlError> {
    let to = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let values: TimestampMicrosecondArray = column(batch, name, &to)?;
    Ok(values.values().iter().map(|micros| Timestamp::from_micros(*micros)).collect())
}
