//! Why a Redis can't be used, and what to do about it. No text holds a password.

use event_schemas::{Fault, Faulty};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// An error at open or when connecting again. `server` is the address without user and password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address can't be understood.
    #[error(
        "the address of Redis is not usable: {0}; write redis://[user:password@]host[:port][/database], \
         rediss://… for TLS, or unix:///path?db=0"
    )]
    Address(String),
    /// The prefix is no name with a colon.
    #[error(
        "`{0}` can't begin the keys in Redis: use up to 64 ASCII letters, digits, `.`, `_`, `-`, then one colon, \
         such as `millrace:`"
    )]
    Prefix(String),
    /// There is no way to the server.
    #[error("Redis at {server} can't be reached: {source}; is it running, and is address, port and TLS right?")]
    Unreachable {
        /// The address.
        server: String,
        /// What the connection said.
        #[source]
        source: RedisError,
    },
    /// The server takes connections and does not answer.
    #[error("Redis at {server} did not answer within {millis} ms; is it Redis, overloaded, or does it expect TLS?")]
    Silent {
        /// The address.
        server: String,
        /// How long was waited.
        millis: u128,
    },
    /// User and password are missing or wrong.
    #[error("Redis at {server} refuses the user or password; put the right ones into its address, percent-encoded")]
    Credentials {
        /// The address.
        server: String,
    },
    /// The user may not do what is needed.
    #[error(
        "the user at Redis {server} lacks a permission ({source}); grant it: \
         ACL SETUSER <user> ~{prefix}* &{prefix}* +@read +@write +@scripting +@pubsub +@connection +@transaction +info +time"
    )]
    Permission {
        /// The address.
        server: String,
        /// The beginning of all keys.
        prefix: String,
        /// What the server said.
        #[source]
        source: RedisError,
    },
    /// There is no such database.
    #[error("Redis at {server} has no database {database}; see `databases` in its configuration, 0 is always there")]
    Database {
        /// The address.
        server: String,
        /// The number in the address.
        database: i64,
    },
    /// The server is too old.
    #[error("Redis at {server} has version {version}; 6.2 is the oldest that will do, so upgrade it")]
    TooOld {
        /// The address.
        server: String,
        /// The version it gave.
        version: String,
    },
    /// The server is part of a cluster.
    #[error("Redis at {server} runs in cluster mode, which is not supported; give the address of a single primary")]
    Cluster {
        /// The address.
        server: String,
    },
    /// The server only follows another.
    #[error("Redis at {server} is a replica and takes no writes; give the address of its primary")]
    Replica {
        /// The address.
        server: String,
    },
    /// The server refuses for another reason.
    #[error("Redis at {server} refuses: {source}")]
    Refused {
        /// The address.
        server: String,
        /// What it said.
        #[source]
        source: RedisError,
    },
}

impl Faulty for OpenError {
    fn fault(&self) -> Fault {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Replica { .. } | Self::Refused { .. } => {
                Fault::Dependency
            }
            _ => Fault::Caller,
        }
    }
}

/// Where we connect to and as what, for error texts.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) server: String,
    pub(crate) database: i64,
    pub(crate) prefix: String,
}

impl Place {
    /// What an error while connecting means.
    pub(crate) fn explain(&self, source: RedisError) -> OpenError {
        let server = self.server.clone();
        match source.kind() {
            ErrorKind::AuthenticationFailed => OpenError::Credentials { server },
            ErrorKind::RESP3NotSupported => OpenError::TooOld { server, version: "before 6.0".to_owned() },
            ErrorKind::Io => OpenError::Unreachable { server, source },
            ErrorKind::Server(ServerErrorKind::NoPerm) => self.permission(source),
            // What a script may not do is told in its own words.
            _ if source.to_string().contains("ACL failure") => self.permission(source),
            _ if matches!(source.code(), Some("NOAUTH" | "WRONGPASS")) => OpenError::Credentials { server },
            _ if source.to_string().contains("refused to switch database") => {
                OpenError::Database { server, database: self.database }
            }
            _ => OpenError::Refused { server, source },
        }
    }

    fn permission(&self, source: RedisError) -> OpenError {
        OpenError::Permission { server: self.server.clone(), prefix: self.prefix.clone(), source }
    }
}
