//! Opens the back ends that the configuration names. The only place that knows concrete ones:
//! everything else holds trait objects.

use std::{path::Path, sync::Arc, time::Duration};

use access::{Access, AccessOptions, Signer};
use async_trait::async_trait;
use catalog::{
    Catalog,
    sql::{SqlCatalog, SqlOptions},
};
use event_log::{
    EventLog, LogError, Stream, TopicSpec,
    embedded::{EmbeddedLog, EmbeddedLogOptions},
};
use event_log_fluvio::{FluvioLog, FluvioLogOptions, GenerationError, Generations};
use event_schemas::{ByteSize, Clock, Millis, SystemClock, Topic};
use lake_tables::Lake;
use object_store::ObjectStore;
use objects::{FileSystemProbe, FreeSpaceGuard, ObjectsError, OpenedObjects, Presign, StorageSpec};
use runtime::Producer;
use search_index::{EmbeddedIndex, SearchIndex};
use search_index_qdrant::{ApiKey, QdrantIndex, QdrantOptions};
use serving_store::{Enduring, MemoryStore, ServingStore};
use serving_store_redis::RedisStore;

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
    /// Makes addresses at which players read segments from the store itself, if they are to.
    pub presign: Option<Arc<dyn Presign>>,
    /// Figures, rankings, fan-out.
    pub store: Arc<dyn ServingStore>,
    /// Search, where a role needs it.
    pub index: Option<Arc<dyn SearchIndex>>,
    /// Whether and how this process keeps the index in step.
    pub index_work: Option<IndexWork>,
    /// Where telemetry waits while a log on other machines does not answer.
    pub spool: Option<Arc<dyn EventLog>>,
    /// The lake's tables.
    pub lake: Lake,
    /// Who is asking.
    pub access: Arc<Access>,
    /// The token of the operator's commands, the same in every process of an instance.
    pub operator_token: Arc<str>,
}

/// Who keeps a search index in step with the `videos` topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexWork {
    /// This process, the whole topic: the index is its own.
    Own,
    /// The processes with the role `recommend`, each some partitions: the index is everybody's.
    Shared,
}

impl Seams {
    /// Where players read segments besides from this server; none if nowhere else.
    ///
    /// # Errors
    /// No address can be signed.
    pub async fn media_origin(&self) -> Result<Option<String>, Failure> {
        let Some(presign) = &self.presign else { return Ok(None) };
        let url = presign.get_url(&object_store::path::Path::from("media"), Millis::from_secs(1)).await?;
        Ok(Some(url.origin().ascii_serialization()))
    }

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

/// The generations of the log's topics, kept in the catalog.
struct CatalogGenerations(Arc<dyn Catalog>);

impl CatalogGenerations {
    fn counter(topic: &str) -> String {
        format!("log-generation/{topic}")
    }
}

#[async_trait]
impl Generations for CatalogGenerations {
    async fn current(&self, topic: &str) -> Result<u64, GenerationError> {
        Ok(self.0.counter(&Self::counter(topic)).await?)
    }

