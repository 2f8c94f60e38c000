//! Brings the schema up to date, through sqlx's migrator, when the catalog is opened. On PostgreSQL the
//! migrator holds an advisory lock of the database, so of several processes that start at once one migrates
//! and the others find it done.

use sqlx::{
    AnyConnection, AssertSqlSafe, SqlSafeStr,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::{dialect::Dialect, rows::Columns};
use crate::{CatalogError, Result};

/// Every migration, by version. One that has been released is never changed.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "catalog", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/0001_catalog.sql"))),
    (2, "many processes", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/0002_many_processes.sql"))),
];

/// Applies what is missing. A database of another program, or of a later version of this one, is left
/// as it is.
pub(super) async fn run(dialect: &Dialect, connection: &mut AnyConnection) -> Result<()> {
    let row = sqlx::query(dialect.tables).fetch_one(&mut *connection).await?;
    let (tables, migrations, known) = (row.int("n")?, row.int("migrations")?, row.int("known")?);
    // The list of migrations alone: whoever was the first to open it was killed, or is at it now.
    if tables > migrations && (migrations == 0 || known < 3) {
        return Err(CatalogError::Open(
            "the database belongs to another program: name one that is empty or holds a catalog".into(),
        ));
    }
    let migrations = MIGRATIONS.iter().map(|(version, name, text)| {
        let text = AssertSqlSafe(dialect.migration(text)).into_sql_str();
        Migration::new(*version, (*name).into(), MigrationType::Simple, text, false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    // `run` asks more of the connection's lifetime than a future that is sent between threads can give.
    migrator.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        MigrateError::VersionMissing(version) => CatalogError::Open(format!(
            "it was written by a later version of this program (schema {version}, this one knows up to {}): run \
             that version or a later one",
            MIGRATIONS.len()
        )),
        MigrateError::VersionMismatch(version) => {
            CatalogError::Open(format!("its schema {version} is not the one this program made"))
        }
        other => CatalogError::Open(other.to_string()),
    })
}
