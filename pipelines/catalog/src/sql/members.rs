//! Groups of processes: who is there.

use event_schemas::{Millis, Timestamp};

use super::{SqlCatalog, rows::Columns as _};
use crate::Result;

pub(super) async fn join(catalog: &SqlCatalog, group: &str, member: &str, now: Timestamp, ttl: Millis) -> Result<()> {
    let mut tx = catalog.write().await?;
    // Before the own row, so that all who join hold the rows in one order.
    sqlx::query(sql!("members/forget.sql")).bind(group).bind((now - ttl).as_micros()).execute(tx.conn()).await?;
    sqlx::query(sql!("members/join.sql"))
        .bind(group)
        .bind(member)
        .bind((now + ttl).as_micros())
        .execute(tx.conn())
        .await?;
    tx.commit().await
}

pub(super) async fn leave(catalog: &SqlCatalog, group: &str, member: &str) -> Result<()> {
    let mut tx = catalog.write().await?;
    sqlx::query(sql!("members/leave.sql")).bind(group).bind(member).execute(tx.conn()).await?;
    tx.commit().await
}

pub(super) async fn present(catalog: &SqlCatalog, group: &str, now: Timestamp) -> Result<Vec<String>> {
    let found =
        sqlx::query(sql!("members/present.sql")).bind(group).bind(now.as_micros()).fetch_all(&catalog.readers).await?;
    found.iter().map(|row| row.text("member")).collect()
}
