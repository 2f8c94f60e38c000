//! What only PostgreSQL needs: its URL, the settings of a session, the first contact with a server, and what
//! its refusals mean to an operator. Nothing here shows a password.

use std::time::Duration;

use sqlx::{AnyConnection, Connection as _, Row as _, postgres::PgConnectOptions};
use tokio::time::Instant;
use url::Url;

use super::{
    SqlOptions,
    dialect::{Dialect, Use},
    rows::Columns as _,
    transaction::code,
};
use crate::{CatalogError, Result};

/// The oldest server whose behaviour this program relies on.
const OLDEST: i64 = 13;
/// How long a process waits for another one that brings the schema up to date.
const MIGRATION_WAIT: Duration = Duration::from_secs(60);
/// How often a server that is starting is asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// What a new session runs first. Acknowledged means flushed to the server's disk: a server or role set to
/// less is overruled, one set to more is not.
pub(super) fn prepare(purpose: Use, options: &SqlOptions) -> String {
    let (statement, lock) = match purpose {
        Use::Read | Use::Write => (options.statement_timeout, options.lock_timeout),
        Use::Migrate => (Duration::ZERO, MIGRATION_WAIT),
    };
    let read_only = if purpose == Use::Read { "on" } else { "off" };
    format!(
        "SET application_name = '{}'; SET statement_timeout = {}; SET lock_timeout = {}; \
         SET idle_in_transaction_session_timeout = {}; SET default_transaction_isolation = 'read committed'; \
         SET default_transaction_read_only = {read_only}; SET client_min_messages = warning; \
         SELECT set_config('synchronous_commit', 'on', false) \
         WHERE current_setting('synchronous_commit') <> 'remote_apply'",
        options.application_name.replace('\'', "''"),
        statement.as_millis(),
        lock.as_millis(),
        options.idle_in_transaction_timeout.as_millis(),
    )
}

/// A server's address.
pub(super) struct Server {
    url: String,
    options: PgConnectOptions,
}

fn open_error(what: impl std::fmt::Display) -> CatalogError {
    CatalogError::Open(format!("the setting `catalog`: {what}"))
}

impl Server {
    /// Reads the URL. Host and database must stand in it: nothing is taken from the environment unasked.
    pub fn of(url: &str) -> Result<Self> {
        const FORM: &str = "use postgres://user:password@host:5432/database, with special characters in the \
                            password percent-encoded";
        let parsed = Url::parse(url).map_err(|error| open_error(format_args!("{error}: {FORM}")))?;
        let has_socket = parsed.query_pairs().any(|(key, _)| key == "host" || key == "hostaddr");
        if parsed.host_str().is_none_or(str::is_empty) && !has_socket {
            return Err(open_error(format_args!("the URL names no host: {FORM}")));
        }
        if parsed.path().trim_start_matches('/').is_empty() {
            return Err(open_error(format_args!("the URL names no database: {FORM}")));
        }
        let options = url.parse::<PgConnectOptions>().map_err(|error| open_error(format_args!("{error}: {FORM}")))?;
        Ok(Self { url: url.to_owned(), options })
    }

