//! Brings the schema up to date, through sqlx's migrator, when the catalog is opened.

use sqlx::{
    AnyPool, SqlSafeStr,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::{dialect::Dialect, rows::Columns};
use crate::{CatalogError, Result};

/// Every migration, by version. One that has been released is never changed.
const MIGRATIONS: &[(i64, &str, &str)] =
    &[(1, "catalog", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/0001_catalog.sql")))];

/// Applies what is missing. A database of another program, or of a later version of this one, is left
/// as it is.
pub(super) async fn run(dialect: &Dialect, pool: &AnyPool) -> Result<()> {
    let tables = sqlx::query(dialect.tables).fetch_one(pool).await?;
    if tables.int("n")? > 0 && tables.int("migrations")? == 0 {
        return Err(CatalogError::Open("the database belongs to another program".into()));
    }
    let migrations = MIGRATIONS.iter().map(|(version, name, text)| {
        Migration::new(*version, (*name).into(), MigrationType::Simple, text.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect()).run(pool).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        MigrateError::VersionMissing(version) => CatalogError::Open(format!(
            "it was written by a later version of this program (schema {version}, this one knows up to {})",
            MIGRATIONS.len()
        )),
        MigrateError::VersionMismatch(version) => {
            CatalogError::Open(format!("its schema {version} is not the one this program made"))
        }
        other => CatalogError::Open(other.to_string()),
    })
}
