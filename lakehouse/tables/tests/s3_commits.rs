//! Several writers of one table in a bucket, with nothing between them but the bucket: each commit
//! lands once, no version is written twice, and who comes too late is told so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

use std::{fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, cast::AsArray as _},
    datatypes::{DataType, Int64Type},
};
use deltalake::{
    DeltaTable, DeltaTableError,
    kernel::{Transaction, transaction::CommitProperties},
};
use event_schemas::{ByteSize, Offset, Partition, Topic};
use futures::{TryStreamExt, future::join_all, stream::BoxStream};
use lake_tables::{Column, Lake, LakeError, TableDef, txn};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use objects::{FileSystemProbe, FreeSpaceGuard};
use parking_lot::Mutex;
use s3_server::{ACCESS_KEY, Options, Reply, S3Server, SECRET_KEY};
use tokio::sync::{Semaphore, mpsc};

const WRITERS: i64 = 4;
const APPENDS: i64 = 4;

fn numbers() -> &'static TableDef {
    let column = Column { name: "n", data_type: DataType::Int64, nullable: false, meaning: "a number of the test" };
    let def = TableDef {
        name: "numbers",
        meaning: "Numbers of a test.",
        columns: vec![column],
        partitioned_by: &[],
        skipping: &["n"],
    };
    Box::leak(Box::new(def))
}

/// What became of the puts under a table's log.
#[derive(Debug, Default)]
struct Seen {
    written: Vec<String>,
    refused: usize,
    unconditional: Vec<String>,
}

/// Watches a writer's commits, and lets each wait for leave.
#[derive(Debug, Clone)]
struct Watched {
    inner: Arc<dyn ObjectStore>,
    seen: Arc<Mutex<Seen>>,
    /// Tells of each commit that waits.
    waiting: mpsc::UnboundedSender<String>,
    leave: Arc<Semaphore>,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

fn is_commit(location: &Path) -> bool {
    location.as_ref().contains("/_delta_log/") && location.extension() == Some("json")
}

#[async_trait::async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if !is_commit(location) {
            return self.inner.put_opts(location, payload, opts).await;
        }
        let _ = self.waiting.send(location.to_string());
        let _leave = self.leave.acquire().await.unwrap();
        let created = matches!(opts.mode, PutMode::Create);
        let put = self.inner.put_opts(location, payload, opts).await;
        let mut seen = self.seen.lock();
        match &put {
            _ if !created => seen.unconditional.push(location.to_string()),
            Ok(_) => seen.written.push(location.to_string()),
            Err(Error::AlreadyExists { .. }) => seen.refused += 1,
            Err(_) => {}
        }
        put
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        if is_commit(location) {
            self.seen.lock().unconditional.push(location.to_string());
        }
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if is_commit(to) {
            self.seen.lock().unconditional.push(to.to_string());
        }
        self.inner.copy_opts(from, to, options).await
    }
}

struct World {
    dir: tempfile::TempDir,
    server: S3Server,
    seen: Arc<Mutex<Seen>>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = S3Server::start(Options::new(dir.path(), "lake-bucket")).await.unwrap();
        Self { dir, server, seen: Arc::default() }
    }

    /// A writer with a client of its own, as another process has. None of its commits waits until
    /// it is paused.
    async fn writer(&self) -> (Lake, Watched, mpsc::UnboundedReceiver<String>) {
        let url = format!("s3://{ACCESS_KEY}:{SECRET_KEY}@lake-bucket/millrace?endpoint={}", self.server.endpoint());
        let space = FreeSpaceGuard::new(self.dir.path(), ByteSize(0), Arc::new(FileSystemProbe));
        let inner = objects::open_objects(&url.parse().unwrap(), space).await.unwrap().store;
        let (waiting, waits) = mpsc::unbounded_channel();
        let leave = Arc::new(Semaphore::new(1));
        let watched = Watched { inner, seen: Arc::clone(&self.seen), waiting, leave };
        (Lake::local(Arc::new(watched.clone())).unwrap(), watched, waits)
    }
}

async fn append(table: DeltaTable, n: i64, properties: CommitProperties) -> std::result::Result<DeltaTable, LakeError> {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![n]));
    let schema = numbers().arrow_schema();
    let batch = RecordBatch::try_new(schema, vec![column]).unwrap();
    table.write([batch]).with_commit_properties(properties).await.map_err(|error: DeltaTableError| error.into())
}

async fn rows(lake: &Lake) -> Vec<i64> {
    let table = lake.open(numbers()).await.unwrap().unwrap();
    let (_, stream) = table.scan_table().await.unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let mut rows: Vec<i64> =
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    rows.sort_unstable();
    rows
}

