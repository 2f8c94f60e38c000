//! Secrets that every process of the instance must know: the first one proposed is everybody's.

use super::{SqlCatalog, rows::Columns as _};
use crate::{CatalogError, Result};

pub(super) async fn first(catalog: &SqlCatalog, name: &str, proposed: &[u8]) -> Result<Vec<u8>> {
    let mut tx = catalog.write().await?;
    sqlx::query(sql!("secrets/insert.sql")).bind(name).bind(hex::encode(proposed)).execute(tx.conn()).await?;
    let row = sqlx::query(sql!("secrets/by_name.sql")).bind(name).fetch_one(tx.conn()).await?;
    let value = hex::decode(row.text("value")?);
    tx.commit().await?;
    // The value itself must not be shown.
    value.map_err(|_| CatalogError::Corrupt(format!("the secret {name} is not hexadecimal")))
}
