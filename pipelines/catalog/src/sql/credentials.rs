//! Sessions and API tokens, by the hash of their secret.

use event_schemas::{AccountId, Timestamp};
use uuid::Uuid;

use super::{SqlCatalog, rows};
use crate::{CatalogError, Credential, CredentialCursor, Result};

pub(super) async fn create(catalog: &SqlCatalog, new: Credential) -> Result<()> {
    let mut tx = catalog.write().await?;
    let inserted = sqlx::query(sql!("credentials/insert.sql"))
        .bind(new.id.to_string())
        .bind(new.secret_hash)
        .bind(new.account.to_string())
        .bind(rows::credential_kind(new.kind))
        .bind(new.label)
        .bind(new.created_at.as_micros())
        .bind(new.expires_at.map(Timestamp::as_micros))
        .execute(tx.conn())
        .await?;
    if inserted.rows_affected() == 0 {
        return Err(CatalogError::Conflict("credential"));
    }
    tx.commit().await
}

pub(super) async fn find(catalog: &SqlCatalog, secret_hash: &str, now: Timestamp) -> Result<Option<Credential>> {
    let row = sqlx::query(sql!("credentials/by_secret.sql"))
        .bind(secret_hash)
        .bind(now.as_micros())
        .fetch_optional(&catalog.readers)
        .await?;
    row.as_ref().map(rows::credential).transpose()
}

pub(super) async fn api_tokens(
    catalog: &SqlCatalog,
    account: AccountId,
    after: Option<CredentialCursor>,
    limit: u32,
) -> Result<Vec<Credential>> {
    let (created_at, id) = after.map_or_else(
        || (rows::FIRST_PAGE.0, rows::FIRST_PAGE.1.to_owned()),
        |cursor| (cursor.created_at.as_micros(), cursor.id.to_string()),
    );
    let found = sqlx::query(sql!("credentials/api_tokens.sql"))
        .bind(account.to_string())
        .bind(created_at)
        .bind(id)
        .bind(i64::from(limit))
        .fetch_all(&catalog.readers)
        .await?;
    found.iter().map(rows::credential).collect()
}

pub(super) async fn delete(catalog: &SqlCatalog, account: AccountId, id: Uuid) -> Result<bool> {
    let mut tx = catalog.write().await?;
    let deleted = sqlx::query(sql!("credentials/delete.sql"))
        .bind(account.to_string())
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    tx.commit().await?;
    Ok(deleted.rows_affected() > 0)
}

pub(super) async fn delete_expired(catalog: &SqlCatalog, now: Timestamp, limit: u32) -> Result<u64> {
    let mut tx = catalog.write().await?;
    let mut deleted = 0;
    for statement in [sql!("credentials/delete_expired.sql"), sql!("credentials/delete_expired_invitations.sql")] {
        let left = i64::from(limit).saturating_sub_unsigned(deleted);
        let result = sqlx::query(statement).bind(now.as_micros()).bind(left).execute(tx.conn()).await?;
        deleted += result.rows_affected();
    }
    tx.commit().await?;
    Ok(deleted)
}
