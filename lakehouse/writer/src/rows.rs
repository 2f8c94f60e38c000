//! From the rows of a log record to rows of `playback_events`.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
    },
    datatypes::SchemaRef,
    error::ArrowError,
};
use event_schemas::Partition;
use intake::Taken;
use lake_tables::schema::provenance;

const MICROS_A_DAY: i64 = 86_400_000_000;

/// The rows of `taken` in the table's form, `schema`: the event's columns, its provenance, and
/// nulls in columns that this program does not know.
///
/// # Errors
/// The table has a column without a value that must not be null.
pub fn to_table(partition: Partition, taken: &Taken, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let rows = taken.rows.num_rows();
    let source = taken.source;
    let number =
        |value: u64| -> ArrayRef { Arc::new(Int64Array::from_value(i64::try_from(value).unwrap_or(i64::MAX), rows)) };
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            Ok(match field.name().as_str() {
                provenance::TOPIC_PARTITION => number(u64::from(partition.0)),
                provenance::LOG_GENERATION => number(source.generation),
                provenance::LOG_OFFSET => number(source.offset.0),
                provenance::LOG_INDEX => {
                    Arc::new(Int64Array::from_iter_values(taken.index.iter().copied().map(i64::from)))
                }
                provenance::PRODUCER => {
                    let producer = source.stamp.id.to_string();
                    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(producer, rows)))
                }
                provenance::PRODUCER_EPOCH => number(source.stamp.epoch),
                provenance::PRODUCER_SEQ => number(source.stamp.seq),
                provenance::EVENT_DATE => days(&taken.rows)?,
                name => match taken.rows.column_by_name(name) {
                    Some(column) if column.data_type() == field.data_type() => Arc::clone(column),
                    Some(column) => arrow::compute::cast(column, field.data_type())?,
                    None => new_null_array(field.data_type(), rows),
                },
            })
        })
        .collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

fn days(rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let event_ts = rows
        .column_by_name("event_ts")
        .and_then(|column| column.as_any().downcast_ref::<TimestampMicrosecondArray>())
        .ok_or_else(|| ArrowError::SchemaError("event_ts is absent or of another type".to_owned()))?;
    let days = event_ts.values().iter().map(|micros| {
        let day = micros.div_euclid(MICROS_A_DAY);
        i32::try_from(day)
            .map_err(|_| ArrowError::ComputeError(format!("event_ts {micros} is in no representable day")))
    });
    Ok(Arc::new(Date32Array::from(days.collect::<Result<Vec<_>, _>>()?)))
}
