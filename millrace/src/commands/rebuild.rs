//! `millrace rebuild serving`: fills the serving store from the lake, beside running servers or
//! without any. What live stages write meanwhile is newer, and stays.

use std::{sync::Arc, time::Duration};

use event_schemas::{Clock, SystemClock};
use lake_sql::{SqlEngine, SqlOptions};
use lake_views::{LakeViews, LakeViewsConfig};
use ranking::{RankingConfig, Rankings};
use serde::Serialize;

use crate::{config::Config, serve::bootstrap};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What was written.
#[derive(Debug, Serialize)]
pub struct RebuiltServing {
    /// Videos with figures.
    pub videos: usize,
    /// What the figures have taken into account, by partition of `playback`.
    pub offsets: event_schemas::OffsetVector,
}

/// Forgets everything in the serving store and computes it anew from the lake.
///
/// # Errors
/// The configuration names a store in memory, which no other process reaches; the store or the lake
/// does not answer.
pub async fn serving(config: &Config) -> Result<RebuiltServing, Failure> {
    if config.cache == "memory:" {
        return Err("configuration key `cache` is `memory:`: that store fills itself from the lake when the server \
                    starts; there is nothing to rebuild"
            .into());
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = bootstrap::open_store(config, &clock).await?;
    let options = SqlOptions { memory: config.lake.query_memory, timeout: None, max_rows: None, parallelism: None };
    let engine = Arc::new(SqlEngine::open(bootstrap::lake_for_reading(config).await?, options)?);
    // Live stages notice and write their totals again too.
    store.clear().await?;
    let partitions = config.topics.playback_partitions;
    let figures =
        LakeViews::new(Arc::clone(&engine), Arc::clone(&store), Arc::clone(&clock), LakeViewsConfig::new(partitions));
    let rebuilt = figures.rebuild().await?;
    let config = RankingConfig {
        refresh_every: config.lake.refresh_ms.to_duration(),
        decay_every: Duration::from_secs(600),
        partitions,
    };
    Rankings { engine, store, clock, config }.rebuild().await?;
    Ok(RebuiltServing { videos: rebuilt.videos, offsets: rebuilt.offsets })
}
