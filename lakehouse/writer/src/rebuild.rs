//! Making the state that recognises duplicates anew from the table, when its store is lost or
//! does not belong to the table. The log may no longer reach back far enough.

use std::collections::HashMap;

use datafusion::{
    arrow::{
        array::{Array, Int64Array, StringArray, TimestampMicrosecondArray},
        compute::cast,
        datatypes::{DataType, TimeUnit},
        record_batch::RecordBatch,
    },
    error::DataFusionError,
    prelude::SessionContext,
};
use deltalake::DeltaTable;
use event_schemas::{Offset, Partition, ProducerId, ProducerStamp, SessionId, Timestamp, rules::DEDUPLICATION_WINDOW};
use futures::TryStreamExt;
use intake::{PartitionIntake, SessionSeen};
use lake_tables::Lake;

use crate::WriterError;

/// The state of `partition` at `next`, from the rows that `table` holds: the numbers of sessions
/// seen within the deduplication window, and the last record of each producer.
pub async fn from_table(
    lake: &Lake,
    table: &DeltaTable,
    partition: Partition,
    next: Offset,
) -> Result<PartitionIntake, WriterError> {
    let context = SessionContext::new();
    context.runtime_env().register_object_store(lake.address(), lake.store().clone());
    context.register_table("events", table.table_provider().await?)?;

    let days = DEDUPLICATION_WINDOW.0 / 86_400_000;
    let sessions = format!(
        "select session_id, seq, server_ts from events where topic_partition = {partition} and server_ts >= \
         (select max(server_ts) from events where topic_partition = {partition}) - interval '{} days'",
        days + 1
    );
    let mut seen: HashMap<SessionId, SessionSeen> = HashMap::new();
    let mut rows = context.sql(&sessions).await?.execute_stream().await?;
    while let Some(batch) = rows.try_next().await? {
        let (ids, seqs) = (texts(&batch, 0)?, numbers(&batch, 1)?);
        let at = cast(batch.column(2), &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        let at = at.as_any().downcast_ref::<TimestampMicrosecondArray>().ok_or_else(unreadable)?;
        for row in 0..batch.num_rows() {
            let session: SessionId = ids.value(row).parse().map_err(|_| unreadable())?;
            let entry = seen.entry(session).or_default();
            entry.seqs.insert(u32::try_from(seqs.value(row)).map_err(|_| unreadable())?);
            entry.last_seen = entry.last_seen.max(Timestamp::from_micros(at.value(row)));
        }
    }

    let producers = format!(
        "select producer, producer_epoch, max(producer_seq) from events where topic_partition = {partition} \
         group by producer, producer_epoch"
    );
    let mut stamps = Vec::new();
    for batch in context.sql(&producers).await?.collect().await? {
        let (ids, epochs, seqs) = (texts(&batch, 0)?, numbers(&batch, 1)?, numbers(&batch, 2)?);
        for row in 0..batch.num_rows() {
            let id: ProducerId = ids.value(row).parse().map_err(|_| unreadable())?;
            let unsigned = |value: i64| u64::try_from(value).map_err(|_| unreadable());
            stamps.push(ProducerStamp { id, epoch: unsigned(epochs.value(row))?, seq: unsigned(seqs.value(row))? });
        }
    }
    Ok(PartitionIntake::rebuilt(next, stamps, seen))
}

fn unreadable() -> DataFusionError {
    DataFusionError::Internal("the table holds a value that its writer does not write".to_owned())
}

fn texts(batch: &RecordBatch, column: usize) -> Result<StringArray, DataFusionError> {
    let values = cast(batch.column(column), &DataType::Utf8)?;
    values.as_any().downcast_ref::<StringArray>().cloned().ok_or_else(unreadable)
}

fn numbers(batch: &RecordBatch, column: usize) -> Result<Int64Array, DataFusionError> {
    let values = cast(batch.column(column), &DataType::Int64)?;
    values.as_any().downcast_ref::<Int64Array>().cloned().ok_or_else(unreadable)
}
