//! A server in memory that speaks the client's own protocol: what it was asked is written down,
//! what it shall refuse can be told, and what it answers follows the rules of the real one as far
//! as the index uses them. Whether the real one keeps them is tested against the real one.

mod service;
mod store;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use parking_lot::Mutex;
use qdrant_client::qdrant::{
    ChangeAliases, CreateCollection, CreateFieldIndexCollection, DeleteCollection, GetPoints, PayloadSchemaInfo,
    PointStruct, QueryPoints, UpdateBatchPoints, UpsertPoints, collections_server::CollectionsServer,
    points_server::PointsServer, qdrant_server::QdrantServer, snapshots_server::SnapshotsServer,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

/// What the server was asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    Create(CreateCollection),
    Drop(DeleteCollection),
    Aliases(ChangeAliases),
    Index(CreateFieldIndexCollection),
    Upsert(UpsertPoints),
    Batch(UpdateBatchPoints),
    Get(GetPoints),
    Query(QueryPoints),
    /// A call whose content does not matter.
    Other(&'static str),
}

/// How a call goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is refused before anything is done.
    Before(Status),
    /// It is done, and the answer is lost.
    After(Status),
    /// It is never answered.
    Never,
}

#[derive(Debug, Default)]
pub struct Collection {
    pub creation: CreateCollection,
    pub indexes: BTreeMap<String, PayloadSchemaInfo>,
    pub points: BTreeMap<String, PointStruct>,
    pub snapshots: Vec<String>,
}

#[derive(Debug, Default)]
pub struct State {
    pub collections: BTreeMap<String, Collection>,
    pub aliases: BTreeMap<String, String>,
    pub asked: Vec<Asked>,
    pub faults: BTreeMap<&'static str, VecDeque<Fault>>,
    pub version: String,
    pub key: Option<String>,
}

/// The server; it ends with the test.
#[derive(Clone)]
pub struct Fake {
    pub state: Arc<Mutex<State>>,
    pub address: SocketAddr,
    stop: Arc<DropGuard>,
    task: Arc<tokio::sync::Mutex<tokio::task::JoinHandle<()>>>,
}

impl Fake {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), State { version: "1.18.3".into(), ..State::default() }).await
    }

    pub async fn start_at(address: SocketAddr, state: State) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(state));
        let service = Arc::new(service::Service { state: Arc::clone(&state) });
        let stop = CancellationToken::new();
        let serving = tonic::transport::Server::builder()
            .add_service(CollectionsServer::from_arc(Arc::clone(&service)).max_decoding_message_size(usize::MAX))
            .add_service(PointsServer::from_arc(Arc::clone(&service)).max_decoding_message_size(usize::MAX))
            .add_service(SnapshotsServer::from_arc(Arc::clone(&service)))
            .add_service(QdrantServer::from_arc(service))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned());
        let task = Arc::new(tokio::sync::Mutex::new(tokio::spawn(async move { serving.await.unwrap() })));
        Self { state, address, stop: Arc::new(stop.drop_guard()), task }
    }

    /// Ends the server and its connections; what it held can be given to one in its place.
    pub async fn stop(self) -> (SocketAddr, State) {
        let Self { state, address, stop, task } = self;
        drop(stop);
        (&mut *task.lock().await).await.unwrap();
        (address, std::mem::take(&mut *state.lock()))
    }

    pub fn url(&self, collection: &str) -> String {
        format!("qdrant://{}?collection={collection}", self.address)
    }

    /// The next call of `method` goes wrong.
    pub fn fault(&self, method: &'static str, fault: Fault) {
        self.state.lock().faults.entry(method).or_default().push_back(fault);
    }

    /// What it was asked since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().asked)
    }
}
