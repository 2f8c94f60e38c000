//! Opening the tables over an object store.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType as ArrowType, TimeUnit};
use deltalake::{
    DeltaTable, DeltaTableBuilder, DeltaTableError,
    kernel::{DataType, MetadataValue, PrimitiveType, StructField, transaction::CommitProperties},
    operations::create::CreateBuilder,
    protocol::SaveMode,
};
use object_store::ObjectStore;
use url::Url;

use crate::{LakeError, TableDef, ordered::Ordered};

/// A commit in this many is followed by a checkpoint, from which a table is opened.
const CHECKPOINT_EVERY: u32 = 100;

/// Where the tables lie.
#[derive(Debug, Clone)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    root: Url,
}

impl Lake {
    /// The lake whose tables are the folders under `prefix` of `store`.
    ///
    /// # Errors
    /// [`LakeError::Address`] if `prefix` is no path.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self, LakeError> {
        // delta-rs takes paths of the scheme `memory` as paths in whatever store it is given; for
        // `file` it would look at the machine's own file system besides.
        let address = format!("memory:///{}/", prefix.trim_matches('/'));
        let root = Url::parse(&address).map_err(|_| LakeError::Address(address))?;
        Ok(Self { store: Arc::new(Ordered(store)), root })
    }

    /// The lake in the folder `lake` of a store, where every part of the program expects it.
    ///
    /// # Errors
    /// None for this prefix.
    pub fn local(store: Arc<dyn ObjectStore>) -> Result<Self, LakeError> {
        Self::new(store, "lake")
    }

    /// The store that the tables lie in; its paths are those of [`Self::address`].
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The address of the lake: its path is that of its folder in the store. Whoever resolves
    /// addresses of its scheme and authority has to find [`Self::store`] there.
    #[must_use]
    pub fn address(&self) -> &Url {
        &self.root
    }

    /// The table at its newest version; none if it was never created.
    ///
    /// # Errors
    /// The store fails, or holds something else in its place.
    pub async fn open(&self, def: &'static TableDef) -> Result<Option<DeltaTable>, LakeError> {
        let mut table = self.builder(def)?.build()?;
        match table.load().await {
            Ok(()) => Ok(Some(table)),
            Err(DeltaTableError::NotATable(_) | DeltaTableError::InvalidTableLocation(_)) => Ok(None),
            Err(error) => {
                // A missing table shows as one of several errors, depending on the store.
                if table.verify_deltatable_existence().await? { Err(error.into()) } else { Ok(None) }
            }
        }
    }

    /// The table at its newest version, created if absent and given the columns that it lacks.
    /// What this version does not know is left alone.
    ///
    /// # Errors
    /// [`LakeError::Column`] if a column has another type; the store fails.
    pub async fn open_or_create(&self, def: &'static TableDef) -> Result<DeltaTable, LakeError> {
        let table = match self.open(def).await? {
            Some(table) => table,
            None => self.create(def).await?,
        };
        self.grow(def, table).await
    }

    fn builder(&self, def: &TableDef) -> Result<DeltaTableBuilder, LakeError> {
        let address = format!("{}{}/", self.root, def.name);
        let url = Url::parse(&address).map_err(|_| LakeError::Address(address))?;
        Ok(DeltaTableBuilder::from_url(url.clone())?.with_storage_backend(Arc::clone(&self.store), url))
    }

    async fn create(&self, def: &'static TableDef) -> Result<DeltaTable, LakeError> {
        let log_store = self.builder(def)?.build()?.log_store();
        let created = CreateBuilder::new()
            .with_log_store(log_store)
            .with_table_name(def.name)
            .with_comment(def.meaning)
            .with_save_mode(SaveMode::ErrorIfExists)
            .with_columns(fields(def)?)
            .with_partition_columns(def.partitioned_by.iter().copied())
            // Without this, the later of two creations goes on as a second version that replaces
            // the metadata of the first.
            .with_commit_properties(CommitProperties::default().with_max_retries(0))
            .with_configuration(HashMap::from([
                ("delta.checkpointInterval".to_owned(), Some(CHECKPOINT_EVERY.to_string())),
                ("delta.dataSkippingStatsColumns".to_owned(), Some(def.skipping.join(","))),
            ]))
            .await;
        match created {
            Ok(table) => Ok(table),
            // Another process was first, or the reply was lost.
            Err(error) => self.open(def).await?.ok_or_else(|| error.into()),
        }
    }

    async fn grow(&self, def: &'static TableDef, table: DeltaTable) -> Result<DeltaTable, LakeError> {
        let present = table.snapshot()?.schema();
        let mut missing = Vec::new();
        for field in fields(def)? {
            match present.field(field.name()) {
                Some(found) if found.data_type() == field.data_type() => {}
                Some(found) => {
                    return Err(LakeError::Column {
                        table: def.name,
                        column: field.name().clone(),
                        found: found.data_type().to_string(),
                        expected: field.data_type().to_string(),
                    });
                }
                None => missing.push(StructField { nullable: true, ..field }),
            }
        }
        if missing.is_empty() {
            return Ok(table);
        }
        let grown = table.clone().add_columns().with_fields(missing).await;
        match grown {
            Ok(table) => Ok(table),
            Err(error) => {
                // Another process may have added them at the same moment.
                let Some(table) = self.open(def).await? else { return Err(error.into()) };
                let schema = table.snapshot()?.schema();
                let complete = def.columns.iter().all(|column| schema.field(column.name).is_some());
                if complete { Ok(table) } else { Err(error.into()) }
            }
        }
    }
}

fn fields(def: &'static TableDef) -> Result<Vec<StructField>, LakeError> {
    def.columns
        .iter()
        .map(|column| {
            let data_type = match &column.data_type {
                ArrowType::Utf8 => PrimitiveType::String,
                ArrowType::Int64 => PrimitiveType::Long,
                ArrowType::Float32 => PrimitiveType::Float,
                ArrowType::Float64 => PrimitiveType::Double,
                ArrowType::Boolean => PrimitiveType::Boolean,
                ArrowType::Date32 => PrimitiveType::Date,
                ArrowType::Binary => PrimitiveType::Binary,
                ArrowType::Timestamp(TimeUnit::Microsecond, Some(zone)) if &**zone == "UTC" => PrimitiveType::Timestamp,
                other => {
                    let what = format!("has no Delta type for {other} of column `{}`", column.name);
                    return Err(LakeError::Broken { table: def.name, what });
                }
            };
            Ok(StructField::new(column.name, DataType::Primitive(data_type), column.nullable)
                .with_metadata([("comment", MetadataValue::String(column.meaning.to_owned()))]))
        })
        .collect()
}
