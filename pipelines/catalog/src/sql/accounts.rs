//! Accounts, their channels, and invitations.

use event_schemas::{AccountId, ChannelId, Timestamp};

use super::{SqlCatalog, rows};
use crate::{Account, CatalogError, Channel, NewAccount, Result};

pub(super) async fn create(catalog: &SqlCatalog, new: NewAccount) -> Result<Account> {
    // It may decide from there being no account, which no row can be held for.
    let mut tx = catalog.write_serializable().await?;
    if new.must_be_first {
        let others = rows::count(&sqlx::query(sql!("accounts/count.sql")).fetch_one(tx.conn()).await?)?;
        if others > 0 {
            return Err(CatalogError::WrongState("there is an account already"));
        }
    }
    // First, so that nobody without an invitation learns which logins exist.
    if let Some(code_hash) = &new.invitation {
        let used = sqlx::query(sql!("accounts/use_invitation.sql"))
            .bind(code_hash.as_str())
            .bind(new.now.as_micros())
            .execute(tx.conn())
            .await?;
        if used.rows_affected() == 0 {
            return Err(CatalogError::NotFound("invitation"));
        }
    }
    let id = AccountId::generate();
    let inserted = sqlx::query(sql!("accounts/insert_account.sql"))
        .bind(id.to_string())
        .bind(new.login.as_str())
        .bind(new.login.to_ascii_lowercase())
        .bind(new.password_hash.as_str())
        .bind(i64::from(new.is_admin))
        .bind(new.now.as_micros())
        .execute(tx.conn())
        .await?;
    if inserted.rows_affected() == 0 {
        return Err(CatalogError::Conflict("login"));
    }
    let channel = Channel { id: ChannelId::generate(), owner: id, handle: new.handle, name: new.name };
    let inserted = sqlx::query(sql!("accounts/insert_channel.sql"))
        .bind(channel.id.to_string())
        .bind(id.to_string())
        .bind(channel.handle.as_str())
        .bind(channel.name.as_str())
        .execute(tx.conn())
        .await?;
    if inserted.rows_affected() == 0 {
        return Err(CatalogError::Conflict("handle"));
    }
    tx.commit().await?;
    Ok(Account {
        id,
        login: new.login,
        password_hash: new.password_hash,
        is_admin: new.is_admin,
        channel,
        created_at: new.now,
    })
}

pub(super) async fn by_id(catalog: &SqlCatalog, id: AccountId) -> Result<Option<Account>> {
    let row = sqlx::query(sql!("accounts/by_id.sql")).bind(id.to_string()).fetch_optional(&catalog.readers).await?;
    row.as_ref().map(rows::account).transpose()
}

pub(super) async fn by_login(catalog: &SqlCatalog, login: &str) -> Result<Option<Account>> {
    let row = sqlx::query(sql!("accounts/by_login.sql"))
        .bind(login.to_ascii_lowercase())
        .fetch_optional(&catalog.readers)
        .await?;
    row.as_ref().map(rows::account).transpose()
}

pub(super) async fn count(catalog: &SqlCatalog) -> Result<u64> {
    rows::count(&sqlx::query(sql!("accounts/count.sql")).fetch_one(&catalog.readers).await?)
}

pub(super) async fn channel(catalog: &SqlCatalog, id: ChannelId) -> Result<Option<Channel>> {
    let row =
        sqlx::query(sql!("accounts/channel_by_id.sql")).bind(id.to_string()).fetch_optional(&catalog.readers).await?;
    row.as_ref().map(rows::channel).transpose()
}

pub(super) async fn invite(catalog: &SqlCatalog, code_hash: &str, by: AccountId, expires_at: Timestamp) -> Result<()> {
    let mut tx = catalog.write().await?;
    let inserted = sqlx::query(sql!("accounts/insert_invitation.sql"))
        .bind(code_hash)
        .bind(by.to_string())
        .bind(expires_at.as_micros())
        .execute(tx.conn())
        .await?;
    if inserted.rows_affected() == 0 {
        return Err(CatalogError::Conflict("invitation"));
    }
    tx.commit().await
}
