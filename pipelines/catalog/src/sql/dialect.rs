//! What differs between the engines: how a connection is prepared, how a write transaction begins, how a
//! job is taken, how other processes hear of an outbox row. Everything else is one text.

use super::{SqlOptions, postgres, sqlite};
use crate::{CatalogError, Result};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Write,
    /// Brings the schema up to date.
    Migrate,
}

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    Postgres,
}

/// One engine.
#[derive(Debug)]
pub(super) struct Dialect {
    pub engine: Engine,
    /// Begins a transaction whose every decision is made by a statement that holds the row it is about.
    pub begin_write: &'static str,
    /// Begins a transaction that decides from what it has read, or from rows that are not there.
    pub begin_serializable: &'static str,
    /// Takes the oldest due job, so that no two transactions take the same.
    pub lease_job: &'static str,
    /// How many tables there are, and how many of them show that it is a catalog.
    pub tables: &'static str,
    /// Run in each transaction that writes outbox rows, last: wakes other processes at its commit.
    pub tell_outbox: Option<&'static str>,
}

/// SQLite lets one connection write; begun IMMEDIATE, a transaction holds the lock before it reads, so it
/// never fails half-way for want of it.
static SQLITE: Dialect = Dialect {
    engine: Engine::Sqlite,
    begin_write: "BEGIN IMMEDIATE",
    begin_serializable: "BEGIN IMMEDIATE",
    lease_job: sql!("jobs/lease.sqlite.sql"),
    tables: sql!("sqlite/tables.sql"),
    tell_outbox: None,
};

/// PostgreSQL lets many write. READ COMMITTED is enough where each decision is the condition of a statement
/// on one row: the statement waits for whoever holds the row and then judges its latest version, which
/// stays as it is until the transaction ends.
static POSTGRES: Dialect = Dialect {
    engine: Engine::Postgres,
    begin_write: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    begin_serializable: "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE",
    lease_job: sql!("jobs/lease.postgres.sql"),
    tables: sql!("postgres/tables.sql"),
    tell_outbox: Some(sql!("postgres/tell_outbox.sql")),
};

impl Dialect {
    /// The engine that `url` names.
    pub fn of(url: &str) -> Result<&'static Self> {
        if url.starts_with("sqlite:") {
            Ok(&SQLITE)
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Ok(&POSTGRES)
        } else {
            let scheme: String = url.chars().take_while(|c| *c != ':').take(32).collect();
            Err(CatalogError::Open(format!(
                "the setting `catalog`: `{scheme}:` is not a catalog this program knows: use sqlite:<path> or \
                 postgres://user:password@host:5432/database"
            )))
        }
    }

    /// How many connections there are for a purpose, at most.
    pub fn connections(&self, purpose: Use, options: &SqlOptions) -> u32 {
        match (purpose, self.engine) {
            (Use::Read, _) => options.readers.max(1),
            (Use::Write, Engine::Postgres) => options.writers.max(1),
            (Use::Write, Engine::Sqlite) | (Use::Migrate, _) => 1,
        }
    }

    /// What a new connection runs first.
    pub fn prepare(&self, purpose: Use, options: &SqlOptions) -> String {
        match self.engine {
            Engine::Sqlite => sqlite::prepare(purpose, options),
            Engine::Postgres => postgres::prepare(purpose, options),
        }
    }

    /// A migration's text for this engine. Everywhere text compares by its bytes, so that a cursor means the
    /// same on both engines and whatever the database's locale: SQLite does so by itself.
    pub fn migration(&self, text: &str) -> String {
        match self.engine {
            Engine::Sqlite => text.to_owned(),
            Engine::Postgres => text.replace("TEXT", "TEXT COLLATE \"C\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_known_by_its_scheme() {
        let engine = |url| Dialect::of(url).unwrap().engine;
        assert_eq!(engine("sqlite:/a/b.db"), Engine::Sqlite);
        assert_eq!(engine("postgres://h/d"), Engine::Postgres);
        assert_eq!(engine("postgresql://h/d"), Engine::Postgres);
        let error = Dialect::of("mysql://user:secret@host/x").unwrap_err().to_string();
        assert!(error.contains("`mysql:`") && !error.contains("secret"), "{error}");
    }
}
