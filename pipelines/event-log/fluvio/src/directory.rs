//! What the controller knows: topics, their partitions' leaders, and the brokers' addresses.
//! Kept for as long as it proves right; asked again when a broker says otherwise.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    sync::Arc,
    time::Duration,
};

use fluvio_protocol::{Decoder, Encoder, link::ErrorCode};
use fluvio_sc_schema::{
    AdminSpec, TryEncodableFrom,
    objects::{
        CommonCreateRequest, CreateRequest, ListFilter, ListRequest, ListResponse, Metadata, ObjectApiCreateRequest,
        ObjectApiListRequest,
    },
    partition::{PartitionResolution, PartitionSpec},
    spu::SpuSpec,
    topic::{CleanupPolicy, SegmentBasedPolicy, TopicSpec, TopicStorageConfig},
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    connection::{CallError, Pool, Target},
    decide::Layout,
};

/// What Fluvio keeps to where a topic does not say.
const DEFAULT_LAYOUT: Layout =
    Layout { retention_seconds: 7 * 86_400, partition_bytes: 107_374_182_400, segment_bytes: 1 << 30 };

/// A topic as the controller describes it.
#[derive(Debug, Clone)]
pub(crate) struct TopicEntry {
    /// Its partitions.
    pub partitions: u32,
    /// The copies of each of them.
    pub replication: u32,
    /// How it is kept.
    pub layout: Layout,
    /// What is known of each partition.
    pub places: BTreeMap<u32, PartitionEntry>,
}

/// Where a partition is.
#[derive(Debug, Clone)]
pub(crate) struct PartitionEntry {
    /// The broker that leads it, if its address is known.
    pub leader: Option<Target>,
    /// Whether the controller thinks it can be used.
    pub online: bool,
    /// What it takes on the leader's disk, if reported.
    pub size: Option<u64>,
}

/// The cluster at one moment.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Counts the times it was asked for.
    pub version: u64,
    asked: Instant,
    /// The topics by name.
    pub topics: HashMap<String, Arc<TopicEntry>>,
    /// The brokers that are up.
    pub brokers: usize,
}

/// Asks the controller, and remembers.
pub(crate) struct Directory {
    pool: Arc<Pool>,
    controller: Target,
    local_brokers: bool,
    timeout: Duration,
    known: Mutex<Option<Arc<Cluster>>>,
    asking: tokio::sync::Mutex<()>,
}

