//! Writing a result for people and programs.

use std::io::Write;

use arrow::util::pretty::pretty_format_batches_with_schema;

use crate::{QueryResult, SqlError};

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A table with borders.
    #[default]
    Table,
    /// Comma-separated values with a header, RFC 4180.
    Csv,
    /// One JSON array of objects; nulls are left out.
    Json,
    /// A JSON object a line.
    JsonLines,
}

impl QueryResult {
    /// Writes the rows in `format`.
    ///
    /// # Errors
    /// The writer fails, or a value has no form in this format.
    pub fn write(&self, format: Format, mut out: impl Write) -> Result<(), SqlError> {
        match format {
            Format::Table => {
                let table = pretty_format_batches_with_schema(self.schema.clone(), &self.batches)?;
                writeln!(out, "{table}").map_err(arrow::error::ArrowError::from)?;
            }
            Format::Csv => {
                let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(&mut out);
                if self.batches.is_empty() {
                    writer.write(&arrow::array::RecordBatch::new_empty(self.schema.clone()))?;
                }
                for batch in &self.batches {
                    writer.write(batch)?;
                }
            }
            Format::Json => {
                let mut writer = arrow::json::ArrayWriter::new(&mut out);
                for batch in &self.batches {
                    writer.write(batch)?;
                }
                writer.finish()?;
                writeln!(out).map_err(arrow::error::ArrowError::from)?;
            }
            Format::JsonLines => {
                let mut writer = arrow::json::LineDelimitedWriter::new(&mut out);
                for batch in &self.batches {
                    writer.write(batch)?;
                }
                writer.finish()?;
            }
        }
        Ok(())
    }
}
