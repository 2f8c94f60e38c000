//! A failure at one chosen step: the nth write to the store of objects or to the log's positions
//! fails, or never returns, before or after it is done.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use event_log::{Appended, EventLog, LogError, ReadLimit, StoredRecord, Stream, TopicSpec, Watermarks};
use event_schemas::{Offset, Partition};
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart, path::Path,
};
use tokio::sync::Notify;

/// What happens at the chosen step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    FailBefore,
    FailAfter,
    HangBefore,
    HangAfter,
}

/// Counts steps and strikes at one of them.
#[derive(Debug)]
pub struct Trap {
    fault: Fault,
    at: usize,
    steps: AtomicUsize,
    /// Notified when the step hangs.
    pub hanging: Notify,
    /// Lets what hangs go on.
    pub release: Notify,
}

impl Trap {
    pub fn new(fault: Fault, at: usize) -> Arc<Self> {
        Arc::new(Self { fault, at, steps: AtomicUsize::new(0), hanging: Notify::new(), release: Notify::new() })
    }

    /// True if the chosen step was reached.
    pub fn struck(&self) -> bool {
        self.steps.load(Ordering::SeqCst) > self.at
    }

    async fn step<T, E>(
        &self,
        call: impl Future<Output = std::result::Result<T, E>>,
        error: E,
    ) -> std::result::Result<T, E> {
        if self.steps.fetch_add(1, Ordering::SeqCst) != self.at {
            return call.await;
        }
        match self.fault {
            Fault::FailBefore => Err(error),
            Fault::FailAfter => {
                call.await?;
                Err(error)
            }
            Fault::HangBefore => {
                self.hang().await;
                call.await
            }
            Fault::HangAfter => {
                let done = call.await;
                self.hang().await;
                done
            }
        }
    }

    async fn hang(&self) {
        self.hanging.notify_one();
        self.release.notified().await;
    }
}

fn injected() -> Error {
    Error::Generic { store: "trap", source: "injected".into() }
}

/// Objects with a trap. Only what is named so counts as a step.
#[derive(Debug)]
pub struct TrappedStore {
    pub inner: Arc<dyn ObjectStore>,
    pub trap: Arc<Trap>,
    /// Only writes to paths with this ending are steps.
    pub only: &'static str,
}

impl fmt::Display for TrappedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trapped {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for TrappedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let call = self.inner.put_opts(location, payload, opts);
        if location.as_ref().ends_with(self.only) { self.trap.step(call, injected()).await } else { call.await }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(location, opts).await?;
        if location.as_ref().ends_with(self.only) {
            return Ok(Box::new(TrappedUpload { upload, trap: self.trap.clone() }));
        }
        Ok(upload)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct TrappedUpload {
    upload: Box<dyn MultipartUpload>,
    trap: Arc<Trap>,
}

#[async_trait]
impl MultipartUpload for TrappedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.trap.step(self.upload.complete(), injected()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

/// A log with a trap on committing positions and registering.
pub struct TrappedLog {
    pub inner: Arc<dyn EventLog>,
    pub trap: Arc<Trap>,
}

#[async_trait]
impl EventLog for TrappedLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> std::result::Result<(), LogError> {
        self.inner.ensure_topic(spec).await
    }
    async fn partitions(&self, stream: Stream) -> std::result::Result<u32, LogError> {
        self.inner.partitions(stream).await
    }
    async fn append(
        &self,
        stream: Stream,
        p: Partition,
        records: Vec<Bytes>,
    ) -> std::result::Result<Appended, LogError> {
        self.inner.append(stream, p, records).await
    }
    async fn read(
        &self,
        stream: Stream,
        p: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> std::result::Result<Vec<StoredRecord>, LogError> {
        self.inner.read(stream, p, from, limit).await
    }
    async fn wait(&self, stream: Stream, p: Partition, from: Offset) -> std::result::Result<(), LogError> {
        self.inner.wait(stream, p, from).await
    }
    async fn watermarks(&self, stream: Stream, p: Partition) -> std::result::Result<Watermarks, LogError> {
        self.inner.watermarks(stream, p).await
    }
    async fn register_consumer(&self, consumer: &str, stream: Stream) -> std::result::Result<(), LogError> {
        self.inner.register_consumer(consumer, stream).await
    }
    async fn commit_position(
        &self,
        consumer: &str,
        stream: Stream,
        p: Partition,
        next: Offset,
    ) -> std::result::Result<(), LogError> {
        let call = self.inner.commit_position(consumer, stream, p, next);
        self.trap.step(call, LogError::Failed("injected".to_owned())).await
    }
    async fn committed_position(
        &self,
        consumer: &str,
        stream: Stream,
        p: Partition,
    ) -> std::result::Result<Offset, LogError> {
        self.inner.committed_position(consumer, stream, p).await
    }
    async fn check(&self) -> std::result::Result<(), LogError> {
        self.inner.check().await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}
