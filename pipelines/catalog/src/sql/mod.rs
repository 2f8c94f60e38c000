//! The catalog over SQL: one text for every engine, through sqlx's `Any` driver.
//!
//! Statements lie in `sql/<subject>/*.sql`, tables in `migrations/`. Only what [`dialect::Dialect`]
//! holds differs by engine. Instants are microseconds, so a cursor made of one is exact. Each file here
//! is one subject; `seam.rs` ties them to the trait. `bootstrap.rs` of the binary opens it.

macro_rules! sql {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $path))
    };
}

mod accounts;
mod calls;
mod credentials;
mod dialect;
mod jobs;
mod leases;
mod listen;
mod media;
mod members;
mod migrate;
mod outbox;
mod postgres;
mod rows;
mod seam;
mod secrets;
mod sqlite;
mod transaction;
mod uploads;
mod videos;

use std::{path::Path, sync::Arc, time::Duration};

use event_schemas::ByteSize;
use sqlx::{AnyConnection, AnyPool, Connection, any::AnyPoolOptions};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{CatalogError, Result};
use dialect::{Dialect, Engine, Use};
use listen::Listener;

/// A remote connection unused for so long is closed.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// A remote connection is replaced after this, so that a database that moved is found at its new place.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// How a [`SqlCatalog`] is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlOptions {
    /// Connections that only read. SQLite has one more, which alone writes.
    pub readers: u32,
    /// PostgreSQL: connections that write. It has one more, which hears of other processes' outbox rows.
    pub writers: u32,
    /// How long a call waits for a connection or, on SQLite, for another process's write lock.
    pub wait: Duration,
    /// SQLite: refuse to grow beyond this with [`CatalogError::Full`]; none for no limit.
    pub max_bytes: Option<ByteSize>,
    /// PostgreSQL: the server gives up a statement after this.
    pub statement_timeout: Duration,
    /// PostgreSQL: the server gives up waiting for a row that another transaction holds after this.
    pub lock_timeout: Duration,
    /// PostgreSQL: the server ends a transaction whose process says nothing for this long.
    pub idle_in_transaction_timeout: Duration,
    /// PostgreSQL: the name shown in `pg_stat_activity`.
    pub application_name: String,
}

impl Default for SqlOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            writers: 4,
            wait: Duration::from_secs(10),
            max_bytes: None,
            statement_timeout: Duration::from_secs(15),
            lock_timeout: Duration::from_secs(5),
            idle_in_transaction_timeout: Duration::from_secs(15),
            application_name: "millrace".to_owned(),
        }
    }
}

/// A [`crate::Catalog`] in an SQL database.
pub struct SqlCatalog {
    dialect: &'static Dialect,
    writer: AnyPool,
    readers: AnyPool,
    outbox_changed: Arc<Notify>,
    /// The longest that a call takes; none where no server can stay silent.
    deadline: Option<Duration>,
    /// Ends the task that listens to PostgreSQL.
    listening: CancellationToken,
}

impl Drop for SqlCatalog {
    fn drop(&mut self) {
        self.listening.cancel();
    }
}

