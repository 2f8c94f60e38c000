//! A store that fails by a seed, before or after the call it stands in for.

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart, path::Path,
};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// How often calls fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailurePlan {
    /// Decides which calls fail; the same seed and calls give the same failures.
    pub seed: u64,
    /// The share of calls that fail before they do anything, 0 to 1.
    pub before: f64,
    /// The share of calls that do what they should and fail all the same, 0 to 1.
    pub after: f64,
}

/// The failure that was injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Injected {
    /// Nothing was done.
    #[error("injected failure before the call")]
    Before,
    /// The call was done.
    #[error("injected failure after the call")]
    After,
}

/// Hands calls on to another store and lets some of them fail.
#[derive(Debug, Clone)]
pub struct FailingStore {
    inner: Arc<dyn ObjectStore>,
    dice: Arc<Dice>,
}

#[derive(Debug)]
struct Dice {
    plan: Mutex<FailurePlan>,
    random: Mutex<SmallRng>,
}

impl Dice {
    fn roll(&self) -> Option<Injected> {
        let plan = *self.plan.lock();
        let roll: f64 = self.random.lock().random();
        if roll < plan.before {
            Some(Injected::Before)
        } else if roll < plan.before + plan.after {
            Some(Injected::After)
        } else {
            None
        }
    }
}

fn error(injected: Injected) -> Error {
    Error::Generic { store: "FailingStore", source: Box::new(injected) }
}

impl FailingStore {
    /// `inner`, failing by `plan`.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, plan: FailurePlan) -> Self {
        let random = SmallRng::seed_from_u64(plan.seed);
        Self { inner, dice: Arc::new(Dice { plan: Mutex::new(plan), random: Mutex::new(random) }) }
    }

    /// From now on nothing fails.
    pub fn heal(&self) {
        let mut plan = self.dice.plan.lock();
        (plan.before, plan.after) = (0.0, 0.0);
    }

    async fn run<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let injected = self.dice.roll();
        if injected == Some(Injected::Before) {
            return Err(error(Injected::Before));
        }
        let done = call.await?;
        injected.map_or(Ok(done), |injected| Err(error(injected)))
    }
}

impl fmt::Display for FailingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FailingStore({})", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for FailingStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.run(self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.run(self.inner.put_multipart_opts(location, opts)).await?;
        Ok(Box::new(FailingUpload { upload, store: self.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.run(self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.run(self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.dice.roll() {
            Some(Injected::Before) => futures::stream::once(async { Err(error(Injected::Before)) }).boxed(),
            Some(Injected::After) => self
                .inner
                .delete_stream(locations)
                .map(|deleted| deleted.and_then(|_| Err(error(Injected::After))))
                .boxed(),
            None => self.inner.delete_stream(locations),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.dice.roll() {
            Some(injected) => {
                self.inner.list(prefix).chain(futures::stream::once(async move { Err(error(injected)) })).boxed()
            }
            None => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.run(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.run(self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.run(self.inner.rename_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct FailingUpload {
    upload: Box<dyn MultipartUpload>,
    store: FailingStore,
}

#[async_trait::async_trait]
impl MultipartUpload for FailingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self.upload.put_part(data);
        let store = self.store.clone();
        Box::pin(async move { store.run(part).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.run(self.upload.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.store.run(self.upload.abort()).await
    }
}
