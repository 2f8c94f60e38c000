//! How far each consumer is, in a topic of its own (`positions`).
//!
//! Fluvio's own consumer offsets would not do: they lie on one broker without a replica, the last
//! writer wins whichever is further, and the list of them holds only partitions of the broker
//! asked. Here every change is a record, and a reader of the topic keeps the highest position it
//! saw of each consumer and partition, so that the order of the writers does not matter. From
//! time to time a writer adds everything it knows as one record, long before the topic's size
//! makes it drop its oldest records.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use event_schemas::{ByteSize, Clock, Millis};
use fluvio::Compression;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::broker::{AppendFailure, Brokers, Failure, Place};

/// The size of the topic, and how many records come between two that hold everything. A record
/// of one position takes some 200 bytes.
pub(crate) const TOPIC_BYTES: ByteSize = ByteSize::mib(64);
const RECORDS_BETWEEN_SNAPSHOTS: u64 = 5_000;
/// Age must drop nothing: a consumer that has not moved for a year still holds its place.
pub(crate) const TOPIC_AGE: Millis = Millis::from_days(36_500);

/// A consumer's position in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The consumer.
    pub consumer: String,
    /// The topic's name on the cluster.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The topic's generation. A position of an earlier one means nothing.
    pub generation: u64,
    /// Everything before it has been passed.
    pub next: u64,
    /// Whether intake waits for this consumer.
    pub registered: bool,
}

/// What one record of the topic holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Entry {
    /// Some positions.
    #[serde(rename = "positions.1")]
    Some { positions: Vec<Position> },
    /// All that its writer knew.
    #[serde(rename = "snapshot.1")]
    All { positions: Vec<Position> },
}

/// The positions as far as they were read.
#[derive(Debug, Default)]
struct Table {
    read_to: u64,
    since_snapshot: u64,
    rows: HashMap<(String, String, u32), Position>,
}

impl Table {
    /// Takes a position in. The higher generation counts, then the higher offset; who registered
    /// stays registered.
    fn merge(&mut self, new: Position) {
        let key = (new.consumer.clone(), new.topic.clone(), new.partition);
        let Some(old) = self.rows.get_mut(&key) else {
            self.rows.insert(key, new);
            return;
        };
        let registered = old.registered || new.registered;
        if (new.generation, new.next) > (old.generation, old.next) {
            *old = new;
        }
        old.registered = registered;
    }

    /// Whether a position says anything new.
    fn is_news(&self, new: &Position) -> bool {
        let key = (new.consumer.clone(), new.topic.clone(), new.partition);
        self.rows.get(&key).is_none_or(|old| {
            (new.generation, new.next) > (old.generation, old.next) || (new.registered && !old.registered)
        })
    }

    fn take(&mut self, record: &[u8]) {
        match serde_json::from_slice(record) {
            Ok(Entry::Some { positions }) => {
                self.since_snapshot += 1;
                positions.into_iter().for_each(|position| self.merge(position));
            }
            Ok(Entry::All { positions }) => {
                self.since_snapshot = 0;
                positions.into_iter().for_each(|position| self.merge(position));
            }
            Err(error) => tracing::warn!(%error, "a consumer's position can't be read"),
        }
    }
}

/// The consumers' positions.
pub(crate) struct Positions {
    brokers: Arc<Brokers>,
    place: Place,
    clock: Arc<dyn Clock>,
    table: Mutex<Table>,
}

impl Positions {
    /// The positions kept in the topic `topic`, which must exist when they are asked for.
    pub fn new(brokers: Arc<Brokers>, topic: String, clock: Arc<dyn Clock>) -> Self {
        Self { brokers, place: Place { topic, partition: 0 }, clock, table: Mutex::default() }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.place.topic
    }

    /// One consumer's position, by what every process has written up to now.
    pub async fn of(&self, consumer: &str, place: &Place, generation: u64) -> Result<Option<Position>, Failure> {
        let mut table = self.table.lock().await;
        self.catch_up(&mut table).await?;
        let row = table.rows.get(&(consumer.to_owned(), place.topic.clone(), place.partition));
        Ok(row.map(|row| in_generation(row, generation)))
    }

