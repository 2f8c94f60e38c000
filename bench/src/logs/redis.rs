//! Redis Streams through the `redis` crate.
//!
//! Each partition is a stream. Connections are multiplexed: what callers send meanwhile goes out
//! together (a pipeline). Redis fsyncs once for all that it has read from all connections in one
//! turn of its loop, so several connections let it gather more.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use redis::{AsyncConnectionConfig, Value, aio::MultiplexedConnection};

use super::{Durability, Log, Running, Start};
use crate::server::{Server, free_ports, on_path};

pub const SETTING_FSYNC: &str = "appendonly yes, appendfsync always, no rewrite of the file; 16 connections, the callers' XADD \
                                 pipelined on each; reads by XRANGE of 1024 records";
pub const SETTING: &str = "appendfsync everysec; otherwise like redis-fsync";

const CONNECTIONS: usize = 16;
/// How many records a reader asks for at once, as many as ours.
const BATCH: usize = 1024;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Starts a server with an append-only file.
pub async fn start(folder: &Path, durability: Durability) -> anyhow::Result<Start> {
    let Some(binary) = on_path("redis-server") else {
        return Ok(Start::Absent("there is no `redis-server` on the PATH; it is a package of Debian's".to_owned()));
    };
    let [port] = free_ports()?;
    let fsync = match durability {
        Durability::Fsynced => "always",
        Durability::Memory => "everysec",
    };
    let (port, data) = (port.to_string(), folder.display().to_string());
    let arguments = [
        ["--port", &port],
        ["--bind", "127.0.0.1"],
        ["--dir", &data],
        ["--save", ""],
        ["--appendonly", "yes"],
        ["--appendfsync", fsync],
        ["--auto-aof-rewrite-percentage", "0"],
    ];
    let arguments = arguments.concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let mut server = Server::start(&binary, &arguments, folder, "redis-server")?;
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(TIMEOUT));
    let connect = async || {
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        redis::cmd("PING").query_async::<()>(&mut connection).await?;
        Ok(connection)
    };
    let mut connections = vec![server.until_ready(connect).await?];
    while connections.len() < CONNECTIONS {
        connections.push(connect().await?);
    }
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut connections[0]).await?;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("unknown").to_owned();
    let log = Arc::new(Redis { connections, next: AtomicUsize::new(0) });
    Ok(Start::Running(Running { log, servers: vec![server], version }))
}

fn key(partition: u32) -> String {
    format!("playback:{partition}")
}

struct Redis {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
}

impl Redis {
    fn connection(&self) -> MultiplexedConnection {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections[n % self.connections.len()].clone()
    }
}

#[async_trait]
impl Log for Redis {
    async fn append(&self, partition: u32, record: Bytes) -> anyhow::Result<()> {
        let mut add = redis::cmd("XADD");
        add.arg(key(partition)).arg("*").arg("r").arg(&record[..]);
        add.query_async::<Value>(&mut self.connection()).await?;
        Ok(())
    }

    async fn read(&self, partition: u32, records: u64) -> anyhow::Result<u64> {
        let mut connection = self.connection();
        let (mut seen, mut bytes) = (0, 0);
        let mut from = "-".to_owned();
        while seen < records {
            let mut range = redis::cmd("XRANGE");
            range.arg(key(partition)).arg(&from).arg("+").arg("COUNT").arg(BATCH);
            let Value::Array(entries) = range.query_async(&mut connection).await? else {
                bail!("XRANGE gave no list");
            };
            ensure!(!entries.is_empty(), "the stream ends after {seen} of {records} records");
            for entry in &entries {
                let (_, record) = parts(entry).context("XRANGE gave back something else")?;
                seen += 1;
                bytes += record.len() as u64;
            }
            let last = entries.last().and_then(parts);
            from = format!("({}", last.map(|(id, _)| String::from_utf8_lossy(id)).unwrap_or_default());
        }
        Ok(bytes)
    }
}

/// The id and the record of an entry: `[id, ["r", record]]`.
fn parts(entry: &Value) -> Option<(&[u8], &[u8])> {
    let Value::Array(entry) = entry else { return None };
    let [Value::BulkString(id), Value::Array(fields)] = entry.as_slice() else { return None };
    let [_, Value::BulkString(record)] = fields.as_slice() else { return None };
    Some((id, record))
}
