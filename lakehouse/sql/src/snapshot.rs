//! One version of every table, and queries against it.

use std::{collections::BTreeSet, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::{
    common::{ParamValues, ScalarValue, TableReference},
    datasource::{MemTable, TableProvider, ViewTable},
    execution::{SendableRecordBatchStream, context::SQLOptions, runtime_env::RuntimeEnv},
    logical_expr::LogicalPlan,
    prelude::{Expr, SessionConfig, SessionContext, col, lit},
};
use deltalake::DeltaTable;
use event_schemas::{OffsetVector, Partition, Topic, VideoId};
use futures::TryStreamExt;
use lake_tables::{TableDef, schema, txn};

use crate::{QueryResult, SqlError, SqlOptions, VIEWS};

/// One version of every table. Cheap to clone.
#[derive(Clone)]
pub struct Snapshot {
    tables: Vec<(&'static TableDef, Option<DeltaTable>)>,
    providers: Vec<Arc<dyn TableProvider>>,
    runtime: Arc<RuntimeEnv>,
    options: SqlOptions,
    context: SessionContext,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let versions: Vec<_> =
            self.tables.iter().map(|(def, table)| (def.name, table.as_ref().and_then(DeltaTable::version))).collect();
        f.debug_struct("Snapshot").field("versions", &versions).finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(crate) async fn new(
        tables: Vec<(&'static TableDef, DeltaTable)>,
        runtime: Arc<RuntimeEnv>,
        options: SqlOptions,
    ) -> Result<Self, SqlError> {
        let failed = |error| SqlError::Failed(Box::new(error));
        let mut providers = Vec::with_capacity(tables.len());
        for (_, table) in &tables {
            providers.push(table.table_provider().await.map_err(failed)?);
        }
        let context = context(&runtime, options);
        for ((def, _), provider) in tables.iter().zip(&providers) {
            context.register_table(def.name, Arc::clone(provider)).map_err(failed)?;
        }
        let tables = tables.into_iter().map(|(def, table)| (def, Some(table))).collect();
        let snapshot = Self { tables, providers, runtime, options, context };
        snapshot.register_views().await?;
        Ok(snapshot)
    }

    /// The project's views over playback events in memory instead of the lake's, all of the schema
    /// of `playback_events`: for recounting rows at hand.
    ///
    /// # Errors
    /// The rows do not fit together.
    pub async fn in_memory(events: Vec<RecordBatch>, options: SqlOptions) -> Result<Self, SqlError> {
        let failed = |error| SqlError::Failed(Box::new(error));
        let runtime = crate::engine::runtime(options)?;
        let context = context(&runtime, options);
        let def = schema::playback_events();
        let table: Arc<dyn TableProvider> =
            Arc::new(MemTable::try_new(def.arrow_schema(), vec![events]).map_err(failed)?);
        context.register_table(def.name, Arc::clone(&table)).map_err(failed)?;
        let snapshot = Self { tables: vec![(def, None)], providers: vec![table], runtime, options, context };
        snapshot.register_views().await?;
        Ok(snapshot)
    }

    /// The same versions, as if the playback events of `videos` were all there were. Views then
    /// cost what these videos cost, as far as files can be skipped.
    ///
    /// # Errors
    /// The engine refuses the filter.
    pub async fn of_videos(&self, videos: &BTreeSet<VideoId>) -> Result<Self, SqlError> {
        let ids = videos.iter().map(|video| lit(video.to_string())).collect();
        self.of_events(col("video_id").in_list(ids, false)).await
    }

    /// The same versions, as if the playback events of `partition` of their topic were all there
    /// were. All events of a viewer are in one, so that each counter is the sum over partitions.
    ///
    /// # Errors
    /// The engine refuses the filter.
    pub async fn of_partition(&self, partition: Partition) -> Result<Self, SqlError> {
        self.of_events(col(schema::provenance::TOPIC_PARTITION).eq(lit(i64::from(partition.0)))).await
    }

    async fn of_events(&self, filter: Expr) -> Result<Self, SqlError> {
        let failed = |error| SqlError::Failed(Box::new(error));
        let context = context(&self.runtime, self.options);
        for ((def, _), provider) in self.tables.iter().zip(&self.providers) {
            let table = if def.name == schema::playback_events().name {
                let frame = context.read_table(Arc::clone(provider)).map_err(failed)?;
                frame.filter(filter.clone()).map_err(failed)?.into_view()
            } else {
                Arc::clone(provider)
            };
            context.register_table(def.name, table).map_err(failed)?;
        }
        let snapshot = Self { context, ..self.clone() };
        snapshot.register_views().await?;
        Ok(snapshot)
    }

    async fn register_views(&self) -> Result<(), SqlError> {
        if self.is_empty() {
            return Ok(());
        }
        let failed = |error| SqlError::Failed(Box::new(error));
        for view in VIEWS {
            let plan = self.context.state().create_logical_plan(view.sql).await.map_err(failed)?;
            let table = ViewTable::new(plan, Some(view.sql.to_owned()));
            self.context.register_table(view.name, Arc::new(table)).map_err(failed)?;
        }
        Ok(())
    }

    /// True if the lake's tables were never made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The version of the table `name`; none if it was never made.
    #[must_use]
    pub fn version(&self, name: &str) -> Option<u64> {
        self.tables.iter().find(|(def, _)| def.name == name).and_then(|(_, table)| table.as_ref()?.version())
    }

    /// What the playback events of this snapshot have taken into account.
    ///
    /// # Errors
    /// The lake can't be read.
    pub async fn offsets(&self, partitions: u32) -> Result<OffsetVector, SqlError> {
        match self.tables.iter().find(|(def, _)| def.name == schema::playback_events().name) {
            Some((_, Some(table))) => Ok(txn::offsets(table, Topic::Playback, partitions).await?),
            _ => Ok(OffsetVector::default()),
        }
    }

    /// The names of all tables and views.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let tables = self.tables.iter().map(|(def, _)| def.name);
        let views = VIEWS.iter().filter(|_| !self.is_empty()).map(|view| view.name);
        tables.chain(views).map(ToOwned::to_owned).collect()
    }

    /// Runs one query and collects its rows, up to the limit of rows.
    ///
    /// # Errors
    /// [`SqlError::ReadOnly`] for anything but a query; see [`SqlError`] for the rest.
    pub async fn query(&self, sql: &str) -> Result<QueryResult, SqlError> {
        self.query_with(sql, Vec::<(String, ScalarValue)>::new()).await
    }

    /// Runs one query whose `$name` parameters have these values.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn query_with(
        &self,
        sql: &str,
        parameters: Vec<(impl Into<String>, ScalarValue)>,
    ) -> Result<QueryResult, SqlError> {
        let parameters = parameters.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let run = async {
            let stream = self.start(sql, parameters).await?;
            self.collect(stream).await
        };
        match self.options.timeout {
            None => run.await,
            Some(limit) => {
                tokio::time::timeout(limit.to_duration(), run).await.map_err(|_| SqlError::Timeout(limit))?
            }
        }
    }

    /// Runs one query and gives its rows as they come, without a limit of rows or time. Errors in
    /// the stream are DataFusion's.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn stream(&self, sql: &str) -> Result<SendableRecordBatchStream, SqlError> {
        self.start(sql, Vec::new()).await
    }

    async fn collect(&self, mut stream: SendableRecordBatchStream) -> Result<QueryResult, SqlError> {
        let mut result = QueryResult { schema: stream.schema(), batches: Vec::new(), truncated: false };
        let mut room = self.options.max_rows.unwrap_or(usize::MAX);
        let memory = self.options.memory;
        while let Some(batch) = stream.try_next().await.map_err(|error| SqlError::running(error, memory))? {
            if batch.num_rows() > room {
                result.batches.push(batch.slice(0, room));
                result.truncated = true;
                break;
            }
            room -= batch.num_rows();
            result.batches.push(batch);
        }
        Ok(result)
    }

    async fn start(
        &self,
        sql: &str,
        parameters: Vec<(String, ScalarValue)>,
    ) -> Result<SendableRecordBatchStream, SqlError> {
        let plan = self.plan(sql).await?;
        let frame = self.context.execute_logical_plan(plan).await.map_err(SqlError::planning)?;
        let frame = if parameters.is_empty() {
            frame
        } else {
            let values = ParamValues::from(parameters);
            frame.with_param_values(values).map_err(SqlError::planning)?
        };
        frame.execute_stream().await.map_err(|error| match SqlError::planning(error) {
            SqlError::Failed(error) => SqlError::running(*error, self.options.memory),
            other => other,
        })
    }

    async fn plan(&self, sql: &str) -> Result<LogicalPlan, SqlError> {
        let state = self.context.state();
        let dialect = state.config().options().sql_parser.dialect;
        let statement = state.sql_to_statement(sql, &dialect).map_err(SqlError::planning)?;
        let references = state.resolve_table_references(&statement).map_err(SqlError::planning)?;
        let planned = state.statement_to_plan(statement).await;
        let plan = planned.map_err(|error| self.unknown(&references).unwrap_or_else(|| SqlError::planning(error)))?;
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)
            .map_err(|error| SqlError::ReadOnly(error.strip_backtrace()))?;
        Ok(plan)
    }

    /// What to say of a statement that can't be planned if it names something that is not there.
    fn unknown(&self, references: &[TableReference]) -> Option<SqlError> {
        let state = self.context.state();
        let missing = references.iter().find(|reference| {
            reference.schema().is_none_or(|schema| schema == "public")
                && !state.table_functions().contains_key(reference.table())
                && !self.context.table_exist((*reference).clone()).unwrap_or(false)
        })?;
        let known = self.names();
        Some(if known.is_empty() {
            SqlError::NoLake
        } else {
            SqlError::UnknownTable { name: missing.to_string(), known }
        })
    }
}

fn context(runtime: &Arc<RuntimeEnv>, options: SqlOptions) -> SessionContext {
    let mut config = SessionConfig::new().with_information_schema(true);
    if let Some(parallelism) = options.parallelism {
        config = config.with_target_partitions(parallelism);
    }
    SessionContext::new_with_config_rt(config, Arc::clone(runtime))
}
