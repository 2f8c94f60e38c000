//! The index on one machine's disk, kept by tantivy.
//!
//! The directory holds a lock, the live index in a directory of its own, one being built beside
//! it at times, and `current`, a file with the name of the live one: writing that file is the
//! switch from one index to the next.

mod generation;
mod query;
mod schema;
mod vectors;

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use event_schemas::{Partition, VideoId};
use parking_lot::{Mutex, RwLock};

use self::{generation::Generation, schema::FORMAT};
use crate::{
    Applied, Change, DenseSpace, Hit, Position, RebuildIndex, SearchError, SearchIndex, SearchPage, SearchQuery,
    ordered_spaces,
};

const CURRENT: &str = "current";
const LOCK: &str = "lock";

/// What was found at opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The index of an earlier run, with its positions.
    Existing,
    /// An empty index without positions: the caller fills it from the start of the log.
    Fresh {
        /// Why what was there could not be used; none if nothing was there.
        instead_of: Option<String>,
    },
}

/// A [`SearchIndex`] in one directory, used by one process.
pub struct EmbeddedIndex {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    _lock: File,
    live: RwLock<Arc<Generation>>,
    /// Held by whoever changes an index or which one is live. Inside: the one being built.
    building: Mutex<Option<Arc<Generation>>>,
}

impl EmbeddedIndex {
    /// Opens the index in `directory`, or makes one that holds no dense spaces; see
    /// [`EmbeddedIndex::open_with`].
    ///
    /// # Errors
    /// A failing disk; another process uses the index.
    pub async fn open(directory: impl Into<PathBuf>) -> Result<(Self, Opened), SearchError> {
        Self::open_with(directory, Vec::new()).await
    }

    /// Opens the index in `directory`, or makes one that holds `spaces`. An index of another
    /// format, or one that is damaged, is replaced by an empty one: the log and the catalog have
    /// what it held. One that holds other spaces is opened as it is: see [`SearchIndex::spaces`],
    /// and [`RebuildIndex`] for a new one.
    ///
    /// # Errors
    /// Two spaces of one kind; a failing disk; another process uses the index.
    pub async fn open_with(
        directory: impl Into<PathBuf>,
        spaces: Vec<DenseSpace>,
    ) -> Result<(Self, Opened), SearchError> {
        let directory = directory.into();
        let spaces = ordered_spaces(spaces)?;
        let (inner, opened) = blocking(move || open(directory, spaces)).await?;
        if let Opened::Fresh { instead_of: Some(reason) } = &opened {
            tracing::warn!(reason, "the search index is built anew");
        }
        Ok((Self { inner: Arc::new(inner) }, opened))
    }

    fn live(&self) -> One {
        One(Arc::clone(&self.inner.live.read()))
    }
}

impl std::fmt::Debug for EmbeddedIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedIndex").finish_non_exhaustive()
    }
}

/// Runs `work` where it may block. It goes on if the future is dropped.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SearchError> + Send + 'static,
) -> Result<T, SearchError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| SearchError::Unavailable(error.to_string()))?
}

fn open(directory: PathBuf, spaces: Vec<DenseSpace>) -> Result<(Inner, Opened), SearchError> {
    fs::create_dir_all(&directory)?;
    let lock = File::create(directory.join(LOCK))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            SearchError::Unavailable(format!("another process uses the search index in {}", directory.display()))
        }
        TryLockError::Error(error) => error.into(),
    })?;
    let (existing, mut instead_of) = match open_current(&directory) {
        Ok(Some(generation)) => (Some(generation), None),
        Ok(None) => (None, None),
        Err(SearchError::Damaged(reason)) => (None, Some(reason)),
        Err(error) => return Err(error),
    };
    let keep = existing.as_ref().map(|generation| generation.path().to_owned());
    for entry in fs::read_dir(&directory)? {
        let path = entry?.path();
        let known = [Some(directory.join(LOCK)), Some(directory.join(CURRENT)), keep.clone()];
        if !known.contains(&Some(path.clone())) {
            if existing.is_none() {
                instead_of.get_or_insert_with(|| format!("{} is of another format", path.display()));
            }
            if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
    }
    let (generation, opened) = match existing {
        Some(generation) => (generation, Opened::Existing),
        None => {
            let generation = Generation::create(&unused(&directory)?, spaces, BTreeMap::new())?;
            switch(&directory, &generation)?;
            (generation, Opened::Fresh { instead_of })
        }
    };
    let live = RwLock::new(Arc::new(generation));
    Ok((Inner { directory, _lock: lock, live, building: Mutex::new(None) }, opened))
}

/// The index that `current` names; none if it names none of this format.
fn open_current(directory: &Path) -> Result<Option<Generation>, SearchError> {
    let name = match fs::read_to_string(directory.join(CURRENT)) {
        Ok(name) => name,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let number = name.strip_prefix(&format!("v{FORMAT}-"));
    if !number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(SearchError::Damaged(format!("{name:?} names no index of this format")));
    }
    let path = directory.join(name);
    if !path.join("meta.json").exists() {
        return Err(SearchError::Damaged(format!("{} is not there", path.display())));
    }
    Generation::open(&path).map(Some)
}

/// The path of the next index.
fn unused(directory: &Path) -> Result<PathBuf, SearchError> {
    let mut number = 1;
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let taken = name.to_str().and_then(|name| name.strip_prefix(&format!("v{FORMAT}-"))?.parse::<u64>().ok());
        number = number.max(taken.map_or(0, |taken| taken.saturating_add(1)));
    }
    Ok(directory.join(format!("v{FORMAT}-{number}")))
}

