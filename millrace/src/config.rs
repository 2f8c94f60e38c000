//! The configuration: `millrace.toml`, then `MILLRACE_…` variables, then flags.
//!
//! A key that does not exist or a value that is not allowed is an error that names the key, the
//! value, where it came from and what is allowed. Every key has a default; `millrace.toml` may be
//! absent. In variables, `__` separates a section from its key: `MILLRACE_UPLOADS__MAX_SIZE`.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use access::SignUp;
use event_schemas::{ByteSize, Millis};
use figment::{
    Figment,
    error::Kind,
    providers::{Env, Format as _, Serialized, Toml},
    value::Value,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;

/// A part of the system that a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Uploads and telemetry in.
    Ingest,
    /// Renditions from uploads.
    Transcode,
    /// The API, media and web app.
    Playback,
    /// The lake writer, the view counts, the figures from the lake.
    Lake,
    /// The search index, related and trending.
    Recommend,
    /// SQL over the lake.
    Sql,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Ingest, Self::Transcode, Self::Playback, Self::Lake, Self::Recommend, Self::Sql];
}

/// The whole configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address listened on.
    pub listen: SocketAddr,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The address people use, if another than `listen`.
    pub public_url: Option<Url>,
    /// The instance's name.
    pub name: String,
    /// What this process runs.
    pub roles: BTreeSet<Role>,
    /// The log: `embedded:` or `fluvio://HOST:PORT`.
    pub log: String,
    /// The catalog: `sqlite:`, `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`.
    pub catalog: String,
    /// The serving store: `memory:` or `redis://HOST:PORT`.
    pub cache: String,
    /// The search index: `embedded:` or `qdrant://HOST:PORT`.
    pub index: String,
    /// The object store: `file:`, `file:PATH` or `s3://BUCKET/PREFIX`.
    pub storage: String,
    /// The SQL engine for batch jobs: `datafusion:`.
    pub sql_engine: String,
    /// Writes are refused while the disk has less room than this.
    pub free_space_floor: ByteSize,
    /// How long a shutdown waits for work under way.
    pub shutdown_ms: Millis,
    /// How long the partitions of a process that is not heard of any more stay with it.
    pub lease_ms: Millis,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Accounts.
    pub accounts: Accounts,
    /// Uploads.
    pub uploads: Uploads,
    /// Transcoding.
    pub transcode: Transcode,
    /// Telemetry.
    pub telemetry: Telemetry,
    /// Media.
    pub media: Media,
    /// The log's topics.
    pub topics: Topics,
    /// The lake.
    pub lake: Lake,
}

/// Section `accounts`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// open, invitation or closed.
    pub sign_up: SignUp,
    /// How long a session lasts.
    pub session_days: i64,
    /// Sign-in attempts with one login in a quarter of an hour.
    pub sign_in_attempts: u32,
    /// Accounts created from one address in an hour.
    pub sign_ups_an_hour: u32,
}

/// Section `uploads`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uploads {
    /// The largest file taken.
    pub max_size: ByteSize,
    /// The size of a chunk object.
    pub chunk_size: ByteSize,
    /// Collected this long after the last byte.
    pub expire_hours: i64,
    /// A sender silent for this long is taken as gone.
    pub idle_ms: Millis,
    /// Requests that may be receiving at once.
    pub at_once: usize,
}

/// Section `transcode`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transcode {
    /// Videos transcoded at once by this process.
    pub workers: usize,
    /// Transcode even where the sandbox can't be set up. Never do this with files of strangers.
    #[serde(rename = "unsafe")]
    pub allow_unsafe: bool,
    /// How long a job's lease lasts without a heartbeat.
    pub lease_ms: Millis,
    /// A child that makes no progress for this long is killed.
    pub stall_ms: Millis,
    /// The longest video taken.
    pub max_hours: i64,
}

/// Section `telemetry`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// How long the first events of a log record wait for company.
    pub linger_ms: Millis,
    /// Batches that may wait for each partition.
    pub queue: usize,
    /// With a log on other machines: the room on this machine's disk for what arrives while it
    /// does not answer.
    pub spool_bytes: ByteSize,
    /// How long the log may take before telemetry goes to the spool.
    pub patience_ms: Millis,
}

/// Section `media`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// With `s3://`: players are sent to the store for segments, by addresses signed for this long;
    /// 0 serves segments from the playback role.
    pub presign_ms: Millis,
}

