//! The index behind an alias: which collection is live, and the switch from one to the next.
//!
//! Collections are named `<alias>.<something>` and never used again once dropped. While an index
//! is rebuilt, the alias `<alias>.next` names the new collection; every writer looks the aliases
//! up before it writes and writes to both, so a rebuild needs no agreement among processes.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use event_schemas::{Partition, VideoId};
use parking_lot::Mutex;
use qdrant_client::qdrant::{CollectionInfo, CreateAlias, DeleteAlias, DeleteCollection};
use search_index::{
    Applied, Change, DenseSpace, Hit, Position, RebuildIndex, SearchError, SearchIndex, SearchPage, SearchQuery,
    ordered_spaces,
};
use uuid::Uuid;

use crate::{
    collection::Collection,
    options::{Address, QdrantOptions},
    server::Server,
    shape,
};

/// How long it may take until a process follows a switch that another one made.
const FOLLOW: Duration = Duration::from_secs(1);

/// A [`SearchIndex`] on a Qdrant server, used by any number of processes.
pub struct QdrantIndex {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) server: Arc<Server>,
    /// The collections met, so that each is described once.
    known: Mutex<HashMap<String, Arc<Collection>>>,
    live: Mutex<Option<(Arc<Collection>, Instant)>>,
}

/// The collections that the aliases name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Aliased {
    live: Option<String>,
    next: Option<String>,
}

impl QdrantIndex {
    /// Connects to the server that `url` names, `qdrant://[:key@]host[:port]`, and opens the index
    /// there. Parameters of the address: `collection`, the alias of the index (`millrace-videos`
    /// if absent); `tls`; `rest_port`, for restoring snapshots (one below the gRPC port if
    /// absent); `shards` and `replicas` of collections that are made. Where there is no such
    /// alias, an empty index is made.
    ///
    /// # Errors
    /// [`SearchError::Refused`]: a bad address, a refused key, a server that is too old, a
    /// collection that does not fit; [`SearchError::Unavailable`]: no server answers.
    pub async fn open(url: &str, options: QdrantOptions) -> Result<Self, SearchError> {
        let spaces = ordered_spaces(options.spaces.clone())?;
        let server = Arc::new(Server::new(Address::parse(url)?, &options)?);
        server.greet().await?;
        let inner = Inner { server, known: Mutex::default(), live: Mutex::default() };
        let name = inner.found_or_made(&spaces).await?;
        if !options.accept_unfit {
            shape::check(&name, &inner.describe(&name).await?, &spaces)?;
        }
        inner.follow().await?;
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl std::fmt::Debug for QdrantIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = &self.inner.server.address;
        f.debug_struct("QdrantIndex").field("server", &address.shown).field("alias", &address.alias).finish()
    }
}

impl Inner {
    fn alias(&self) -> &str {
        &self.server.address.alias
    }

    fn next_alias(&self) -> String {
        format!("{}.next", self.alias())
    }

    /// A name for a collection that no other had or will have.
    pub(crate) fn new_name(&self) -> String {
        format!("{}.{}", self.alias(), Uuid::new_v4().simple())
    }

    async fn aliased(&self) -> Result<Aliased, SearchError> {
        let aliases = self.server.call("listing aliases", self.server.client.list_aliases()).await?.aliases;
        let named = |alias: &str| {
            aliases.iter().find(|found| found.alias_name == alias).map(|found| found.collection_name.clone())
        };
        let live = named(self.alias());
        // A crash after a switch leaves both names to one collection: nothing is being built then.
        let next = named(&self.next_alias()).filter(|next| Some(next) != live.as_ref());
        Ok(Aliased { live, next })
    }

    fn gone(&self) -> SearchError {
        let (alias, shown) = (self.alias(), &self.server.address.shown);
        SearchError::Damaged(format!(
            "Qdrant at {shown} has no alias {alias} any more: start again to make a new index"
        ))
    }

    async fn exists(&self, name: &str) -> Result<bool, SearchError> {
        self.server.call("looking for a collection", self.server.client.collection_exists(name)).await
    }

    pub(crate) async fn describe(&self, name: &str) -> Result<CollectionInfo, SearchError> {
        let call = self.server.client.collection_info(name);
        Ok(self.server.call("describing a collection", call).await?.result.unwrap_or_default())
    }

    /// The live collection; an empty one is made and put in place if there is none.
    async fn found_or_made(&self, spaces: &[DenseSpace]) -> Result<String, SearchError> {
        if let Some(live) = self.aliased().await?.live {
            return Ok(live);
        }
        if self.exists(self.alias()).await? {
            return Err(SearchError::Refused {
                problem: format!("{} is a Qdrant collection, where an alias is needed", self.alias()),
                remedy: "choose another name with ?collection= in the address".into(),
            });
        }
        // Processes that start at the same time make the same collection.
        let name = format!("{}.1", self.alias());
        if !self.exists(&name).await?
            && let Err(error) = self.create(&name, spaces).await
            && !self.exists(&name).await?
        {
            return Err(error);
        }
        self.point(self.alias(), &name).await?;
        Ok(name)
    }

