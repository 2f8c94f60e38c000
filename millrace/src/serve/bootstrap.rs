//! Opens the back ends that the configuration names. The only place that knows concrete ones:
//! everything else holds trait objects.

use std::{path::Path, sync::Arc};

use access::{Access, AccessOptions, Signer};
use catalog::{
    Catalog,
    sql::{SqlCatalog, SqlOptions},
};
use event_log::{
    EventLog, LogError, Stream, TopicSpec,
    embedded::{EmbeddedLog, EmbeddedLogOptions},
};
use event_schemas::{Clock, Millis, SystemClock, Topic};
use lake_tables::Lake;
use object_store::{ObjectStore, local::LocalFileSystem};
use objects::{FileSystemProbe, FreeSpaceGuard, StorageSpec};
use runtime::Producer;
use search_index::{EmbeddedIndex, SearchIndex};
use serving_store::{MemoryStore, ServingStore};

use crate::{
    config::{Config, Role},
    data_dir::DataDir,
};

/// Everything a process stands on.
pub struct Seams {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Names this process as the holder of leases. The data directory's lock lets only one
    /// process bear it at a time, so a restarted one takes its own leases up again at once.
    pub owner: String,
    /// The data directory, locked.
    pub data_dir: DataDir,
    /// Accounts, videos, jobs.
    pub catalog: Arc<dyn Catalog>,
    /// Topics.
    pub log: Arc<dyn EventLog>,
    /// This process as a producer of records.
    pub producer: Arc<Producer>,
    /// Chunks, segments, the lake's files.
    pub objects: Arc<dyn ObjectStore>,
    /// Figures, rankings, fan-out.
    pub store: Arc<dyn ServingStore>,
    /// Text search, where a role needs it.
    pub index: Option<Arc<dyn SearchIndex>>,
    /// The lake's tables.
    pub lake: Lake,
    /// Who is asking.
    pub access: Arc<Access>,
}

impl Seams {
    /// Opens the store in which a stage keeps its own state.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn open_state(&self, stage: &str) -> Result<fjall::Database, Failure> {
        let path = self.data_dir.root().join("state").join(stage);
        // Opening replays a journal: not on the event loop.
        Ok(tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&path)?;
            fjall::Database::builder(&path).open().map_err(std::io::Error::other)
        })
        .await??)
    }
}

/// What a failure to open says is in its own text; there is nothing to decide by kind.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The topics with their dead letters, as the configuration lays them out.
#[must_use]
pub fn topics(config: &Config) -> Vec<TopicSpec> {
    let retain_for = Millis::from_days(config.topics.retain_days);
    let retain_bytes = config.topics.retain_bytes;
    Topic::ALL
        .into_iter()
        .flat_map(|topic| {
            let partitions = if topic == Topic::Playback { config.topics.playback_partitions } else { 1 };
            [
                TopicSpec { stream: Stream::Main(topic), partitions, retain_for, retain_bytes },
                TopicSpec { stream: Stream::DeadLetters(topic), partitions: 1, retain_for, retain_bytes },
            ]
        })
        .collect()
}

async fn open_log(config: &Config, root: &Path, clock: &Arc<dyn Clock>) -> Result<Arc<dyn EventLog>, LogError> {
    let mut options = EmbeddedLogOptions::new(root.join("log"), Arc::clone(clock));
    options.free_space_floor = config.free_space_floor;
    let log = EmbeddedLog::open(options)?;
    for spec in topics(config) {
        log.ensure_topic(&spec).await?;
    }
    Ok(log)
}

/// Opens everything.
///
/// # Errors
/// What can't be opened, and why.
pub async fn open(config: &Config) -> Result<Seams, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let data_dir = DataDir::open(&config.data_dir)?;
    let root = data_dir.root().to_owned();

    let space = FreeSpaceGuard::new(&root, config.free_space_floor, Arc::new(FileSystemProbe));
    let storage = match config.storage.as_str() {
        "file:" => StorageSpec::File(root.clone()),
        text => text.parse()?,
    };
    let objects = objects::open_objects(&storage, space).await?;

    let catalog_url = match config.catalog.as_str() {
        "sqlite:" => format!("sqlite:{}", root.join("catalog.db").display()),
        _ => config.catalog_url(),
    };
    let catalog: Arc<dyn Catalog> = SqlCatalog::open(&catalog_url, SqlOptions::default()).await?;
    let log = open_log(config, &root, &clock).await?;

    let producer_id = data_dir.producer_id()?;
    let epoch = catalog.next_epoch(&format!("producer/{producer_id}")).await?;
    let producer = Arc::new(Producer::new(Arc::clone(&log), producer_id, epoch, Arc::clone(&clock)));

    let store: Arc<dyn ServingStore> = Arc::new(MemoryStore::new(Arc::clone(&clock)));
    let index: Option<Arc<dyn SearchIndex>> = if config.has(Role::Playback) || config.has(Role::Recommend) {
        let (index, _) = EmbeddedIndex::open(root.join("index")).await?;
        Some(Arc::new(index))
    } else {
        None
    };
    let access = Arc::new(Access {
        catalog: Arc::clone(&catalog),
        store: Arc::clone(&store),
        signer: Signer::new(data_dir.signing_secret()?, Arc::clone(&clock)),
        clock: Arc::clone(&clock),
        options: AccessOptions {
            sign_up: config.accounts.sign_up,
            public_url: config.public_url.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            session_lifetime: Millis::from_days(config.accounts.session_days),
            sign_in_attempts: config.accounts.sign_in_attempts,
            sign_ups_an_hour: config.accounts.sign_ups_an_hour,
            ..AccessOptions::default()
        },
    });
    let lake = Lake::local(Arc::clone(&objects))?;
    let owner = producer_id.to_string();
    Ok(Seams { clock, owner, data_dir, catalog, log, producer, objects, store, index, lake, access })
}

/// The lake for a process that only reads it, beside a server that writes it.
///
/// # Errors
/// There is no such directory.
pub fn lake_for_reading(config: &Config) -> Result<Lake, Failure> {
    let dir = match config.storage.as_str() {
        "file:" => config.storage_dir(),
        text => match text.parse()? {
            StorageSpec::File(path) => path,
        },
    };
    if !dir.is_dir() {
        return Err(format!(
            "there is no data directory `{}`: name the server's with --data-dir, or start one with `millrace serve`",
            dir.display()
        )
        .into());
    }
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(&dir)?);
    Ok(Lake::local(store)?)
}