impl Directory {
    /// The directory of a cluster. Nothing is asked yet.
    pub fn new(pool: Arc<Pool>, controller: String, local_brokers: bool, timeout: Duration) -> Self {
        let controller = Target { address: controller, broker: None };
        Self {
            pool,
            controller,
            local_brokers,
            timeout,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// The cluster as last seen, or as it is now if it was never seen.
    pub async fn cluster(&self) -> Result<Arc<Cluster>, CallError> {
        let known = self.known.lock().clone();
        match known {
            Some(cluster) => Ok(cluster),
            None => self.newer_than(0).await,
        }
    }

    /// The cluster, seen within `age`.
    pub async fn fresh(&self, age: Duration) -> Result<Arc<Cluster>, CallError> {
        let cluster = self.cluster().await?;
        if cluster.asked.elapsed() <= age { Ok(cluster) } else { self.newer_than(cluster.version).await }
    }

    /// The cluster, seen after the version that proved wrong. Callers at the same time ask once.
    pub async fn newer_than(&self, version: u64) -> Result<Arc<Cluster>, CallError> {
        let _one = self.asking.lock().await;
        let known = self.known.lock().clone();
        if let Some(cluster) = &known
            && cluster.version > version
        {
            return Ok(cluster.clone());
        }
        let cluster = Arc::new(self.ask(known.map_or(0, |c| c.version) + 1).await?);
        *self.known.lock() = Some(cluster.clone());
        Ok(cluster)
    }

    /// Makes a topic; fine if it exists.
    pub async fn create(&self, name: &str, partitions: u32, replication: u32, layout: Layout) -> Result<(), String> {
        let mut spec = TopicSpec::new_computed(partitions, replication, None);
        spec.set_cleanup_policy(CleanupPolicy::Segment(SegmentBasedPolicy {
            time_in_seconds: layout.retention_seconds,
        }));
        spec.set_storage(TopicStorageConfig {
            segment_size: Some(layout.segment_bytes),
            max_partition_size: Some(layout.partition_bytes),
        });
        let common = CommonCreateRequest { name: name.to_owned(), dry_run: false, timeout: None };
        let build = |version| {
            ObjectApiCreateRequest::try_encode_from(CreateRequest::new(common, spec), version)
                .map_err(|e| e.to_string())
        };
        // The controller answers when all partitions have a leader, which the caller watches
        // for itself: no answer in time is no failure.
        match self.pool.call_built(&self.controller, self.timeout, build).await {
            Ok(status) => match status.error_code {
                ErrorCode::None | ErrorCode::TopicAlreadyExists | ErrorCode::TopicNotProvisioned => Ok(()),
                code => Err(status.error_message.unwrap_or_else(|| code.to_string())),
            },
            Err(CallError::NoAnswer(_)) => Ok(()),
            Err(CallError::NotSent(why)) => Err(why),
        }
    }

    async fn ask(&self, version: u64) -> Result<Cluster, CallError> {
        let asked = Instant::now();
        let brokers: HashMap<i32, Broker> = self
            .list::<SpuSpec>()
            .await?
            .into_iter()
            .map(|spu| (spu.spec.id, Broker { target: self.target(&spu), online: spu.status.is_online() }))
            .collect();
        let mut topics: HashMap<String, TopicEntry> =
            self.list::<TopicSpec>().await?.into_iter().map(|topic| (topic.name, entry(&topic.spec))).collect();
        for partition in self.list::<PartitionSpec>().await? {
            // A partition's key is its topic's name, a hyphen and its number.
            let Some((topic, number)) = partition.name.rsplit_once('-') else { continue };
            let (Some(topic), Ok(number)) = (topics.get_mut(topic), number.parse()) else { continue };
            let broker = brokers.get(&partition.spec.leader);
            let place = PartitionEntry {
                leader: broker.map(|b| b.target.clone()),
                online: partition.status.resolution == PartitionResolution::Online && broker.is_some_and(|b| b.online),
                size: u64::try_from(partition.status.size).ok(),
            };
            topic.places.insert(number, place);
        }
        let topics = topics.into_iter().map(|(name, topic)| (name, Arc::new(topic))).collect();
        let brokers = brokers.values().filter(|broker| broker.online).count();
        Ok(Cluster { version, asked, topics, brokers })
    }

    fn target(&self, spu: &Metadata<SpuSpec>) -> Target {
        let address = match &spu.spec.public_endpoint_local {
            Some(local) if self.local_brokers => format!("{}:{}", local.host, local.port),
            _ => spu.spec.public_endpoint.addr(),
        };
        Target { address, broker: Some(spu.name.clone()) }
    }

    async fn list<S>(&self) -> Result<Vec<Metadata<S>>, CallError>
    where
        S: AdminSpec + Debug,
        S::Status: Encoder + Decoder + Debug,
    {
        let build = |version| {
            let request = ListRequest::<S>::new(Vec::<ListFilter>::new(), false);
            ObjectApiListRequest::try_encode_from(request, version).map_err(|e| e.to_string())
        };
        // An idle connection may be one to a controller that was restarted since.
        let answer = match self.pool.call_built(&self.controller, self.timeout, build).await {
            Err(CallError::NoAnswer(_)) => self.pool.call_built(&self.controller, self.timeout, build).await?,
            answer => answer?,
        };
        let listed: Option<ListResponse<S>> = answer.downcast().map_err(|e| CallError::NoAnswer(e.to_string()))?;
        let listed = listed.ok_or_else(|| CallError::NoAnswer(format!("the controller listed no {}", S::LABEL)))?;
        Ok(listed.inner())
    }
}

struct Broker {
    target: Target,
    online: bool,
}

fn entry(spec: &TopicSpec) -> TopicEntry {
    let storage = spec.get_storage();
    let layout = Layout {
        retention_seconds: spec
            .get_clean_policy()
            .map_or(DEFAULT_LAYOUT.retention_seconds, CleanupPolicy::retention_secs),
        partition_bytes: storage.and_then(|s| s.max_partition_size).unwrap_or(DEFAULT_LAYOUT.partition_bytes),
        segment_bytes: storage.and_then(|s| s.segment_size).unwrap_or(DEFAULT_LAYOUT.segment_bytes),
    };
    TopicEntry {
        partitions: spec.partitions(),
        replication: spec.replication_factor().unwrap_or(1),
        layout,
        places: BTreeMap::new(),
    }
}
