//! Named leases and named counters.

use event_schemas::{Millis, Timestamp};

use super::{
    SqlCatalog,
    rows::{Columns, signed},
    transaction::Write,
};
use crate::{CatalogError, Lease, Result};

pub(super) async fn acquire(
    catalog: &SqlCatalog,
    name: &str,
    owner: &str,
    now: Timestamp,
    ttl: Millis,
) -> Result<Option<Lease>> {
    let until = now + ttl;
    let mut tx = catalog.write().await?;
    let taken = sqlx::query(sql!("leases/acquire.sql"))
        .bind(name)
        .bind(owner)
        .bind(now.as_micros())
        .bind(until.as_micros())
        .fetch_optional(tx.conn())
        .await?;
    let Some(row) = taken else { return Ok(None) };
    let epoch = row.number("epoch")?;
    tx.commit().await?;
    Ok(Some(Lease { name: name.to_owned(), owner: owner.to_owned(), epoch, until }))
}

pub(super) async fn renew(catalog: &SqlCatalog, lease: &Lease, until: Timestamp) -> Result<()> {
    let mut tx = catalog.write().await?;
    let renewed = sqlx::query(sql!("leases/renew.sql"))
        .bind(lease.name.as_str())
        .bind(lease.owner.as_str())
        .bind(signed(lease.epoch)?)
        .bind(until.as_micros())
        .execute(tx.conn())
        .await?;
    if renewed.rows_affected() == 0 {
        return Err(CatalogError::Fenced);
    }
    tx.commit().await
}

pub(super) async fn release(catalog: &SqlCatalog, lease: &Lease) -> Result<()> {
    let mut tx = catalog.write().await?;
    sqlx::query(sql!("leases/release.sql"))
        .bind(lease.name.as_str())
        .bind(lease.owner.as_str())
        .bind(signed(lease.epoch)?)
        .execute(tx.conn())
        .await?;
    tx.commit().await
}

/// The next value of a counter, from 1. Nobody else takes one of this counter until the transaction ends.
pub(super) async fn next(tx: &mut Write<'_>, counter: &str) -> Result<i64> {
    sqlx::query(sql!("leases/next.sql")).bind(counter).fetch_one(tx.conn()).await?.int("value")
}

pub(super) async fn next_epoch(catalog: &SqlCatalog, name: &str) -> Result<u64> {
    let mut tx = catalog.write().await?;
    // A prefix keeps the callers' names apart from the counter that numbers the outbox.
    let value = next(&mut tx, &format!("epoch/{name}")).await?;
    tx.commit().await?;
    u64::try_from(value).map_err(|_| CatalogError::Corrupt(format!("counter {name} is negative")))
}

pub(super) async fn counter(catalog: &SqlCatalog, name: &str) -> Result<u64> {
    let row =
        sqlx::query(sql!("leases/counter.sql")).bind(format!("epoch/{name}")).fetch_optional(&catalog.readers).await?;
    row.map_or(Ok(0), |row| row.number("value"))
}

pub(super) async fn of_prefix(catalog: &SqlCatalog, prefix: &str, now: Timestamp) -> Result<Vec<Lease>> {
    let found = sqlx::query(sql!("leases/of_prefix.sql"))
        .bind(prefix)
        // After every name that begins with the prefix, by bytes.
        .bind(format!("{prefix}{}", char::MAX))
        .bind(now.as_micros())
        .fetch_all(&catalog.readers)
        .await?;
    let lease = |row| {
        let row: &sqlx::any::AnyRow = row;
        Ok(Lease {
            name: row.text("name")?,
            owner: row.text("owner")?,
            epoch: row.number("epoch")?,
            until: row.time("until_us")?,
        })
    };
    found.iter().map(lease).collect()
}
