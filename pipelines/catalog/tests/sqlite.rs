//! The conformance suite on SQLite, and what only SQLite has.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::Arc;

use async_trait::async_trait;
use catalog::{
    Catalog, CatalogError, SqlCatalog, SqlOptions,
    conformance::{Backend, at, chunk, creator, start_upload},
    failing::{FailingCatalog, FailurePlan},
    sqlite_url,
};
use event_schemas::ByteSize;

struct Sqlite(tempfile::TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn url(&self) -> String {
        sqlite_url(&self.0.path().join("catalog.db"))
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn open(&self) -> Arc<dyn Catalog> {
        SqlCatalog::open(&self.url(), SqlOptions::default()).await.unwrap()
    }
}

/// The same behind the wrapper that fails, here never: it passes every call on.
struct Wrapped(Sqlite);

#[async_trait]
impl Backend for Wrapped {
    async fn open(&self) -> Arc<dyn Catalog> {
        FailingCatalog::new(self.0.open().await, FailurePlan::NONE)
    }
}

catalog::catalog_conformance!(Sqlite::new());

mod wrapped {
    use super::*;
    catalog::catalog_conformance!(Wrapped(Sqlite::new()));
}

async fn execute(store: &Sqlite, statement: &'static str) {
    use sqlx::Connection as _;
    sqlx::any::install_default_drivers();
    let url = format!("{}?mode=rwc", store.url());
    let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn open_error(store: &Sqlite) -> String {
    match SqlCatalog::open(&store.url(), SqlOptions::default()).await {
        Err(error @ CatalogError::Open(_)) => error.to_string(),
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn a_later_schema_is_left_alone() {
    let store = Sqlite::new();
    store.open().await.close().await;
    execute(
        &store,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99, 'later', 1, x'00', 0)",
    )
    .await;
    let error = open_error(&store).await;
    assert!(error.contains("later version") && error.contains("99"), "{error}");
}

#[tokio::test]
async fn another_programs_file_is_left_alone() {
    let store = Sqlite::new();
    execute(&store, "CREATE TABLE recipes (name TEXT)").await;
    assert!(open_error(&store).await.contains("another program"));

    let store = Sqlite::new();
    std::fs::write(store.0.path().join("catalog.db"), "not a database, just some text that is long enough ".repeat(40))
        .unwrap();
    assert!(open_error(&store).await.contains("not a database"));

    let store = Sqlite(tempfile::tempdir().unwrap());
    std::fs::create_dir(store.0.path().join("catalog.db")).unwrap();
    open_error(&store).await;
}

#[tokio::test]
async fn a_full_database_refuses_and_recovers() {
    let store = Sqlite::new();
    let options = SqlOptions { max_bytes: Some(ByteSize(400 << 10)), ..SqlOptions::default() };
    let catalog = SqlCatalog::open(&store.url(), options).await.unwrap();
    let owner = creator(&*catalog, "alice").await;
    let upload = start_upload(&*catalog, &owner, 1 << 40).await;
    let mut offset = 0;
    let error = loop {
        let mut piece = chunk(upload.id, offset, 1);
        piece.key.push_str(&"x".repeat(3000));
        match catalog.append_chunk(upload.id, piece, at(1), at(2)).await {
            Ok(_) => offset += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CatalogError::Full(_)), "{error:?}");
    assert!(offset > 10);
    assert_eq!(catalog.upload(upload.id).await.unwrap().unwrap().offset, offset, "nothing half-made");
    assert_eq!(catalog.chunks(upload.id).await.unwrap().len() as u64, offset);
    catalog.close().await;

    let catalog = store.open().await;
    for _ in 0..3 {
        catalog.append_chunk(upload.id, chunk(upload.id, offset, 1), at(1), at(2)).await.unwrap();
        offset += 1;
    }
}