impl SqlCatalog {
    /// Opens the database at `url`, makes what is absent, and brings its schema up to date.
    ///
    /// `url` is `sqlite:<path>` or `postgres://user:password@host:5432/database`. A path with other than
    /// plain characters is best made by [`sqlite_url`]; its folder must exist, on a file system of this
    /// machine. A PostgreSQL database must exist; the schema in it is made. TLS and the like are asked for
    /// by the URL's parameters, such as `?sslmode=verify-full&sslrootcert=ca.pem`.
    ///
    /// # Errors
    /// [`CatalogError::Open`] for another kind of URL, a server that does not answer or refuses, a database
    /// that is no catalog, or one written by a later version of the program. No text shows the password.
    pub async fn open(url: &str, options: SqlOptions) -> Result<Arc<Self>> {
        let dialect = Dialect::of(url)?;
        sqlx::any::install_default_drivers();
        let outbox_changed = Arc::new(Notify::new());
        let listening = CancellationToken::new();
        let (writer, readers) = match dialect.engine {
            Engine::Sqlite => {
                let url = sqlite::connect_url(url)?;
                first_contact(dialect, &url, &options).await?;
                let writer = pool(dialect, &url, Use::Write, &options).await.map_err(opening)?;
                migrate::run(dialect, &mut *writer.acquire().await?).await?;
                (writer, pool(dialect, &url, Use::Read, &options).await.map_err(opening)?)
            }
            Engine::Postgres => {
                let server = postgres::Server::of(url)?;
                let mut connection = server.first_contact(dialect, &options).await?;
                migrate::run(dialect, &mut connection).await.map_err(|error| server.explain(error))?;
                // The schema is there; that a connection can't say goodbye changes nothing.
                let _ = connection.close().await;
                let failed = |error: sqlx::Error| server.explain(error.into());
                let writer = pool(dialect, server.url(), Use::Write, &options).await.map_err(failed)?;
                let readers = pool(dialect, server.url(), Use::Read, &options).await.map_err(failed)?;
                let prepare = dialect.prepare(Use::Read, &options);
                let listener = Listener::new(server, prepare, options.wait, Arc::clone(&outbox_changed), &listening);
                tokio::spawn(listener.run());
                (writer, readers)
            }
        };
        let deadline = (dialect.engine == Engine::Postgres).then(|| options.wait + options.statement_timeout);
        Ok(Arc::new(Self { dialect, writer, readers, outbox_changed, deadline, listening }))
    }

    async fn check(&self) -> Result<()> {
        sqlx::query(sql!("outbox/check.sql")).fetch_one(&self.readers).await?;
        Ok(())
    }