    pub(crate) async fn create(&self, name: &str, spaces: &[DenseSpace]) -> Result<(), SearchError> {
        let address = &self.server.address;
        let request = shape::creation(name, spaces, address.shards, address.replicas);
        self.server.call("making a collection", self.server.client.create_collection(request)).await.map(drop)
    }

    /// Points an alias to a collection, whatever it pointed to: in one step.
    async fn point(&self, alias: &str, collection: &str) -> Result<(), SearchError> {
        let request = CreateAlias { collection_name: collection.to_owned(), alias_name: alias.to_owned() };
        self.server.call("pointing an alias", self.server.client.create_alias(request)).await.map(drop)
    }

    async fn unpoint(&self, alias: &str) -> Result<(), SearchError> {
        let request = DeleteAlias { alias_name: alias.to_owned() };
        self.server.call("deleting an alias", self.server.client.delete_alias(request)).await.map(drop)
    }

    pub(crate) async fn drop_collection(&self, name: &str) -> Result<(), SearchError> {
        let request = DeleteCollection { collection_name: name.to_owned(), timeout: None };
        self.server.call("dropping a collection", self.server.client.delete_collection(request)).await.map(drop)
    }

    async fn collection(&self, name: &str) -> Result<Arc<Collection>, SearchError> {
        if let Some(known) = self.known.lock().get(name) {
            return Ok(Arc::clone(known));
        }
        let info = self.describe(name).await?;
        let collection = Arc::new(Collection::known(Arc::clone(&self.server), name.to_owned(), &info).await?);
        self.known.lock().insert(name.to_owned(), Arc::clone(&collection));
        Ok(collection)
    }

    /// Looks up which collection is live.
    async fn follow(&self) -> Result<Arc<Collection>, SearchError> {
        let aliased = self.aliased().await?;
        let collection = self.collection(aliased.live.as_deref().ok_or_else(|| self.gone())?).await?;
        self.known.lock().retain(|name, _| Some(name) == aliased.live.as_ref() || Some(name) == aliased.next.as_ref());
        *self.live.lock() = Some((Arc::clone(&collection), Instant::now()));
        Ok(collection)
    }

    pub(crate) async fn live(&self) -> Result<Arc<Collection>, SearchError> {
        let cached = self.live.lock().clone();
        match cached {
            Some((collection, at)) if at.elapsed() < FOLLOW => Ok(collection),
            _ => self.follow().await,
        }
    }

    /// The outcome of `call` on the live collection, tried again if another process has put a new
    /// one in its place meanwhile.
    async fn on_live<T, Fut>(&self, call: impl Fn(Arc<Collection>) -> Fut) -> Result<T, SearchError>
    where
        Fut: Future<Output = Result<T, SearchError>>,
    {
        let collection = self.live().await?;
        let name = collection.name().to_owned();
        match call(collection).await {
            Err(SearchError::Damaged(problem)) => {
                let now = self.follow().await?;
                if now.name() == name { Err(SearchError::Damaged(problem)) } else { call(now).await }
            }
            other => other,
        }
    }

    async fn apply(
        &self,
        changes: Vec<Change>,
        position: Option<(Partition, Position)>,
    ) -> Result<Applied, SearchError> {
        let aliased = self.aliased().await?;
        let live = aliased.live.ok_or_else(|| self.gone())?;
        if let Some(next) = &aliased.next {
            match self.apply_to(next, changes.clone(), position).await {
                // The rebuild was given up.
                Err(SearchError::Damaged(problem)) => tracing::warn!(problem, "an index under construction is gone"),
                outcome => drop(outcome?),
            }
        }
        match self.apply_to(&live, changes.clone(), position).await {
            Err(SearchError::Damaged(problem)) => {
                let now = self.follow().await?;
                if now.name() == live {
                    return Err(SearchError::Damaged(problem));
                }
                now.apply(changes, position).await
            }
            outcome => outcome,
        }
    }

    async fn apply_to(
        &self,
        name: &str,
        changes: Vec<Change>,
        position: Option<(Partition, Position)>,
    ) -> Result<Applied, SearchError> {
        self.collection(name).await?.apply(changes, position).await
    }

    async fn begin(&self, spaces: &[DenseSpace]) -> Result<Arc<Collection>, SearchError> {
        self.abandon().await?;
        let live = self.follow().await?;
        let name = self.new_name();
        self.create(&name, spaces).await?;
        let new = self.collection(&name).await?;
        for (partition, position) in live.positions().await? {
            new.move_to(partition, position).await?;
        }
        self.point(&self.next_alias(), &name).await?;
        Ok(new)
    }