    /// The URL to connect to, password and all.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same for the driver of PostgreSQL alone.
    pub const fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    fn place(&self) -> String {
        match self.options.get_socket() {
            Some(socket) => format!("{} (port {})", socket.display(), self.options.get_port()),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    fn database(&self) -> &str {
        self.options.get_database().unwrap_or_default()
    }

    /// Connects once, so that what is wrong comes out at once and by its name: a pool would try again until
    /// its time is up. A server that is still starting is waited for. Returns the connection, prepared to bring
    /// the schema up to date.
    pub async fn first_contact(&self, dialect: &'static Dialect, options: &SqlOptions) -> Result<AnyConnection> {
        let until = Instant::now() + options.wait;
        let mut connection = loop {
            let error = match tokio::time::timeout_at(until, AnyConnection::connect(&self.url)).await {
                Ok(Ok(connection)) => break connection,
                Ok(Err(error)) => error,
                Err(_) => sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
            };
            let is_starting = matches!(code(&error).as_deref(), Some("57P03" | "53300"));
            if !is_starting || Instant::now() + AGAIN >= until {
                return Err(self.explain(error.into()));
            }
            tokio::time::sleep(AGAIN).await;
        };
        self.examine(&mut connection).await?;
        let prepare = dialect.prepare(Use::Migrate, options);
        let prepared = sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(&mut connection).await;
        prepared.map_err(|error| self.explain(error.into()))?;
        Ok(connection)
    }

    /// Refuses a server that can't keep the catalog's guarantees.
    async fn examine(&self, connection: &mut AnyConnection) -> Result<()> {
        let row = sqlx::query(sql!("postgres/server.sql")).fetch_one(connection).await;
        let row = row.map_err(|error| self.explain(error.into()))?;
        if let Some(what) = unfit(&Traits {
            version_num: row.text("version_num")?.parse().unwrap_or(0),
            version: row.text("version")?,
            encoding: row.text("encoding")?,
            is_standby: row.try_get("is_standby")?,
            has_no_schema: row.try_get("has_no_schema")?,
        }) {
            return Err(open_error(format_args!("the database `{}` at {} {what}", self.database(), self.place())));
        }
        if row.text("fsync")? == "off" {
            tracing::warn!(
                server = self.place(),
                "the PostgreSQL server runs with fsync = off: what it acknowledges can be lost when its machine fails"
            );
        }
        Ok(())
    }

    /// An error of opening, with the setting to change and what to do.
    pub fn explain(&self, error: CatalogError) -> CatalogError {
        let (place, user, database) = (self.place(), self.options.get_username(), self.database());
        let source = match &error {
            CatalogError::Database(source) | CatalogError::Full(source) => source,
            CatalogError::Open(what) => {
                return open_error(format_args!("the database `{database}` at {place}: {what}"));
            }
            _ => return error,
        };
        match source {
            sqlx::Error::Io(error) => open_error(format_args!(
                "no PostgreSQL server answers at {place} ({error}): start it, or correct the address"
            )),
            sqlx::Error::PoolTimedOut => open_error(format_args!(
                "the PostgreSQL server at {place} gave no connection in time: see its load and `max_connections`"
            )),
            sqlx::Error::Tls(error) => open_error(format_args!(
                "no TLS with {place} ({error}): see the URL's parameters `sslmode` and `sslrootcert`"
            )),
            sqlx::Error::Database(refusal) => {
                let message = refusal.message();
                match code(source).as_deref() {
                    Some("28P01" | "28000") => open_error(format_args!(
                        "the PostgreSQL server at {place} refuses the user `{user}` ({message}): correct user and \
                         password in the URL, or the server's pg_hba.conf"
                    )),
                    Some("3D000") => open_error(format_args!(
                        "the PostgreSQL server at {place} has no database `{database}`: make it, by `createdb \
                         --encoding=UTF8 --template=template0 --owner={user} {database}`"
                    )),
                    Some("42501") => open_error(format_args!(
                        "the user `{user}` lacks a right in the database `{database}` at {place} ({message}): make it \
                         the database's owner"
                    )),
                    Some("53300") => open_error(format_args!(
                        "the PostgreSQL server at {place} has no connection left ({message}): raise its \
                         `max_connections`"
                    )),
                    Some("55P03") => open_error(format_args!(
                        "another process has been changing the schema of `{database}` at {place} for more than {} s: \
                         wait until it is done",
                        MIGRATION_WAIT.as_secs()
                    )),
                    _ => open_error(format_args!("the PostgreSQL server at {place} refuses: {message}")),
                }
            }
            other => open_error(format_args!("no connection to the PostgreSQL server at {place}: {other}")),
        }
    }
}

/// What the first contact looks at.
struct Traits {
    version_num: i64,
    version: String,
    encoding: String,
    is_standby: bool,
    has_no_schema: bool,
}

/// Why a database can't be a catalog, and the remedy.
fn unfit(traits: &Traits) -> Option<String> {
    if traits.version_num < OLDEST * 10_000 {
        Some(format!("is PostgreSQL {}, which is too old: use version {OLDEST} or later", traits.version))
    } else if traits.encoding != "UTF8" {
        Some(format!(
            "holds text in {}: make one by `createdb --encoding=UTF8 --template=template0 <name>`",
            traits.encoding
        ))
    } else if traits.is_standby {
        Some("is a standby, which can't be written to: name the primary".to_owned())
    } else if traits.has_no_schema {
        Some("has no schema to put tables in: see its `search_path`".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_host_and_a_database() {
        let server = Server::of("postgres://me:se%40cret@db.example:6000/media?sslmode=require").unwrap();
        assert_eq!((server.place().as_str(), server.database()), ("db.example:6000", "media"));
        let socket = Server::of("postgresql:///media?host=/run/postgresql").unwrap();
        assert!(socket.place().starts_with("/run/postgresql"), "{}", socket.place());
        for url in [
            "postgres://",
            "postgres:///",
            "postgres:///media",
            "postgres://me:secret@db.example",
            "postgres://me:secret@db.example/",
            "postgres://me:secret@db.example:port/media",
            "postgres://me:secret@db.example/media?sslmode=maybe",
        ] {
            let error = Server::of(url).err().unwrap().to_string();
            assert!(error.contains("`catalog`") && error.contains("postgres://user:password@host"), "{url}: {error}");
            assert!(!error.contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn an_unfit_database_is_told_by_what_it_lacks() {
        let fit = || Traits {
            version_num: 130_000,
            version: "13.0".into(),
            encoding: "UTF8".into(),
            is_standby: false,
            has_no_schema: false,
        };
        assert_eq!(unfit(&fit()), None);
        for (traits, word) in [
            (Traits { version_num: 120_017, version: "12.17".into(), ..fit() }, "12.17, which is too old"),
            (Traits { encoding: "SQL_ASCII".into(), ..fit() }, "SQL_ASCII"),
            (Traits { is_standby: true, ..fit() }, "the primary"),
            (Traits { has_no_schema: true, ..fit() }, "search_path"),
        ] {
            let what = unfit(&traits).unwrap();
            assert!(what.contains(word), "{what}");
        }
    }

    #[test]
    fn a_name_can_t_leave_its_quotes() {
        let options = SqlOptions { application_name: "a'; DROP TABLE x; --".into(), ..SqlOptions::default() };
        assert!(prepare(Use::Read, &options).starts_with("SET application_name = 'a''; DROP TABLE x; --'; "));
    }
}
