//! The embedded log, with the options of production.

use std::{path::Path, sync::Arc};

use event_log::{EmbeddedLog, EmbeddedLogOptions};
use event_schemas::SystemClock;

use super::{Running, Start, ours::Ours};

pub const SETTING: &str = "in this process, on fjall; one fdatasync for all that waits; runtime::Producer, one append a \
                           partition under way; reads of 1024 records by runtime::PartitionReader";

/// Opens it.
pub async fn start(folder: &Path) -> anyhow::Result<Start> {
    let options = EmbeddedLogOptions::new(folder.join("log"), Arc::new(SystemClock));
    let log = EmbeddedLog::open(options)?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Start::Running(Running { log: Arc::new(Ours::new(log).await?), servers: Vec::new(), version }))
}
