//! Several processes of the program that share PostgreSQL, Redis, S3 and Fluvio, with nginx before
//! them.

use std::collections::BTreeMap;

use engines::{Fluvio, Postgres, Redis, S3};

use crate::support::{Edge, Server, nginx, not_run};

/// The roles, one process each, in the order in which they are started.
pub const ROLES: [&str; 6] = ["ingest", "transcode", "playback", "lake", "recommend", "sql"];

/// Engines that tests start and stop.
pub struct Engines {
    pub postgres: Postgres,
    pub redis: Redis,
    pub s3: S3,
    pub fluvio: Fluvio,
}

impl Engines {
    /// Starts them all; none, and a line that says so, where one can't be had.
    pub async fn start() -> Option<Self> {
        let missing = |why: String| {
            not_run(&format!("roles apart: {why}"));
            // What set-up installs must be there.
            assert!(std::env::var("MILLRACE_REQUIRE_ALL").as_deref() != Ok("1"), "{why}");
        };
        // Fluvio comes from no registry.
        let fluvio = match Fluvio::start(1).await {
            Ok(fluvio) => fluvio,
            Err(why) => {
                not_run(&format!("roles apart: {why}"));
                return None;
            }
        };
        let postgres = Postgres::start().map_err(missing).ok()?;
        let redis = Redis::start().map_err(missing).ok()?;
        let s3 = S3::start("millrace").await.map_err(missing).ok()?;
        Some(Self { postgres, redis, s3, fluvio })
    }

    /// What a process is told of them.
    pub fn settings(&self) -> Vec<String> {
        vec![
            format!("log={}", self.fluvio.url()),
            format!("catalog={}", self.postgres.url("postgres")),
            format!("cache={}", self.redis.url()),
            format!("storage={}", self.s3.url()),
            "lease_ms=2000".to_owned(),
            "transcode.lease_ms=2000".to_owned(),
        ]
    }

    /// Starts one process with these roles.
    pub async fn process(&self, roles: &str, more: &[&str]) -> Server {
        let folder = tempfile::Builder::new().prefix("millrace-process-").tempdir().expect("a folder");
        let mut settings = self.settings();
        let roles: Vec<&str> = roles.split(',').collect();
        settings.push(format!("roles={roles:?}"));
        settings.extend(more.iter().map(|set| (*set).to_owned()));
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        Server::start_as(folder, &settings, &self.s3.variables()).await
    }
}

/// Six processes and an edge.
pub struct Fleet {
    pub processes: BTreeMap<&'static str, Server>,
    pub edge: Edge,
    pub engines: Engines,
}

impl Fleet {
    /// Starts it; none where something can't be had.
    pub async fn start() -> Option<Self> {
        let Some(program) = nginx::program() else {
            not_run("roles apart: there is no nginx");
            return None;
        };
        let engines = Engines::start().await?;
        let mut processes = BTreeMap::new();
        for role in ROLES {
            processes.insert(role, engines.process(role, &[]).await);
        }
        let edge = Edge::before(&program, &processes["playback"].url, &processes["ingest"].url).await;
        Some(Self { processes, edge, engines })
    }

    pub fn process(&self, role: &str) -> &Server {
        &self.processes[role]
    }

    /// Waits until the lake holds everything acknowledged, and asks it.
    pub async fn ask(&self, query: &str) -> Vec<serde_json::Value> {
        self.process("lake").flush().await;
        self.process("sql").sql(query).await
    }
}
