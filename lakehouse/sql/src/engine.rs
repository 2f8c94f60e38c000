//! The engine: what all queries share, which is the memory they may use and the tables' snapshots.

use std::{collections::HashMap, num::NonZeroUsize, sync::Arc};

use datafusion::execution::{
    memory_pool::{FairSpillPool, TrackConsumersPool},
    runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
};
use deltalake::DeltaTable;
use event_schemas::{ByteSize, Millis};
use lake_tables::{Lake, schema};
use tokio::sync::Mutex;

use crate::{QueryResult, Snapshot, SqlError};

/// How the three largest users of memory are named when it runs out.
const NAMED_CONSUMERS: NonZeroUsize = match NonZeroUsize::new(3) {
    Some(three) => three,
    None => NonZeroUsize::MIN,
};

/// What a query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqlOptions {
    /// Memory of all queries of the engine together; sorts and joins beyond it spill to the
    /// temporary folder.
    pub memory: ByteSize,
    /// How long one query may run; none for as long as it takes.
    pub timeout: Option<Millis>,
    /// How many rows a collected result holds at most; the rest is cut off and said to be. None
    /// for all of them.
    pub max_rows: Option<usize>,
    /// How many threads' worth of work a query is split into; none for one a core.
    pub parallelism: Option<usize>,
}

impl Default for SqlOptions {
    fn default() -> Self {
        Self { memory: ByteSize::mib(512), timeout: None, max_rows: None, parallelism: None }
    }
}

/// SQL over one lake.
#[derive(Debug)]
pub struct SqlEngine {
    lake: Lake,
    options: SqlOptions,
    runtime: Arc<RuntimeEnv>,
    tables: Mutex<HashMap<&'static str, DeltaTable>>,
}

impl SqlEngine {
    /// An engine over `lake`. Nothing is read yet.
    ///
    /// # Errors
    /// The temporary folder can't be used.
    pub fn open(lake: Lake, options: SqlOptions) -> Result<Self, SqlError> {
        let runtime = runtime(options)?;
        // Takes the place of the local file system's root: a query reaches the lake's store only.
        runtime.register_object_store(lake.address(), Arc::clone(lake.store()));
        Ok(Self { lake, options, runtime, tables: Mutex::default() })
    }

    /// What queries may use.
    #[must_use]
    pub const fn options(&self) -> &SqlOptions {
        &self.options
    }

    /// Every table at its newest version, to run any number of queries against.
    ///
    /// # Errors
    /// The lake can't be read.
    pub async fn snapshot(&self) -> Result<Snapshot, SqlError> {
        let mut tables = Vec::new();
        for def in schema::tables() {
            let mut known = self.tables.lock().await;
            let table = match known.get_mut(def.name) {
                Some(table) => {
                    table.update_state().await.map_err(lake_tables::LakeError::from)?;
                    Some(table.clone())
                }
                None => self.lake.open(def).await?.inspect(|table| {
                    known.insert(def.name, table.clone());
                }),
            };
            tables.extend(table.map(|table| (def, table)));
        }
        Snapshot::new(tables, Arc::clone(&self.runtime), self.options).await
    }

    /// Runs one query against the newest version of every table and collects its rows.
    ///
    /// # Errors
    /// [`SqlError::ReadOnly`] for anything but a query; see [`SqlError`] for the rest.
    pub async fn query(&self, sql: &str) -> Result<QueryResult, SqlError> {
        self.snapshot().await?.query(sql).await
    }
}

/// What queries run in: memory up to the limit, then the temporary folder.
pub(crate) fn runtime(options: SqlOptions) -> Result<Arc<RuntimeEnv>, SqlError> {
    let pool = FairSpillPool::new(usize::try_from(options.memory.0).unwrap_or(usize::MAX));
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, NAMED_CONSUMERS)))
        .build_arc()
        .map_err(|error| SqlError::Failed(Box::new(error)))
}
