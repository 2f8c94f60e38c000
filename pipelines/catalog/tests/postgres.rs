//! The conformance suite on PostgreSQL, and what only PostgreSQL has. Each test gets a database of its own on one
//! throw-away server, or on the one that `MILLRACE_TEST_POSTGRES` names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use catalog::{
    Catalog, CatalogError, JobKind, NewAccount, SqlCatalog, SqlOptions,
    conformance::{Backend, LEASE, at, chunk, creator, new_account, start_upload, together, uploaded_at},
    failing::{FailingCatalog, FailurePlan},
};
use event_schemas::{Fault, Faulty as _, Millis};
use nix::{sys::signal::Signal, unistd::Pid};
use sqlx::{Connection as _, PgConnection, Row as _};
use support::PASSWORD;

fn options() -> SqlOptions {
    SqlOptions { readers: 3, writers: 3, ..SqlOptions::default() }
}

async fn open(url: &str) -> Arc<SqlCatalog> {
    SqlCatalog::open(url, options()).await.unwrap()
}

async fn execute(url: &str, statements: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn number(url: &str, query: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(query).fetch_one(&mut connection).await.unwrap().get(0)
}

/// A database of its own; on a server that goes on without the tests it is dropped with this.
struct Database {
    admin: String,
    name: String,
    url: String,
}

impl Database {
    /// None if there is no server, which has been told.
    async fn new() -> Option<Self> {
        let admin = tokio::task::spawn_blocking(support::shared).await.unwrap()?;
        let name = format!("millrace_test_{}", uuid::Uuid::new_v4().simple());
        execute(&admin, &format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")).await;
        let mut url = url::Url::parse(&admin).unwrap();
        url.set_path(&name);
        Some(Self { admin, name, url: url.into() })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !support::is_lasting() {
            return;
        }
        let (admin, name) = (self.admin.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(execute(&admin, &format!("DROP DATABASE {name} WITH (FORCE)")));
        });
        let _ = dropping.join();
    }
}

#[async_trait]
impl Backend for Database {
    async fn open(&self) -> Arc<dyn Catalog> {
        open(&self.url).await
    }
}

/// The same behind the wrapper that fails, here never: it passes every call on.
struct Wrapped(Database);

#[async_trait]
impl Backend for Wrapped {
    async fn open(&self) -> Arc<dyn Catalog> {
        FailingCatalog::new(self.0.open().await, FailurePlan::NONE)
    }
}

/// A database, or the end of the test where there is no server.
macro_rules! database {
    () => {
        match Database::new().await {
            Some(database) => database,
            None => return,
        }
    };
}

catalog::catalog_conformance!(database!());

mod wrapped {
    use super::*;
    catalog::catalog_conformance!(Wrapped(database!()));
}

async fn open_error(url: &str, options: SqlOptions) -> String {
    match SqlCatalog::open(url, options).await {
        Err(error @ CatalogError::Open(_)) => error.to_string(),
        other => panic!("{:?}", other.err()),
    }
}

// --- opening ----------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_may_start_at_once() {
    let database = database!();
    let opened = together(6, |_| {
        let url = database.url.clone();
        async move { SqlCatalog::open(&url, SqlOptions { readers: 1, writers: 1, ..options() }).await }
    })
    .await;
    for catalog in opened {
        catalog.unwrap().close().await;
    }
    assert_eq!(number(&database.url, "SELECT COUNT(*) FROM _sqlx_migrations WHERE success").await, 2);
}

#[tokio::test]
async fn a_later_schema_is_left_alone() {
    let database = database!();
    open(&database.url).await.close().await;
    execute(
        &database.url,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99, 'later', TRUE, '', 0)",
    )
    .await;
    let error = open_error(&database.url, options()).await;
    assert!(error.contains("later version") && error.contains("99") && error.contains("run that version"), "{error}");
}

#[tokio::test]
async fn another_programs_database_is_left_alone() {
    let database = database!();
    execute(&database.url, "CREATE TABLE recipes (name TEXT)").await;
    let error = open_error(&database.url, options()).await;
    assert!(error.contains("another program"), "{error}");
    // Nor one of a program that keeps its migrations in the same way.
    execute(&database.url, "CREATE TABLE _sqlx_migrations (version BIGINT)").await;
    let error = open_error(&database.url, options()).await;
    assert!(error.contains("another program"), "{error}");
    assert_eq!(number(&database.url, "SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'").await, 2);
}