    /// Every registered consumer's position in a topic.
    pub async fn registered(&self, topic: &str, generation: u64) -> Result<Vec<Position>, Failure> {
        let mut table = self.table.lock().await;
        self.catch_up(&mut table).await?;
        let rows = table.rows.values().filter(|row| row.registered && row.topic == topic);
        Ok(rows.map(|row| in_generation(row, generation)).collect())
    }

    /// Registers a consumer for every partition of a topic, where it is not registered yet.
    pub async fn register(&self, positions: Vec<Position>) -> Result<(), AppendFailure> {
        let mut table = self.table.lock().await;
        self.catch_up(&mut table).await.map_err(AppendFailure::NotStored)?;
        drop(table);
        self.write(positions).await
    }

    /// Writes positions, those that say nothing new left out.
    pub async fn write(&self, mut positions: Vec<Position>) -> Result<(), AppendFailure> {
        let mut table = self.table.lock().await;
        positions.retain(|new| table.is_news(new));
        if positions.is_empty() {
            return Ok(());
        }
        let entry = if table.since_snapshot < RECORDS_BETWEEN_SNAPSHOTS {
            Entry::Some { positions: positions.clone() }
        } else {
            self.catch_up(&mut table).await.map_err(AppendFailure::NotStored)?;
            let known = table.rows.values().cloned();
            Entry::All { positions: known.chain(positions.iter().cloned()).collect() }
        };
        // The next one may go on while this one is on its way: their order does not matter.
        drop(table);
        let record = serde_json::to_vec(&entry);
        let record = record.map_err(|e| AppendFailure::NotStored(Failure::Unavailable(e.to_string())))?;
        self.brokers.append(&self.place, vec![Bytes::from(record)], self.clock.now(), Compression::None).await?;
        let mut table = self.table.lock().await;
        positions.into_iter().for_each(|new| table.merge(new));
        // Counted here too, since a process that only writes never reads what it wrote.
        table.since_snapshot = if matches!(entry, Entry::All { .. }) { 0 } else { table.since_snapshot + 1 };
        Ok(())
    }

    async fn catch_up(&self, table: &mut Table) -> Result<(), Failure> {
        let ends = self.brokers.ends(&self.place).await?;
        if ends.next < table.read_to {
            // The topic was made anew.
            *table = Table::default();
        }
        table.read_to = table.read_to.max(ends.first);
        while table.read_to < ends.next {
            let records = self.brokers.fetch(&self.place, table.read_to).await?;
            let Some(last) = records.last() else { break };
            table.read_to = last.offset + 1;
            records.iter().for_each(|record| table.take(&record.bytes));
        }
        Ok(())
    }
}

/// The position as it counts in `generation`: in a topic made anew a consumer has passed nothing.
fn in_generation(row: &Position, generation: u64) -> Position {
    let next = if row.generation == generation { row.next } else { 0 };
    Position { next, generation, ..row.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(generation: u64, next: u64, registered: bool) -> Position {
        Position { consumer: "c".to_owned(), topic: "t".to_owned(), partition: 0, generation, next, registered }
    }

    #[test]
    fn positions_merge_alike_in_any_order() {
        let all = [position(1, 5, false), position(1, 3, true), position(2, 1, false), position(1, 9, false)];
        for start in 0..all.len() {
            let mut table = Table::default();
            for n in 0..all.len() {
                table.merge(all[(start + n) % all.len()].clone());
            }
            let row = table.rows.values().next().unwrap();
            assert_eq!(*row, position(2, 1, true));
            assert_eq!(in_generation(row, 2).next, 1);
            assert_eq!(in_generation(row, 3).next, 0);
        }
    }

    #[test]
    fn records_are_read_and_bad_ones_skipped() {
        let mut table = Table::default();
        table.take(br#"{"kind":"positions.1","positions":[{"consumer":"c","topic":"t","partition":0,"generation":1,"next":7,"registered":false}]}"#);
        table.take(b"nonsense");
        table.take(br#"{"kind":"positions.2"}"#);
        assert_eq!(table.rows.values().next().unwrap(), &position(1, 7, false));
        assert_eq!(table.since_snapshot, 1);
    }
}