    async fn raise(&self, topic: &str) -> Result<u64, GenerationError> {
        Ok(self.0.next_epoch(&Self::counter(topic)).await?)
    }
}

async fn open_log(
    config: &Config,
    root: &Path,
    clock: &Arc<dyn Clock>,
    catalog: &Arc<dyn Catalog>,
) -> Result<Arc<dyn EventLog>, LogError> {
    if config.log == "embedded:" {
        let mut options = EmbeddedLogOptions::new(root.join("log"), Arc::clone(clock));
        options.free_space_floor = config.free_space_floor;
        return Ok(EmbeddedLog::open(options)?);
    }
    let generations = Arc::new(CatalogGenerations(Arc::clone(catalog)));
    Ok(FluvioLog::open(&config.log, FluvioLogOptions::new(Arc::clone(clock), generations)).await?)
}

/// Makes the topics that are absent, one process at a time.
async fn ensure_topics(
    config: &Config,
    log: &Arc<dyn EventLog>,
    catalog: &Arc<dyn Catalog>,
    clock: &Arc<dyn Clock>,
    owner: &str,
) -> Result<(), Failure> {
    const LEASE: Millis = Millis::from_secs(60);
    let lease = loop {
        match catalog.acquire_lease("log/topics", owner, clock.now(), LEASE).await? {
            Some(lease) => break lease,
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    for spec in topics(config) {
        log.ensure_topic(&spec).await.map_err(|error| format!("setting `log`: {}", runtime::describe(&error)))?;
    }
    catalog.release_lease(&lease).await?;
    Ok(())
}

/// The queue for telemetry, where the log is on other machines.
async fn open_spool(
    config: &Config,
    root: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<dyn EventLog>>, LogError> {
    if config.log == "embedded:" || !config.has(Role::Ingest) {
        return Ok(None);
    }
    let mut options = EmbeddedLogOptions::new(root.join("spool"), Arc::clone(clock));
    options.free_space_floor = config.free_space_floor;
    options.segment_bytes = ByteSize::mib(8).min(ByteSize(config.telemetry.spool_bytes.0 / 8));
    let spool = EmbeddedLog::open(options)?;
    let partitions = config.topics.playback_partitions;
    let stream = Stream::Main(Topic::Playback);
    spool
        // What was sent on may go at once.
        .ensure_topic(&TopicSpec {
            stream,
            partitions,
            retain_for: Millis(0),
            retain_bytes: config.telemetry.spool_bytes,
        })
        .await?;
    Ok(Some(spool))
}

/// The serving store that the configuration names.
///
/// # Errors
/// It can't be reached or used; the text names the setting.
pub async fn open_store(config: &Config, clock: &Arc<dyn Clock>) -> Result<Arc<dyn ServingStore>, Failure> {
    if config.cache == "memory:" {
        return Ok(Arc::new(MemoryStore::new(Arc::clone(clock))));
    }
    let store = RedisStore::open(&config.cache, &serving_store_redis::Options::default()).await;
    Ok(store.map_err(|error| format!("setting `cache`: {}", runtime::describe(&error)))?)
}

async fn open_index(
    config: &Config,
    root: &Path,
) -> Result<(Option<Arc<dyn SearchIndex>>, Option<IndexWork>), Failure> {
    if config.index == "embedded:" {
        if !config.has(Role::Playback) {
            return Ok((None, None));
        }
        let (index, _) = EmbeddedIndex::open(root.join("index")).await?;
        return Ok((Some(Arc::new(index)), Some(IndexWork::Own)));
    }
    if !config.has(Role::Playback) && !config.has(Role::Recommend) {
        return Ok((None, None));
    }
    let refused = |error| format!("setting `index`: {}", runtime::describe(&error));
    let mut options = QdrantOptions::default();
    // Where Qdrant's own tools look for it too.
    if let Ok(key) = std::env::var("QDRANT_API_KEY") {
        options.api_key = Some(ApiKey::new(key).map_err(refused)?);
    }
    let index = QdrantIndex::open(&config.index, options).await.map_err(refused)?;
    Ok((Some(Arc::new(index)), config.has(Role::Recommend).then_some(IndexWork::Shared)))
}

async fn open_catalog(config: &Config) -> Result<Arc<dyn Catalog>, Failure> {
    let catalog = SqlCatalog::open(&config.catalog_url(), SqlOptions::default()).await;
    Ok(catalog.map_err(|error| format!("setting `catalog`: {}", runtime::describe(&error)))?)
}

/// The secrets that all processes of an instance share: under which grants are signed, and by
/// which the operator is known. With a catalog of their own they lie in the data directory.
async fn secrets(
    config: &Config,
    data_dir: &DataDir,
    catalog: &Arc<dyn Catalog>,
) -> Result<([u8; 32], String), Failure> {
    let (signing, operator) = (data_dir.signing_secret()?, data_dir.operator_token()?);
    if config.catalog.starts_with("sqlite:") {
        return Ok((signing, operator));
    }
    let signing = catalog.instance_secret("signing", &signing).await?;
    let signing = signing.try_into().map_err(|_| "the catalog's signing secret is damaged: it must have 32 bytes")?;
    let operator = String::from_utf8(catalog.instance_secret("operator", operator.as_bytes()).await?)?;
    // For the commands that are run beside this process.
    data_dir.keep_operator_token(&operator)?;
    Ok((signing, operator))
}

/// Opens everything.
///
/// # Errors
/// What can't be opened, and why.
pub async fn open(config: &Config) -> Result<Seams, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let data_dir = DataDir::open(&config.data_dir)?;
    let root = data_dir.root().to_owned();

    let opened = objects::open_objects(&storage(config)?, free_space(config, &root)).await;
    let OpenedObjects { store: objects, presign } =
        opened.map_err(|error| format!("setting `storage`: {}", runtime::describe(&error)))?;
    let presign = presign.filter(|_| config.media.presign_ms > Millis(0));
    let catalog = open_catalog(config).await?;
    let producer_id = data_dir.producer_id()?;
    let owner = producer_id.to_string();
    let log = open_log(config, &root, &clock, &catalog)
        .await
        .map_err(|error| format!("setting `log`: {}", runtime::describe(&error)))?;
    ensure_topics(config, &log, &catalog, &clock, &owner).await?;
    let epoch = catalog.next_epoch(&format!("producer/{producer_id}")).await?;
    let producer = Arc::new(Producer::new(Arc::clone(&log), producer_id, epoch, Arc::clone(&clock)));
    let spool = open_spool(config, &root, &clock).await?;

    let mut store = open_store(config, &clock).await?;
    if config.cache != "memory:" && (config.has(Role::Playback) || config.has(Role::Ingest)) {
        // Who answers people goes on answering.
        store = Arc::new(Enduring::new(store, Arc::clone(&clock)));
    }
    let (index, index_work) = open_index(config, &root).await?;
    let (signing, operator_token) = secrets(config, &data_dir, &catalog).await?;
    let access = Arc::new(Access {
        catalog: Arc::clone(&catalog),
        store: Arc::clone(&store),
        signer: Signer::new(signing, Arc::clone(&clock)),
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
    let operator_token = operator_token.into();
    Ok(Seams {
        clock,
        owner,
        data_dir,
        catalog,
        log,
        producer,
        objects,
        presign,
        store,
        index,
        index_work,
        spool,
        lake,
        access,
        operator_token,
    })
}

fn free_space(config: &Config, root: &Path) -> FreeSpaceGuard {
    FreeSpaceGuard::new(root, config.free_space_floor, Arc::new(FileSystemProbe))
}

fn storage(config: &Config) -> Result<StorageSpec, Failure> {
    if config.storage.starts_with("file:") {
        return Ok(StorageSpec::File(config.storage_dir()));
    }
    Ok(config.storage.parse().map_err(|error| format!("setting `storage`: {error}"))?)
}

/// The lake for a process that only reads it, beside a server that writes it.
///
/// # Errors
/// There is no such directory; the store can't be reached.
pub async fn lake_for_reading(config: &Config) -> Result<Lake, Failure> {
    let store = match objects::open_for_reading(&storage(config)?).await {
        Err(ObjectsError::Absent { path }) => {
            return Err(format!(
                "there is no data directory `{}`: name the server's with --data-dir, or start one with `millrace serve`",
                path.display()
            )
            .into());
        }
        opened => opened.map_err(|error| format!("setting `storage`: {}", runtime::describe(&error)))?,
    };
    Ok(Lake::local(store)?)
}