#[tokio::test]
async fn what_is_wrong_with_the_address_is_told_without_the_password() {
    let database = database!();
    let mut url = url::Url::parse(&database.url).unwrap();
    url.set_password(Some("another%40secret")).unwrap();
    let wrong_password = open_error(url.as_str(), options()).await;
    assert!(wrong_password.contains("refuses the user") && wrong_password.contains("password"), "{wrong_password}");

    let mut url = url::Url::parse(&database.url).unwrap();
    url.set_path("no_such_database");
    let missing = open_error(url.as_str(), options()).await;
    assert!(missing.contains("no database `no_such_database`") && missing.contains("createdb"), "{missing}");

    let mut url = url::Url::parse(&database.url).unwrap();
    url.set_query(Some("sslmode=require"));
    let no_tls = open_error(url.as_str(), options()).await;
    assert!(no_tls.contains("TLS"), "{no_tls}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    let url = format!("postgres://me:another%40secret@127.0.0.1:{port}/media");
    // It takes the connection and says nothing.
    let silent = open_error(&url, SqlOptions { wait: Duration::from_millis(300), ..options() }).await;
    assert!(silent.contains("no PostgreSQL server answers"), "{silent}");
    drop(closed);
    let unreachable = open_error(&url, options()).await;
    assert!(unreachable.contains(&format!("answers at 127.0.0.1:{port}")), "{unreachable}");

    for error in [wrong_password, missing, no_tls, silent, unreachable] {
        assert!(error.contains("the setting `catalog`"), "{error}");
        assert!(!error.contains(PASSWORD) && !error.contains("another"), "{error}");
    }
}

#[tokio::test]
async fn a_database_in_another_encoding_is_refused() {
    let database = database!();
    execute(&database.admin, &format!("DROP DATABASE {}", database.name)).await;
    execute(
        &database.admin,
        &format!(
            "CREATE DATABASE {} ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0",
            database.name
        ),
    )
    .await;
    let error = open_error(&database.url, options()).await;
    assert!(error.contains("LATIN1") && error.contains("createdb --encoding=UTF8"), "{error}");
}

#[tokio::test]
async fn every_text_compares_by_its_bytes() {
    let database = database!();
    let catalog = open(&database.url).await;
    let others = number(
        &database.url,
        "SELECT COUNT(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         JOIN pg_collation o ON o.oid = a.attcollation
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')
             AND c.relname <> '_sqlx_migrations' AND o.collname <> 'C'",
    )
    .await;
    assert_eq!(others, 0);
    catalog.close().await;
}

#[tokio::test]
async fn a_session_is_durable_and_bounded_whatever_the_server_says() {
    let database = database!();
    execute(
        &database.admin,
        &format!(
            "ALTER DATABASE {0} SET synchronous_commit = off;
             ALTER DATABASE {0} SET default_transaction_isolation = 'repeatable read'",
            database.name
        ),
    )
    .await;
    let catalog = open(&database.url).await;
    execute(
        &database.url,
        "CREATE TABLE seen (what TEXT);
         CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             INSERT INTO seen SELECT concat_ws(' ', TG_TABLE_NAME, current_setting('synchronous_commit'),
                 current_setting('transaction_isolation'), current_setting('application_name'),
                 current_setting('statement_timeout'), current_setting('lock_timeout'),
                 current_setting('idle_in_transaction_session_timeout'));
             RETURN NEW;
         END $$;
         CREATE TRIGGER look BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION look();
         CREATE TRIGGER look BEFORE INSERT ON leases FOR EACH ROW EXECUTE FUNCTION look();",
    )
    .await;
    creator(&*catalog, "alice").await;
    catalog.acquire_lease("x", "a", at(0), Millis(9)).await.unwrap();
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let seen = sqlx::query("SELECT what FROM seen ORDER BY what").fetch_all(&mut connection).await.unwrap();
    let seen: Vec<String> = seen.iter().map(|row| row.get(0)).collect();
    assert_eq!(seen, ["accounts on serializable millrace 15s 5s 15s", "leases on read committed millrace 15s 5s 15s"]);
}

// --- transactions -----------------------------------------------------------------------------

/// Lets the first `times` inserts into a table fail with an SQLSTATE, at once or at the commit.
async fn let_fail(url: &str, table: &str, code: &str, times: u32, at_commit: bool) {
    let kind = if at_commit { "CONSTRAINT TRIGGER" } else { "TRIGGER" };
    let (when, deferred) = if at_commit { ("AFTER", "DEFERRABLE INITIALLY DEFERRED") } else { ("BEFORE", "") };
    execute(
        url,
        &format!(
            "DROP TRIGGER IF EXISTS fail ON {table}; DROP SEQUENCE IF EXISTS tries; CREATE SEQUENCE tries;
             CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'on purpose' USING ERRCODE = '{code}'; END IF;
                 RETURN NEW;
             END $$;
             CREATE {kind} fail {when} INSERT ON {table} {deferred} FOR EACH ROW EXECUTE FUNCTION fail();"
        ),
    )
    .await;
}

#[tokio::test]
async fn a_transaction_broken_off_for_another_is_run_again() {
    let database = database!();
    let catalog = open(&database.url).await;
    for (round, code) in ["40001", "40P01"].into_iter().enumerate() {
        for at_commit in [false, true] {
            let_fail(&database.url, "accounts", code, 3, at_commit).await;
            let account = creator(&*catalog, &format!("alice-{round}-{at_commit}")).await;
            assert_eq!(catalog.account(account.id).await.unwrap(), Some(account));
            assert_eq!(number(&database.url, "SELECT last_value FROM tries").await, 4, "{code} {at_commit}");
        }
    }
    // Not for ever.
    let_fail(&database.url, "accounts", "40001", 1_000_000, true).await;
    let error = catalog.create_account(new_account("bob")).await.unwrap_err();
    assert!(matches!(error, CatalogError::Database(_)) && error.is_retryable(), "{error:?}");
    assert_eq!(number(&database.url, "SELECT last_value FROM tries").await, 13);
    // Any other refusal is told at once; at the commit its outcome is unknown unless it is a constraint's.
    for (code, at_commit, is_unknown) in [("58030", false, false), ("58030", true, true), ("23514", true, false)] {
        let_fail(&database.url, "accounts", code, 1, at_commit).await;
        let error = catalog.create_account(new_account("bob")).await.unwrap_err();
        assert_eq!(error.is_unknown_outcome(), is_unknown, "{error:?}");
        assert_eq!(error.fault(), Fault::Dependency);
        assert_eq!(number(&database.url, "SELECT last_value FROM tries").await, 1, "{code} {at_commit}");
    }
    catalog.create_account(new_account("bob")).await.unwrap();
}

/// PostgreSQL itself breaks the transaction off here: it is the last of two that wait for each other to look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_deadlock_is_survived() {
    let database = database!();
    execute(&database.admin, &format!("ALTER DATABASE {} SET deadlock_timeout = '2s'", database.name)).await;
    let patient = Duration::from_secs(60);
    let options = SqlOptions { lock_timeout: patient, statement_timeout: patient, ..options() };
    let catalog = SqlCatalog::open(&database.url, options).await.unwrap();
    let owner = creator(&*catalog, "alice").await;
    let video = uploaded_at(&*catalog, &owner, at(0)).await;
    let_fail(&database.url, "jobs", "40001", 0, false).await;
    execute(&database.url, "CREATE TRIGGER count BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION fail()").await;
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let mut holding = other.begin().await.unwrap();
    sqlx::query("SET LOCAL deadlock_timeout = '1h'").execute(&mut *holding).await.unwrap();
    sqlx::query("UPDATE videos SET version = version").execute(&mut *holding).await.unwrap();
    let deleting = tokio::spawn({
        let catalog = Arc::clone(&catalog);
        async move { catalog.delete_video(video, at(1)).await }
    });
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while number(&database.url, waiting).await == 0 {
        tokio::task::yield_now().await;
    }
    // The catalog holds the upload and waits for the video.
    sqlx::query("UPDATE uploads SET state = state").execute(&mut *holding).await.unwrap();
    holding.commit().await.unwrap();
    deleting.await.unwrap().unwrap();
    assert_eq!(catalog.video(video).await.unwrap(), None);
    assert_eq!(number(&database.url, "SELECT last_value FROM tries").await, 2, "it was run twice");
}