    async fn finish(&self) -> Result<(), SearchError> {
        let next = self.aliased().await?.next.ok_or(SearchError::NoRebuild)?;
        self.switch_to(&next).await
    }

    /// Makes `name` the live collection and drops the one before.
    pub(crate) async fn switch_to(&self, name: &str) -> Result<(), SearchError> {
        let aliased = self.aliased().await?;
        self.point(self.alias(), name).await?;
        self.follow().await?;
        if aliased.next.as_deref() == Some(name) {
            self.unpoint(&self.next_alias()).await?;
        }
        match aliased.live {
            Some(old) if old != name => self.drop_collection(&old).await,
            _ => Ok(()),
        }
    }

    /// Drops what is neither live nor named by another alias.
    async fn abandon(&self) -> Result<(), SearchError> {
        let aliased = self.aliased().await?;
        if aliased.next.is_some() {
            self.unpoint(&self.next_alias()).await?;
        }
        let all = self.server.call("listing collections", self.server.client.list_collections()).await?.collections;
        let mine = format!("{}.", self.alias());
        for collection in all {
            if collection.name.starts_with(&mine) && aliased.live.as_ref() != Some(&collection.name) {
                self.drop_collection(&collection.name).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl SearchIndex for QdrantIndex {
    async fn apply(
        &self,
        changes: Vec<Change>,
        position: Option<(Partition, Position)>,
    ) -> Result<Applied, SearchError> {
        check_versions(&changes)?;
        self.inner.apply(changes, position).await
    }

    async fn position(&self, partition: Partition) -> Result<Option<Position>, SearchError> {
        self.inner.on_live(|live| async move { live.position(partition).await }).await
    }

    async fn search(&self, query: &SearchQuery) -> Result<SearchPage, SearchError> {
        self.inner.on_live(|live| async move { live.search(query).await }).await
    }

    async fn similar(&self, video: VideoId, limit: usize) -> Result<Vec<Hit>, SearchError> {
        self.inner.on_live(|live| async move { live.similar(video, limit).await }).await
    }

    async fn similar_to_text(&self, text: &str, limit: usize) -> Result<Vec<Hit>, SearchError> {
        self.inner.on_live(|live| async move { live.similar_to_text(text, limit).await }).await
    }

    async fn document_count(&self) -> Result<u64, SearchError> {
        self.inner.on_live(|live| async move { live.document_count().await }).await
    }

    async fn spaces(&self) -> Result<Vec<DenseSpace>, SearchError> {
        Ok(self.inner.follow().await?.spaces().to_vec())
    }

    async fn check(&self) -> Result<(), SearchError> {
        self.inner.on_live(|live| async move { live.check().await }).await
    }
}

/// The server compares versions as floating-point numbers.
fn check_versions(changes: &[Change]) -> Result<(), SearchError> {
    const EXACT: i64 = 1 << 53;
    match changes.iter().map(Change::version).find(|version| !(-EXACT..=EXACT).contains(version)) {
        None => Ok(()),
        Some(version) => Err(SearchError::Damaged(format!("a change of version {version}, beyond 2^53"))),
    }
}

/// A collection by itself, as one that is being filled.
struct One(Arc<Collection>);

#[async_trait]
impl SearchIndex for One {
    async fn apply(
        &self,
        changes: Vec<Change>,
        position: Option<(Partition, Position)>,
    ) -> Result<Applied, SearchError> {
        check_versions(&changes)?;
        self.0.apply(changes, position).await
    }

    async fn position(&self, partition: Partition) -> Result<Option<Position>, SearchError> {
        self.0.position(partition).await
    }

    async fn search(&self, query: &SearchQuery) -> Result<SearchPage, SearchError> {
        self.0.search(query).await
    }

    async fn similar(&self, video: VideoId, limit: usize) -> Result<Vec<Hit>, SearchError> {
        self.0.similar(video, limit).await
    }

    async fn similar_to_text(&self, text: &str, limit: usize) -> Result<Vec<Hit>, SearchError> {
        self.0.similar_to_text(text, limit).await
    }

    async fn document_count(&self) -> Result<u64, SearchError> {
        self.0.document_count().await
    }

    async fn spaces(&self) -> Result<Vec<DenseSpace>, SearchError> {
        Ok(self.0.spaces().to_vec())
    }

    async fn check(&self) -> Result<(), SearchError> {
        self.0.check().await
    }
}

#[async_trait]
impl RebuildIndex for QdrantIndex {
    async fn begin_rebuild(&self, spaces: Vec<DenseSpace>) -> Result<Arc<dyn SearchIndex>, SearchError> {
        let spaces = ordered_spaces(spaces)?;
        Ok(Arc::new(One(self.inner.begin(&spaces).await?)))
    }

    async fn finish_rebuild(&self) -> Result<(), SearchError> {
        self.inner.finish().await
    }

    async fn abandon_rebuild(&self) -> Result<(), SearchError> {
        self.inner.abandon().await
    }
}