async fn commits(store: &dyn ObjectStore) -> Vec<String> {
    let log = Path::from("lake/numbers/_delta_log");
    let all: Vec<Path> = store.list(Some(&log)).map_ok(|meta| meta.location).try_collect().await.unwrap();
    all.iter().filter(|location| is_commit(location)).map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_appends_each_land_once_and_no_version_is_written_twice() {
    let world = World::new().await;
    let (lake, watched, _waits) = world.writer().await;
    lake.open_or_create(numbers()).await.unwrap();
    let writers = join_all((0..WRITERS).map(|_| world.writer())).await;
    let running = writers.into_iter().zip(0..).map(|((lake, ..), writer)| {
        tokio::spawn(async move {
            for n in writer * APPENDS..(writer + 1) * APPENDS {
                // Each from the newest snapshot, as often as it takes: a writer that loses to all
                // others in turn begins anew, having written nothing.
                loop {
                    let table = lake.open(numbers()).await.unwrap().unwrap();
                    match append(table, n, CommitProperties::default()).await {
                        Ok(_) => break,
                        Err(error) => assert!(error.is_conflict(), "{error:?}"),
                    }
                }
            }
        })
    });
    for writer in join_all(running).await {
        writer.unwrap();
    }
    assert_eq!(rows(&lake).await, (0..WRITERS * APPENDS).collect::<Vec<_>>());

    let mut seen = std::mem::take(&mut *world.seen.lock());
    assert_eq!(seen.unconditional, Vec::<String>::new(), "commits that don't depend on being the first");
    assert!(seen.refused > 0, "the writers never met");
    seen.written.sort();
    let versions = (0..=WRITERS * APPENDS).map(|version| format!("lake/numbers/_delta_log/{version:020}.json"));
    let versions: Vec<String> = versions.collect();
    assert_eq!(seen.written, versions, "each version by one put");
    assert_eq!(commits(&*watched.inner).await, versions);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_writer_that_wakes_after_others_have_committed_overwrites_nothing() {
    for retries in [0, 15] {
        let world = World::new().await;
        let (lake, watched, _waits) = world.writer().await;
        lake.open_or_create(numbers()).await.unwrap();
        // Both set the offset of one partition, as the owner of it does with each commit.
        let owning = |next| {
            let properties = CommitProperties::default().with_max_retries(retries);
            let offset: Transaction = txn::set_offset(Topic::Playback, Partition(0), Offset(next));
            properties.with_application_transaction(offset)
        };
        let (sleeping_lake, sleeping, mut waits) = world.writer().await;
        let table = sleeping_lake.open(numbers()).await.unwrap().unwrap();
        let pause = sleeping.leave.acquire().await.unwrap();
        let properties = owning(10);
        let late = tokio::spawn(append(table, -1, properties));
        let first = "lake/numbers/_delta_log/00000000000000000001.json";
        assert_eq!(waits.recv().await.unwrap(), first, "it is about to commit");

        let table = lake.open(numbers()).await.unwrap().unwrap();
        let table = append(table, 1, owning(20)).await.unwrap();
        append(table, 2, owning(30)).await.unwrap();
        let before = watched.inner.get(&Path::from(first)).await.unwrap().bytes().await.unwrap();

        drop(pause);
        let error = late.await.unwrap().unwrap_err();
        assert!(error.is_conflict(), "{retries}: {error:?}");
        assert_eq!(watched.inner.get(&Path::from(first)).await.unwrap().bytes().await.unwrap(), before);
        assert_eq!(commits(&*watched.inner).await.len(), 3);
        assert_eq!(rows(&lake).await, [1, 2]);
        let table = lake.open(numbers()).await.unwrap().unwrap();
        let progress = txn::progress(&table, Topic::Playback, Partition(0)).await.unwrap();
        assert_eq!(progress.next, Offset(30));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_whose_reply_was_lost_is_known_to_be_made() {
    for reply in [Reply::Lost, Reply::Error] {
        let world = World::new().await;
        let (lake, sleeping, mut waits) = world.writer().await;
        let table = lake.open_or_create(numbers()).await.unwrap();
        while waits.try_recv().is_ok() {}
        let pause = sleeping.leave.acquire().await.unwrap();
        let append = tokio::spawn(append(table, 7, CommitProperties::default()));
        waits.recv().await.unwrap();
        // The next write is the commit itself.
        world.server.reply_to_writes([reply]);
        drop(pause);
        assert_eq!(append.await.unwrap().unwrap().version(), Some(1), "{reply:?}");
        assert_eq!(rows(&lake).await, [7]);
        assert_eq!(commits(&*sleeping.inner).await.len(), 2);
    }
}