#[tokio::test]
async fn a_row_that_is_held_too_long_is_given_up() {
    let database = database!();
    let options = SqlOptions { lock_timeout: Duration::from_millis(50), ..options() };
    let catalog = SqlCatalog::open(&database.url, options).await.unwrap();
    catalog.acquire_lease("x", "a", at(0), Millis(9)).await.unwrap();
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let mut holding = other.begin().await.unwrap();
    sqlx::query("UPDATE leases SET owner = owner").execute(&mut *holding).await.unwrap();
    let error = catalog.acquire_lease("x", "a", at(1), Millis(9)).await.unwrap_err();
    assert!(matches!(error, CatalogError::Database(_)) && error.is_retryable(), "{error:?}");
    holding.rollback().await.unwrap();
    assert_eq!(catalog.acquire_lease("x", "a", at(1), Millis(9)).await.unwrap().unwrap().epoch, 1);
}

#[tokio::test]
async fn a_job_that_another_takes_is_passed_over() {
    let database = database!();
    let catalog = open(&database.url).await;
    let owner = creator(&*catalog, "alice").await;
    let first = uploaded_at(&*catalog, &owner, at(1)).await;
    let second = uploaded_at(&*catalog, &owner, at(2)).await;
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let mut taking = other.begin().await.unwrap();
    sqlx::query("SELECT id FROM jobs WHERE video_id = $1 FOR UPDATE")
        .bind(first.to_string())
        .execute(&mut *taking)
        .await
        .unwrap();
    let lease = async || catalog.lease_job(JobKind::Transcode, "w", at(9), LEASE).await.unwrap();
    assert_eq!(lease().await.unwrap().video_id, second);
    assert_eq!(lease().await, None);
    taking.rollback().await.unwrap();
    assert_eq!(lease().await.unwrap().video_id, first);
}

