//! `bench logs`: appends to each log back end and reads them back, beside peers at the same
//! durability.
//!
//! The suite's process starts one child a round and back end ([`round`]), in turn: A B C A B C.
//! So each begins with fresh servers, an empty folder and a client whose memory nobody used before,
//! and what happens on the machine meanwhile hits all of them alike.

mod embedded;
mod fluvio;
mod nats;
mod ours;
mod redis;
mod report;
mod round;
mod suite;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::server::Server;

pub use round::measure;
pub use suite::{Args, run};

/// Partitions, or what the back end has in their place.
pub const PARTITIONS: u32 = 4;

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// It survives the loss of power.
    Fsynced,
    /// It survives the death of the client, and of the server's process where the operating system
    /// has it; not the loss of power.
    Memory,
}

impl std::fmt::Display for Durability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fsynced => "fsynced before the acknowledgement",
            Self::Memory => "taken by the broker's memory, fsynced later or never",
        })
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The embedded log.
    Embedded,
    /// NATS JetStream, `sync_interval: always`.
    NatsFsync,
    /// Redis Streams, `appendfsync always`.
    RedisFsync,
    /// The log on Fluvio, one broker.
    Fluvio,
    /// NATS JetStream as it comes.
    Nats,
    /// Redis Streams, `appendfsync everysec`.
    Redis,
}

impl Subject {
    /// Its name on the command line and in the output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::NatsFsync => "nats-fsync",
            Self::RedisFsync => "redis-fsync",
            Self::Fluvio => "fluvio",
            Self::Nats => "nats",
            Self::Redis => "redis",
        }
    }

    /// What its acknowledgement promises.
    pub const fn durability(self) -> Durability {
        match self {
            Self::Embedded | Self::NatsFsync | Self::RedisFsync => Durability::Fsynced,
            Self::Fluvio | Self::Nats | Self::Redis => Durability::Memory,
        }
    }

    /// Whether it is one of the project's own back ends.
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Embedded | Self::Fluvio)
    }

    /// How it is set up and used.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Embedded => embedded::SETTING,
            Self::NatsFsync => nats::SETTING_FSYNC,
            Self::RedisFsync => redis::SETTING_FSYNC,
            Self::Fluvio => fluvio::SETTING,
            Self::Nats => nats::SETTING,
            Self::Redis => redis::SETTING,
        }
    }

    /// Starts it with its data in `folder`. Called on the main thread.
    async fn start(self, folder: &Path) -> anyhow::Result<Start> {
        match self {
            Self::Embedded => embedded::start(folder).await,
            Self::NatsFsync | Self::Nats => nats::start(folder, self.durability()).await,
            Self::RedisFsync | Self::Redis => redis::start(folder, self.durability()).await,
            Self::Fluvio => fluvio::start(folder).await,
        }
    }
}

/// A log that can be measured.
#[async_trait]
trait Log: Send + Sync {
    /// Appends one record; resolves when it is acknowledged.
    async fn append(&self, partition: u32, record: Bytes) -> anyhow::Result<()>;

    /// Reads a partition from its start until `records` were read; gives their bytes.
    async fn read(&self, partition: u32, records: u64) -> anyhow::Result<u64>;

    /// Ends what runs in this process.
    async fn close(&self) {}
}

/// A back end that runs.
struct Running {
    log: Arc<dyn Log>,
    /// The processes beside this one.
    servers: Vec<Server>,
    /// Its version.
    version: String,
}

enum Start {
    Running(Running),
    /// It is not on this machine, and why.
    Absent(String),
}