/// Makes `generation` the one that the next opening finds.
fn switch(directory: &Path, generation: &Generation) -> Result<(), SearchError> {
    let name = generation.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let draft = directory.join("current.new");
    let mut file = File::create(&draft)?;
    file.write_all(name.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, directory.join(CURRENT))?;
    File::open(directory)?.sync_all()?;
    Ok(())
}

impl Inner {
    fn apply(&self, changes: Vec<Change>, position: Option<(Partition, Position)>) -> Result<Applied, SearchError> {
        let mut building = self.building.lock();
        let also = building.as_ref().map(|_| changes.clone());
        let live = Arc::clone(&self.live.read());
        let applied = live.apply(changes, position)?;
        if let (Some(new), Some(changes)) = (building.as_ref(), also)
            && let Err(error) = new.apply(changes, position)
        {
            tracing::error!(%error, "the rebuild of the search index is given up");
            new.delete();
            *building = None;
        }
        Ok(applied)
    }

    fn begin(&self, spaces: Vec<DenseSpace>) -> Result<Arc<Generation>, SearchError> {
        let mut building = self.building.lock();
        if let Some(unfinished) = building.take() {
            unfinished.delete();
        }
        let positions = self.live.read().positions()?;
        let new = Arc::new(Generation::create(&unused(&self.directory)?, spaces, positions)?);
        *building = Some(Arc::clone(&new));
        Ok(new)
    }

    fn finish(&self) -> Result<(), SearchError> {
        let mut building = self.building.lock();
        let new = building.as_ref().ok_or(SearchError::NoRebuild)?;
        switch(&self.directory, new)?;
        let old = std::mem::replace(&mut *self.live.write(), Arc::clone(new));
        *building = None;
        old.delete();
        Ok(())
    }

    fn abandon(&self) {
        if let Some(unfinished) = self.building.lock().take() {
            unfinished.delete();
        }
    }
}

/// One index, live or being built.
struct One(Arc<Generation>);

impl One {
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Generation) -> Result<T, SearchError> + Send + 'static,
    ) -> Result<T, SearchError> {
        let generation = Arc::clone(&self.0);
        blocking(move || work(&generation)).await
    }
}

#[async_trait]
impl SearchIndex for One {
    async fn apply(
        &self,
        changes: Vec<Change>,
        position: Option<(Partition, Position)>,
    ) -> Result<Applied, SearchError> {
        self.run(move |index| index.apply(changes, position)).await
    }

    async fn position(&self, partition: Partition) -> Result<Option<Position>, SearchError> {
        self.run(move |index| Ok(index.positions()?.get(&partition).copied())).await
    }

    async fn search(&self, query: &SearchQuery) -> Result<SearchPage, SearchError> {
        let query = query.clone();
        self.run(move |index| index.search(&query)).await
    }

    async fn similar(&self, video: VideoId, limit: usize) -> Result<Vec<Hit>, SearchError> {
        self.run(move |index| index.similar(video, limit)).await
    }

    async fn similar_to_text(&self, text: &str, limit: usize) -> Result<Vec<Hit>, SearchError> {
        let text = text.to_owned();
        self.run(move |index| index.similar_to_text(&text, limit)).await
    }

    async fn document_count(&self) -> Result<u64, SearchError> {
        self.run(Generation::document_count).await
    }

    async fn spaces(&self) -> Result<Vec<DenseSpace>, SearchError> {
        Ok(self.0.spaces().to_vec())
    }

    async fn check(&self) -> Result<(), SearchError> {
        self.run(|index| index.positions().map(drop)).await
    }
}

#[async_trait]
impl SearchIndex for EmbeddedIndex {
    async fn apply(
        &self,
        changes: Vec<Change>,
        position: Option<(Partition, Position)>,
    ) -> Result<Applied, SearchError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.apply(changes, position)).await
    }

    async fn position(&self, partition: Partition) -> Result<Option<Position>, SearchError> {
        self.live().position(partition).await
    }

    async fn search(&self, query: &SearchQuery) -> Result<SearchPage, SearchError> {
        self.live().search(query).await
    }

    async fn similar(&self, video: VideoId, limit: usize) -> Result<Vec<Hit>, SearchError> {
        self.live().similar(video, limit).await
    }

    async fn similar_to_text(&self, text: &str, limit: usize) -> Result<Vec<Hit>, SearchError> {
        self.live().similar_to_text(text, limit).await
    }

    async fn document_count(&self) -> Result<u64, SearchError> {
        self.live().document_count().await
    }

    async fn spaces(&self) -> Result<Vec<DenseSpace>, SearchError> {
        self.live().spaces().await
    }

    async fn check(&self) -> Result<(), SearchError> {
        self.live().check().await
    }
}

#[async_trait]
impl RebuildIndex for EmbeddedIndex {
    async fn begin_rebuild(&self, spaces: Vec<DenseSpace>) -> Result<Arc<dyn SearchIndex>, SearchError> {
        let spaces = ordered_spaces(spaces)?;
        let inner = Arc::clone(&self.inner);
        let new = blocking(move || inner.begin(spaces)).await?;
        Ok(Arc::new(One(new)))
    }

    async fn finish_rebuild(&self) -> Result<(), SearchError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.finish()).await
    }

    async fn abandon_rebuild(&self) -> Result<(), SearchError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            inner.abandon();
            Ok(())
        })
        .await
    }
}
