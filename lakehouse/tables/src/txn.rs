//! How far a table has come: the application transactions that each commit carries.
//!
//! For partition `p` of a topic, `<topic>/<p>` is the next offset not yet in the table and
//! `<topic>/<p>/owner` the epoch of the writer that owns the partition. Both are set by every
//! commit of data, so that a snapshot says exactly which records it holds and which writer may go
//! on from there.

use deltalake::{DeltaTable, kernel::Transaction};
use event_schemas::{Offset, OffsetVector, Partition, Topic};

use crate::LakeError;

/// What a snapshot says about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The next offset not yet in the table; 0 if none ever was.
    pub next: Offset,
    /// The epoch of the owner; 0 if there never was one.
    pub owner: u64,
}

/// The id of the transaction that holds a partition's next offset.
#[must_use]
pub fn offset_id(topic: Topic, partition: Partition) -> String {
    format!("{topic}/{partition}")
}

/// The id of the transaction that holds the epoch of a partition's owner.
#[must_use]
pub fn owner_id(topic: Topic, partition: Partition) -> String {
    format!("{topic}/{partition}/owner")
}

/// The transaction that sets a partition's next offset.
#[must_use]
pub fn set_offset(topic: Topic, partition: Partition, next: Offset) -> Transaction {
    Transaction::new(offset_id(topic, partition), clamp(next.0))
}

/// The transaction that sets the epoch of a partition's owner.
#[must_use]
pub fn set_owner(topic: Topic, partition: Partition, epoch: u64) -> Transaction {
    Transaction::new(owner_id(topic, partition), clamp(epoch))
}

/// What the snapshot that `table` has loaded says about `partition`.
///
/// # Errors
/// The snapshot can't be read.
pub async fn progress(table: &DeltaTable, topic: Topic, partition: Partition) -> Result<Progress, LakeError> {
    let (state, store) = (table.snapshot()?, table.log_store());
    let next = state.transaction_version(store.as_ref(), offset_id(topic, partition)).await?;
    let owner = state.transaction_version(store.as_ref(), owner_id(topic, partition)).await?;
    Ok(Progress {
        next: Offset(u64::try_from(next.unwrap_or(0)).unwrap_or(0)),
        owner: u64::try_from(owner.unwrap_or(0)).unwrap_or(0),
    })
}

/// The next offset of each of the first `partitions` partitions in the snapshot that `table` has
/// loaded. Partitions of which nothing was stored are left out.
///
/// # Errors
/// The snapshot can't be read.
pub async fn offsets(table: &DeltaTable, topic: Topic, partitions: u32) -> Result<OffsetVector, LakeError> {
    let mut vector = OffsetVector::default();
    let (state, store) = (table.snapshot()?, table.log_store());
    for partition in (0..partitions).map(Partition) {
        let next = state.transaction_version(store.as_ref(), offset_id(topic, partition)).await?;
        if let Some(next) = next.and_then(|next| u64::try_from(next).ok()).filter(|next| *next > 0) {
            vector.0.insert(partition, Offset(next));
        }
    }
    Ok(vector)
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