/// Section `topics`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    /// Partitions of `playback`; fixed once the topic exists.
    pub playback_partitions: u32,
    /// Days after which records may be dropped, once every consumer has passed them.
    pub retain_days: i64,
    /// Bytes of one topic from which the oldest records may be dropped.
    pub retain_bytes: ByteSize,
}

/// Section `lake`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lake {
    /// At most this long between an event's arrival and its commit.
    pub commit_ms: Millis,
    /// At most this long between a commit and the figures that follow from it.
    pub refresh_ms: Millis,
    /// Memory that one query may take.
    pub query_memory: ByteSize,
    /// How long one query may run.
    pub query_ms: Millis,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: PathBuf::from("data"),
            public_url: None,
            name: "Millrace".to_owned(),
            roles: Role::ALL.into(),
            log: "embedded:".to_owned(),
            catalog: "sqlite:".to_owned(),
            cache: "memory:".to_owned(),
            index: "embedded:".to_owned(),
            storage: "file:".to_owned(),
            sql_engine: "datafusion:".to_owned(),
            free_space_floor: ByteSize::gib(1),
            shutdown_ms: Millis::from_secs(20),
            lease_ms: Millis::from_secs(10),
            trusted_proxies: Vec::new(),
            accounts: Accounts { sign_up: SignUp::Open, session_days: 30, sign_in_attempts: 10, sign_ups_an_hour: 20 },
            uploads: Uploads {
                max_size: ByteSize::gib(64),
                chunk_size: ByteSize::mib(8),
                expire_hours: 168,
                idle_ms: Millis::from_secs(60),
                at_once: 64,
            },
            transcode: Transcode {
                workers: 1,
                allow_unsafe: false,
                lease_ms: Millis::from_secs(10),
                stall_ms: Millis::from_secs(120),
                max_hours: 12,
            },
            telemetry: Telemetry {
                linger_ms: Millis(3),
                queue: 4096,
                spool_bytes: ByteSize::gib(1),
                patience_ms: Millis::from_secs(2),
            },
            media: Media { presign_ms: Millis(0) },
            topics: Topics { playback_partitions: 4, retain_days: 7, retain_bytes: ByteSize::gib(20) },
            lake: Lake {
                commit_ms: Millis::from_secs(5),
                refresh_ms: Millis::from_secs(5),
                query_memory: ByteSize::mib(512),
                query_ms: Millis::from_secs(300),
            },
        }
    }
}

/// The configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key that does not exist or a value of the wrong form.
    #[error("{0}")]
    Unreadable(String),
    /// A value out of bounds.
    #[error("configuration key `{key}` is `{value}`; allowed is {allowed}")]
    NotAllowed {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        allowed: &'static str,
    },
    /// A `--set` flag that is not `key=value`.
    #[error("`--set {0}` is not of the form key=value, such as uploads.max_size=1GiB")]
    BadSet(String),
    /// A configuration file named explicitly that is not there.
    #[error("there is no configuration file `{0}`")]
    NoFile(String),
}

/// What flags say; the last word.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// `listen`.
    pub listen: Option<SocketAddr>,
    /// `data_dir`.
    pub data_dir: Option<PathBuf>,
    /// `roles`.
    pub roles: Vec<Role>,
    /// Any key.
    pub set: Vec<String>,
}

/// Variables with the prefix that are no keys: they configure the clients among the commands, the
/// program's own log, the scripts and the tests.
const CLIENT_VARIABLES: [&str; 15] = [
    "artifacts",
    "full_page",
    "theme",
    "transcode_ms",
    "config",
    "url",
    "login",
    "password",
    "token",
    "cache_dir",
    "clip",
    "lake_dir",
    "web_stamp",
    "log_format",
    "require_all",
];

/// An address as it may be shown.
fn without_password(address: &str) -> String {
    match Url::parse(address) {
        Ok(mut url) if url.password().is_some() => {
            // Fails only for addresses that can't have one.
            let _ = url.set_password(Some("…"));
            url.to_string()
        }
        _ => address.to_owned(),
    }
}

/// What the values of keys look like whose types do not say so by themselves.
fn form_of(key: &str) -> &'static str {
    match key {
        "listen" => "; allowed is an address with a port, such as 127.0.0.1:8080",
        "public_url" => "; allowed is an address such as https://video.example.org",
        key if key.starts_with("trusted_proxies") => "; allowed are networks such as 10.0.0.0/8",
        _ => "",
    }
}