#[tokio::test]
async fn text_that_can_t_be_stored_is_the_callers_fault() {
    let database = database!();
    let catalog = open(&database.url).await;
    let new = NewAccount { name: "nul \0".into(), ..new_account("alice") };
    let error = catalog.create_account(new).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Caller, "{error:?}");
    assert_eq!(catalog.count_accounts().await.unwrap(), 0);
}

// --- the outbox -------------------------------------------------------------------------------

async fn woken(catalog: &dyn Catalog) {
    tokio::time::timeout(Duration::from_secs(60), catalog.outbox_changed()).await.expect("nobody was woken");
}

#[tokio::test]
async fn the_reader_hears_of_other_processes_rows() {
    let database = database!();
    let (reader, writer) = (open(&database.url).await, open(&database.url).await);
    let owner = creator(&*writer, "alice").await;
    // Once when it begins to listen; from then on only when there is something.
    woken(&*reader).await;
    for round in 0..3 {
        tokio::join!(woken(&*reader), uploaded_at(&*writer, &owner, at(round)));
    }
    // Its connection is cut: it makes another, looks for what it missed, and hears again.
    let listening = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    while number(&database.url, listening).await < 2 {
        tokio::task::yield_now().await;
    }
    execute(
        &database.url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    )
    .await;
    woken(&*reader).await;
    tokio::join!(woken(&*reader), uploaded_at(&*writer, &owner, at(9)));
    // The connection that listens ends with the catalog.
    reader.close().await;
    drop(reader);
    writer.close().await;
    drop(writer);
    while number(&database.url, listening).await > 0 {
        tokio::task::yield_now().await;
    }
}

// --- a server that goes away ------------------------------------------------------------------

