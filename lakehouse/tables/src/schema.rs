//! The schema file: every table of the lake, its columns, their meanings and units.
//!
//! Instants are microseconds UTC, spans are milliseconds unless a column says otherwise, ids are
//! text in their canonical form. Columns may be added at the end, nullable; none is ever removed
//! or given another meaning.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use event_schemas::playback;

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its Arrow type.
    pub data_type: DataType,
    /// Whether it may be null.
    pub nullable: bool,
    /// What it means, with its unit.
    pub meaning: &'static str,
}

/// A table of the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDef {
    /// Its name, which is also its folder.
    pub name: &'static str,
    /// What a row of it is.
    pub meaning: &'static str,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// The columns it is partitioned by.
    pub partitioned_by: &'static [&'static str],
    /// The columns whose least and greatest value each file records, for skipping files.
    pub skipping: &'static [&'static str],
}

impl TableDef {
    /// The Arrow schema, without meanings.
    #[must_use]
    pub fn arrow_schema(&self) -> SchemaRef {
        let fields =
            self.columns.iter().map(|column| Field::new(column.name, column.data_type.clone(), column.nullable));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

/// The names of the columns that [`playback_events`] adds to a playback event.
pub mod provenance {
    /// See [`super::playback_events`].
    pub const TOPIC_PARTITION: &str = "topic_partition";
    /// See [`super::playback_events`].
    pub const LOG_GENERATION: &str = "log_generation";
    /// See [`super::playback_events`].
    pub const LOG_OFFSET: &str = "log_offset";
    /// See [`super::playback_events`].
    pub const LOG_INDEX: &str = "log_index";
    /// See [`super::playback_events`].
    pub const PRODUCER: &str = "producer";
    /// See [`super::playback_events`].
    pub const PRODUCER_EPOCH: &str = "producer_epoch";
    /// See [`super::playback_events`].
    pub const PRODUCER_SEQ: &str = "producer_seq";
    /// See [`super::playback_events`].
    pub const EVENT_DATE: &str = "event_date";
}

/// Bronze: every playback event as it came, once, in no particular order on disk. The rules fold
/// events in the order (`log_generation`, `topic_partition`, `log_offset`, `log_index`).
#[must_use]
pub fn playback_events() -> &'static TableDef {
    static TABLE: LazyLock<TableDef> = LazyLock::new(|| {
        let mut columns: Vec<Column> = playback::columns()
            .into_iter()
            .map(|(name, data_type, nullable, meaning)| Column { name, data_type, nullable, meaning })
            .collect();
        let mut add = |name, data_type, meaning| columns.push(Column { name, data_type, nullable: false, meaning });
        add(
            provenance::TOPIC_PARTITION,
            DataType::Int64,
            "partition of the playback topic, from 0; all events of a viewer are in one",
        );
        add(provenance::LOG_GENERATION, DataType::Int64, "life of the log; rises when its offsets begin again");
        add(provenance::LOG_OFFSET, DataType::Int64, "offset of the log record that held the event");
        add(provenance::LOG_INDEX, DataType::Int64, "place of the event in that record, from 0");
        add(provenance::PRODUCER, DataType::Utf8, "UUID of the producer of that record");
        add(provenance::PRODUCER_EPOCH, DataType::Int64, "rises each time the producer starts");
        add(
            provenance::PRODUCER_SEQ,
            DataType::Int64,
            "number of the record among its producer's, from 0 in each epoch",
        );
        add(provenance::EVENT_DATE, DataType::Date32, "UTC day of event_ts; the table is partitioned by it");
        TableDef {
            name: "playback_events",
            meaning: "One row a playback event, exactly once. Bronze: as received, dropped events marked, never removed.",
            columns,
            partitioned_by: &[provenance::EVENT_DATE],
            skipping: &[
                "video_id",
                "server_ts",
                "event_ts",
                provenance::TOPIC_PARTITION,
                provenance::LOG_GENERATION,
                provenance::LOG_OFFSET,
            ],
        }
    });
    &TABLE
}

/// Every table of the lake.
#[must_use]
pub fn tables() -> [&'static TableDef; 1] {
    [playback_events()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_column_is_named_once_and_explained() {
        for table in tables() {
            let names: BTreeSet<_> = table.columns.iter().map(|column| column.name).collect();
            assert_eq!(names.len(), table.columns.len(), "{}", table.name);
            for column in &table.columns {
                assert!(column.meaning.len() > 5, "{}.{}", table.name, column.name);
            }
            for column in table.partitioned_by.iter().chain(table.skipping) {
                assert!(names.contains(column), "{}.{column}", table.name);
            }
        }
    }
}