/// The value, where what is wrong with it does not name it already.
fn shown(figment: &Figment, key: &str, kind: &Kind) -> String {
    match (kind, figment.find_value(key)) {
        (Kind::Message(_), Ok(Value::String(_, text))) => format!(" is `{text}`"),
        _ => String::new(),
    }
}

fn unreadable(error: figment::Error, figment: &Figment) -> ConfigError {
    let lines: Vec<String> = error
        .into_iter()
        .map(|error| {
            let key = error.path.join(".");
            let source = error.metadata.as_ref().map_or_else(String::new, |metadata| {
                let place = match &metadata.source {
                    Some(source) => source.to_string(),
                    // A flag is merged as a pair, which has no name of its own.
                    None if metadata.name.starts_with('(') => "the command line".to_owned(),
                    None => metadata.name.to_string(),
                };
                format!(" (from {place})")
            });
            match &error.kind {
                Kind::UnknownField(field, allowed) => {
                    let section = if key.is_empty() { String::new() } else { format!("{key}.") };
                    let section = section.strip_suffix(&format!("{field}.")).unwrap_or(&section).to_owned();
                    format!(
                        "configuration key `{section}{field}` does not exist{source}; allowed are {}",
                        allowed.join(", ")
                    )
                }
                kind if key.is_empty() => format!("the configuration can't be read{source}: {kind}"),
                kind => {
                    format!("configuration key `{key}`{}{source}: {kind}{}", shown(figment, &key, kind), form_of(&key))
                }
            }
        })
        .collect();
    ConfigError::Unreadable(lines.join("\n"))
}