/// Appends chunks of one byte to an upload of its own until `catalog` fails; what was acknowledged, and the failure.
async fn append_until_it_fails(
    catalog: Arc<SqlCatalog>,
    upload: catalog::Upload,
) -> (Vec<catalog::Chunk>, CatalogError) {
    let mut acknowledged = Vec::new();
    loop {
        let piece = chunk(upload.id, acknowledged.len() as u64, 1);
        match catalog.append_chunk(upload.id, piece.clone(), at(1), at(2)).await {
            Ok(_) => acknowledged.push(piece),
            Err(error) => break (acknowledged, error),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_crash_of_the_server() {
    let Some(mut server) = tokio::task::spawn_blocking(|| support::started("on")).await.unwrap() else { return };
    let url = server.url("postgres");
    let options = SqlOptions { wait: Duration::from_secs(2), ..options() };
    let catalog = SqlCatalog::open(&url, options).await.unwrap();
    let owner = creator(&*catalog, "alice").await;
    for round in 1..=3 {
        let mut uploads = Vec::new();
        for _ in 0..4 {
            uploads.push(start_upload(&*catalog, &owner, 1 << 30).await);
        }
        let writing: Vec<_> = uploads
            .iter()
            .map(|upload| tokio::spawn(append_until_it_fails(Arc::clone(&catalog), upload.clone())))
            .collect();
        // In the middle of writing.
        while catalog.chunks(uploads[0].id).await.unwrap().len() < 5 * round {
            tokio::task::yield_now().await;
        }
        let mut server_back = tokio::task::spawn_blocking(move || {
            server.crash();
            server
        })
        .await
        .unwrap();
        let mut ends = Vec::new();
        for task in writing {
            ends.push(task.await.unwrap());
        }
        for (acknowledged, error) in &ends {
            assert!(error.fault() == Fault::Dependency && error.is_retryable(), "{error:?}");
            assert!(!acknowledged.is_empty());
        }
        // Away: told in bounded time, as something that may heal.
        for error in [
            catalog.check().await.unwrap_err(),
            catalog.acquire_lease("x", "a", at(0), Millis(9)).await.map(|_| ()).unwrap_err(),
        ] {
            assert!(matches!(error, CatalogError::Database(_)) && error.is_retryable(), "{error:?}");
        }
        server = tokio::task::spawn_blocking(move || {
            server_back.restart().unwrap();
            server_back
        })
        .await
        .unwrap();
        while let Err(error) = catalog.check().await {
            assert!(error.is_retryable(), "{error:?}");
        }
        for (upload, (acknowledged, error)) in uploads.iter().zip(&ends) {
            let chunks = catalog.chunks(upload.id).await.unwrap();
            assert!(chunks.starts_with(acknowledged), "{} of {} are there", chunks.len(), acknowledged.len());
            let more = chunks.len() - acknowledged.len();
            assert!(more == 0 || (more == 1 && error.is_unknown_outcome()), "{more} {error:?}");
            assert_eq!(catalog.upload(upload.id).await.unwrap().unwrap().offset, chunks.len() as u64);
            let next = chunk(upload.id, chunks.len() as u64, 1);
            catalog.append_chunk(upload.id, next, at(1), at(2)).await.unwrap();
        }
    }
    // Who listens has come back too: it looks once for what it missed, then hears of another process.
    let other = open(&url).await;
    woken(&*catalog).await;
    let upload = start_upload(&*other, &owner, 1).await;
    let appending = other.append_chunk(upload.id, chunk(upload.id, 0, 1), at(1), at(2));
    tokio::join!(woken(&*catalog), async { appending.await.unwrap() });
}

fn signal(pids: &[i64], signal: Signal) {
    for pid in pids {
        nix::sys::signal::kill(Pid::from_raw(i32::try_from(*pid).unwrap()), signal).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_is_given_up_and_found_again() {
    let Some(server) = tokio::task::spawn_blocking(|| support::started("off")).await.unwrap() else { return };
    let url = server.url("postgres");
    let short = Duration::from_millis(400);
    let catalog =
        SqlCatalog::open(&url, SqlOptions { wait: short, statement_timeout: short, ..options() }).await.unwrap();
    let lease = catalog.acquire_lease("x", "a", at(0), Millis(100)).await.unwrap().unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let pids = sqlx::query("SELECT pid::bigint FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let mut pids: Vec<i64> = pids.iter().map(|row| row.get(0)).collect();
    pids.push(server.pid());
    signal(&pids, Signal::SIGSTOP);
    for _ in 0..2 {
        for error in [catalog.check().await.unwrap_err(), catalog.renew_lease(&lease, at(200)).await.unwrap_err()] {
            assert!(error.fault() == Fault::Dependency && error.is_retryable(), "{error:?}");
        }
    }
    signal(&pids, Signal::SIGCONT);
    while let Err(error) = catalog.renew_lease(&lease, at(300)).await {
        assert!(error.is_retryable(), "{error:?}");
    }
    assert_eq!(catalog.leases_of("x", at(299)).await.unwrap().len(), 1);
}
