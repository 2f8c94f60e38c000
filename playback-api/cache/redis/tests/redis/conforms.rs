//! The conformance suite.

use std::sync::Arc;

use futures::future::join_all;
use serving_store::{
    ServingStore, conformance,
    failing::{FailingStore, FailurePlan},
};
use serving_store_redis::{Options, RedisStore};
use tokio::sync::Mutex;

use crate::server::{Server, fresh};

async fn conforms(url: &str) {
    let opened = Mutex::new(Vec::new());
    let open = async |options: &Options| {
        let store = RedisStore::open(url, options).await.unwrap();
        opened.lock().await.push(Arc::clone(&store));
        store
    };
    conformance::run_all(|| async { open(&fresh()).await as _ }).await;
    conformance::run_shared(|| async {
        let options = fresh();
        [open(&options).await as _, open(&options).await as _]
    })
    .await;
    join_all(opened.into_inner().iter().map(|store| store.clear())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_conforms() {
    if let Ok(url) = std::env::var("MILLRACE_TEST_REDIS") {
        conforms(&url).await;
    }
    let Some(server) = Server::start() else { return };
    conforms(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_conforms_on_a_socket_in_another_database() {
    let Some(server) = Server::start() else { return };
    conforms(&format!("unix://{}?db=5", server.socket().display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failing_redis_conforms_for_those_who_repeat() {
    let Some(server) = Server::start() else { return };
    conformance::run_all(|| async {
        let inner: Arc<dyn ServingStore> = server.store().await;
        Arc::new(FailingStore::new(inner, FailurePlan { seed: 5, before: 0.2, after: 0.2 })) as _
    })
    .await;
}