    async fn close(&self) {
        self.listening.cancel();
        // The writer last: the last connection to leave folds the log into the database file.
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// The URL of the SQLite database in this file.
#[must_use]
pub fn sqlite_url(path: &Path) -> String {
    let mut url = String::from("sqlite:");
    for character in path.to_string_lossy().chars() {
        match character {
            '%' => url.push_str("%25"),
            '?' => url.push_str("%3F"),
            '#' => url.push_str("%23"),
            ' ' => url.push_str("%20"),
            other => url.push(other),
        }
    }
    url
}

/// Opens one connection and closes it, so that what is wrong with the file comes out at once: a pool would
/// try again until its time is up.
async fn first_contact(dialect: &'static Dialect, url: &str, options: &SqlOptions) -> Result<()> {
    let mut connection = AnyConnection::connect(url).await.map_err(opening)?;
    let prepare = dialect.prepare(Use::Write, options);
    sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(&mut connection).await.map_err(opening)?;
    connection.close().await.map_err(opening)
}

async fn pool(
    dialect: &'static Dialect,
    url: &str,
    purpose: Use,
    options: &SqlOptions,
) -> std::result::Result<AnyPool, sqlx::Error> {
    let prepare: Arc<str> = dialect.prepare(purpose, options).into();
    let is_remote = dialect.engine == Engine::Postgres;
    let wait = options.wait;
    AnyPoolOptions::new()
        .max_connections(dialect.connections(purpose, options))
        .min_connections(1)
        .acquire_timeout(wait)
        .idle_timeout(is_remote.then_some(IDLE))
        .max_lifetime(is_remote.then_some(LIFETIME))
        .test_before_acquire(is_remote)
        .after_connect(move |connection, _| {
            let prepare = Arc::clone(&prepare);
            Box::pin(async move {
                sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(connection).await?;
                Ok(())
            })
        })
        .after_release(move |connection, _| {
            Box::pin(async move {
                if is_remote {
                    // A server that is gone without a word must not keep the connection's place.
                    let silent = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
                    tokio::time::timeout(wait, connection.ping()).await.map_err(silent)??;
                }
                is_reusable(connection).await
            })
        })
        .connect(url)
        .await
}

/// Whether a connection given back stands outside any transaction. SQLite ends a transaction by itself
/// on some errors (no room, failing disk); sqlx then fails to roll back and would count the connection as
/// being inside one for ever, so such a connection is closed.
async fn is_reusable(connection: &mut AnyConnection) -> std::result::Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // A rollback may still be on its way; the ping comes after it.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// An error of connecting. What can heal stays what it is.
fn opening(error: sqlx::Error) -> CatalogError {
    match CatalogError::from(error) {
        CatalogError::Database(error) if !matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut) => {
            CatalogError::Open(error.to_string())
        }
        CatalogError::Corrupt(what) => CatalogError::Open(what),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use event_schemas::{Millis, Timestamp};

    use super::*;

    async fn open(dir: &tempfile::TempDir) -> Arc<SqlCatalog> {
        let url = sqlite_url(&dir.path().join("a #1? 100%.db"));
        SqlCatalog::open(&url, SqlOptions::default()).await.unwrap()
    }

    async fn pragma(pool: &AnyPool, name: &'static str) -> i64 {
        let row = sqlx::raw_sql(name).fetch_one(pool).await.unwrap();
        sqlx::Row::get(&row, 0)
    }

    #[tokio::test]
    async fn sqlite_is_durable_and_checks_references() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = open(&dir).await;
        assert!(dir.path().join("a #1? 100%.db").exists());
        for pool in [&catalog.writer, &catalog.readers] {
            let mode = sqlx::raw_sql("PRAGMA journal_mode").fetch_one(pool).await.unwrap();
            assert_eq!(sqlx::Row::get::<String, _>(&mode, 0), "wal");
            assert_eq!(pragma(pool, "PRAGMA synchronous").await, 2, "FULL");
            assert_eq!(pragma(pool, "PRAGMA foreign_keys").await, 1);
            assert_eq!(pragma(pool, "PRAGMA busy_timeout").await, 10_000);
        }
        let refused = sqlx::raw_sql("DELETE FROM counters").execute(&catalog.readers).await;
        assert!(refused.is_err(), "a reader must not write");
    }

    #[tokio::test]
    async fn a_transaction_that_the_database_ended_does_not_spoil_its_connection() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = open(&dir).await;
        for _ in 0..3 {
            let mut tx = catalog.write().await.unwrap();
            // What SQLite does by itself when the disk is full at the wrong moment.
            sqlx::raw_sql("ROLLBACK").execute(tx.conn()).await.unwrap();
            drop(tx);
        }
        let mut tx = catalog.write().await.unwrap();
        assert_eq!(leases::next(&mut tx, "x").await.unwrap(), 1);
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_that_gets_room_is_written_to_again() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = open(&dir).await;
        let take = async |number| {
            let name = format!("{number}{}", "x".repeat(3000));
            leases::acquire(&catalog, &name, "a", Timestamp::from_millis(0), Millis(9)).await
        };
        pragma(&catalog.writer, "PRAGMA max_page_count = 60").await;
        let mut number = 0;
        while take(number).await.is_ok() {
            number += 1;
        }
        for _ in 0..3 {
            let error = take(number).await.unwrap_err();
            assert!(matches!(error, CatalogError::Full(_)), "{error:?}");
        }
        pragma(&catalog.writer, "PRAGMA max_page_count = 6000").await;
        assert_eq!(take(number).await.unwrap().unwrap().epoch, 1);
    }

    #[tokio::test]
    async fn a_call_given_up_half_way_leaves_nothing_and_the_writer_free() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = open(&dir).await;
        let mut tx = catalog.write().await.unwrap();
        leases::next(&mut tx, "x").await.unwrap();
        drop(tx);
        let mut tx = catalog.write().await.unwrap();
        assert_eq!(leases::next(&mut tx, "x").await.unwrap(), 1);
    }
}