impl Config {
    /// Reads file, variables and flags, in this order.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        figment = match &flags.file {
            Some(file) if !file.is_file() => return Err(ConfigError::NoFile(file.display().to_string())),
            Some(file) => figment.merge(Toml::file_exact(file)),
            None if Path::new("millrace.toml").is_file() => figment.merge(Toml::file_exact("millrace.toml")),
            None => figment,
        };
        figment = figment.merge(Env::prefixed("MILLRACE_").ignore(&CLIENT_VARIABLES).split("__"));
        if let Some(listen) = flags.listen {
            figment = figment.merge(("listen", listen.to_string()));
        }
        if let Some(data_dir) = &flags.data_dir {
            figment = figment.merge(("data_dir", data_dir));
        }
        if !flags.roles.is_empty() {
            figment = figment.merge(("roles", flags.roles.clone()));
        }
        for set in &flags.set {
            let (key, value) = set.split_once('=').ok_or_else(|| ConfigError::BadSet(set.clone()))?;
            // As in a variable: numbers, booleans and lists are read as such, all else is text.
            let value: Value = value.parse().map_err(|_| ConfigError::BadSet(set.clone()))?;
            figment = figment.merge((key.trim(), value));
        }
        let config: Self = figment.extract().map_err(|error| unreadable(error, &figment))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let bad = |key, value: &dyn std::fmt::Display, allowed| {
            Err(ConfigError::NotAllowed { key, value: value.to_string(), allowed })
        };
        for (key, value, embedded, schemes, allowed) in [
            ("log", &self.log, "embedded:", &["fluvio://"][..], "embedded: or fluvio://HOST:PORT"),
            ("cache", &self.cache, "memory:", &["redis://", "rediss://"], "memory: or redis://HOST:PORT"),
            ("index", &self.index, "embedded:", &["qdrant://"], "embedded: or qdrant://HOST:PORT"),
            ("sql_engine", &self.sql_engine, "datafusion:", &[], "datafusion:"),
        ] {
            if value != embedded && !schemes.iter().any(|scheme| value.starts_with(scheme)) {
                return bad(key, &without_password(value), allowed);
            }
        }
        if !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| self.catalog.starts_with(scheme)) {
            let allowed = "sqlite:, sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE";
            return bad("catalog", &without_password(&self.catalog), allowed);
        }
        if !self.storage.starts_with("file:") && !self.storage.starts_with("s3://") {
            return bad("storage", &without_password(&self.storage), "file:, file:PATH or s3://BUCKET/PREFIX");
        }
        if let Some((key, value, allowed)) = self.unshared() {
            return bad(key, value, allowed);
        }
        if let Some(url) = &self.public_url
            && (!matches!(url.scheme(), "http" | "https") || url.path() != "/")
        {
            return bad("public_url", url, "an http or https address without a path");
        }
        if self.roles.is_empty() {
            return bad("roles", &"[]", "at least one of ingest, transcode, playback, lake, recommend, sql");
        }
        let mib = ByteSize::mib(1);
        if self.uploads.chunk_size < ByteSize(64 << 10) || self.uploads.chunk_size > ByteSize::mib(256) {
            return bad("uploads.chunk_size", &self.uploads.chunk_size, "64 KiB to 256 MiB");
        }
        if self.uploads.max_size < mib || self.uploads.max_size > ByteSize::gib(1 << 20) {
            return bad("uploads.max_size", &self.uploads.max_size, "1 MiB to 1 PiB");
        }
        if self.lake.query_memory < ByteSize::mib(64) {
            return bad("lake.query_memory", &self.lake.query_memory, "64 MiB or more");
        }
        if !(1..=1024).contains(&self.topics.playback_partitions) {
            return bad("topics.playback_partitions", &self.topics.playback_partitions, "1 to 1024");
        }
        if (1..1000).contains(&self.media.presign_ms.0) {
            return bad("media.presign_ms", &self.media.presign_ms.0, "0, or 1000 to 604800000");
        }
        if self.telemetry.spool_bytes < mib {
            return bad("telemetry.spool_bytes", &self.telemetry.spool_bytes, "1 MiB or more");
        }
        if self.topics.retain_bytes < ByteSize::mib(16) {
            return bad("topics.retain_bytes", &self.topics.retain_bytes, "16 MiB or more");
        }
        for (key, value, low, high, allowed) in [
            ("shutdown_ms", self.shutdown_ms.0, 100, 600_000, "100 to 600000"),
            ("accounts.session_days", self.accounts.session_days, 1, 3650, "1 to 3650"),
            ("uploads.expire_hours", self.uploads.expire_hours, 1, 8760, "1 to 8760"),
            ("uploads.idle_ms", self.uploads.idle_ms.0, 100, 3_600_000, "100 to 3600000"),
            ("lease_ms", self.lease_ms.0, 500, 600_000, "500 to 600000"),
            ("telemetry.patience_ms", self.telemetry.patience_ms.0, 10, 60_000, "10 to 60000"),
            ("media.presign_ms", self.media.presign_ms.0, 0, 604_800_000, "0, or 1000 to 604800000"),
            ("transcode.lease_ms", self.transcode.lease_ms.0, 1000, 600_000, "1000 to 600000"),
            ("transcode.stall_ms", self.transcode.stall_ms.0, 1000, 3_600_000, "1000 to 3600000"),
            ("transcode.max_hours", self.transcode.max_hours, 1, 1000, "1 to 1000"),
            ("telemetry.linger_ms", self.telemetry.linger_ms.0, 0, 1000, "0 to 1000"),
            ("topics.retain_days", self.topics.retain_days, 1, 3650, "1 to 3650"),
            ("lake.commit_ms", self.lake.commit_ms.0, 50, 600_000, "50 to 600000"),
            ("lake.refresh_ms", self.lake.refresh_ms.0, 50, 3_600_000, "50 to 3600000"),
            ("lake.query_ms", self.lake.query_ms.0, 100, 86_400_000, "100 to 86400000"),
        ] {
            if !(low..=high).contains(&value) {
                return bad(key, &value, allowed);
            }
        }
        for (key, value) in [
            ("uploads.at_once", self.uploads.at_once),
            ("transcode.workers", self.transcode.workers),
            ("telemetry.queue", self.telemetry.queue),
        ] {
            if !(1..=65_536).contains(&value) {
                return bad(key, &value, "1 to 65536");
            }
        }
        Ok(())
    }

    /// A process with some of the roles needs the others elsewhere: what they share must lie where
    /// all reach it. A directory of embedded back ends alone is one process's, whatever it runs.
    fn unshared(&self) -> Option<(&'static str, &String, &'static str)> {
        let seams = [
            ("log", &self.log, "embedded:", "fluvio://HOST:PORT where several processes share the roles"),
            ("catalog", &self.catalog, "sqlite:", "postgres://… where several processes share the roles"),
            ("cache", &self.cache, "memory:", "redis://HOST:PORT where several processes share the roles"),
            ("storage", &self.storage, "file:", "s3://BUCKET/PREFIX where several processes share the roles"),
        ];
        let is_embedded = |(_, value, embedded, _): &(_, &String, &str, _)| value.starts_with(embedded);
        if self.roles.len() == Role::ALL.len() || seams.iter().all(is_embedded) {
            return None;
        }
        seams.into_iter().find(is_embedded).map(|(key, value, _, allowed)| (key, value, allowed))
    }

    /// Whether this process runs `role`.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Where the catalog's database is, as a URL.
    #[must_use]
    pub fn catalog_url(&self) -> String {
        match self.catalog.strip_prefix("sqlite:") {
            Some("") => format!("sqlite:{}", self.data_dir.join("catalog.db").display()),
            Some(_) | None => self.catalog.clone(),
        }
    }

    /// Where objects are.
    #[must_use]
    pub fn storage_dir(&self) -> PathBuf {
        match self.storage.strip_prefix("file:") {
            Some("") | None => self.data_dir.clone(),
            Some(path) => Path::new(path).to_owned(),
        }
    }

    /// The address at which this machine reaches the server: of any address, the loopback one.
    #[must_use]
    pub fn reachable_listen(&self) -> SocketAddr {
        let mut address = self.listen;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        address
    }

    /// The address to tell people.
    #[must_use]
    pub fn url(&self) -> String {
        self.public_url
            .as_ref()
            .map_or_else(|| format!("http://{}", self.listen), |url| url.as_str().trim_end_matches('/').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, set: &[&str]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("millrace.toml");
        std::fs::write(&file, toml).unwrap();
        let flags = Flags { file: Some(file), set: set.iter().map(|s| (*s).to_owned()).collect(), ..Flags::default() };
        Config::load(&flags).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_allowed_and_flags_have_the_last_word() {
        assert_eq!(load("", &[]).unwrap().listen.to_string(), "127.0.0.1:8080");
        let config = load("[uploads]\nmax_size = \"2 GiB\"", &["uploads.max_size=3GiB", "transcode.workers=2"]);
        let config = config.unwrap();
        assert_eq!((config.uploads.max_size, config.transcode.workers), (ByteSize::gib(3), 2));
    }

    #[test]
    fn a_file_is_needed_only_where_it_is_named() {
        // The tests run in the crate's folder, which has no millrace.toml.
        assert!(Config::load(&Flags::default()).is_ok());
        let named = Flags { file: Some("no/such/file.toml".into()), ..Flags::default() };
        assert!(Config::load(&named).unwrap_err().to_string().contains("no/such/file.toml"));
    }

    #[test]
    fn errors_name_key_value_and_what_is_allowed() {
        for (toml, parts) in [
            ("lissten = 1", &["`lissten`", "does not exist", "listen"][..]),
            ("[uploads]\nmaxsize = 1", &["`uploads.maxsize`", "max_size"]),
            ("listen = \"here\"", &["`listen`", "here"]),
            ("[uploads]\nmax_size = \"huge\"", &["`uploads.max_size`", "huge", "MiB"]),
            ("[uploads]\nchunk_size = 1", &["`uploads.chunk_size`", "1 bytes", "64 KiB to 256 MiB"]),
            ("roles = [\"cook\"]", &["roles", "cook", "ingest"]),
            ("log = \"kafka://x\"", &["`log`", "kafka://x", "embedded:"]),
            ("catalog = \"mysql://me:secret@db/x\"", &["`catalog`", "mysql://me:", "@db/x", "postgres://"]),
            ("[accounts]\nsign_up = \"maybe\"", &["`accounts.sign_up`", "maybe", "invitation"]),
        ] {
            let error = load(toml, &[]).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{toml}: {error}");
            }
        }
        assert!(load("", &["nonsense"]).unwrap_err().contains("key=value"));
        assert!(!load("catalog = \"mysql://me:secret@db/x\"", &[]).unwrap_err().contains("secret"));
    }

    #[test]
    fn some_of_the_roles_need_what_others_share() {
        const SHARED: &str = "roles = [\"playback\"]\nlog = \"fluvio://sc:9003\"\ncatalog = \"postgres://db/x\"\ncache = \"redis://r\"\nstorage = \"s3://b/p\"";
        assert!(load(SHARED, &[]).is_ok());
        assert!(load("roles = [\"playback\"]", &[]).is_ok(), "one process on one directory");
        assert!(load("cache = \"redis://r\"", &[]).is_ok(), "all roles");
        for (key, value) in [("log", "embedded:"), ("catalog", "sqlite:"), ("cache", "memory:"), ("storage", "file:")] {
            let error = load(SHARED, &[&format!("{key}={value}")]).unwrap_err();
            assert!(error.contains(&format!("`{key}` is `{value}`")) && error.contains("several processes"), "{error}");
        }
    }
}
