//! The collector, on a catalog in SQLite and objects in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use catalog::{
    Account, Catalog, Chunk, Job, JobKind, MediaFile, SqlCatalog, SqlOptions,
    conformance::{LEASE, at, chunk, creator, leased, put_whole, result, start_upload},
    failing::{FailingCatalog, FailurePlan},
    sqlite_url,
};
use event_schemas::{Clock as _, Millis, TestClock, VideoId};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, memory::InMemory, path::Path,
};
use objects::failing::{FailingStore, FailurePlan as StorePlan};
use publish_stage::{Collected, Collector, CollectorConfig};
use runtime::HealthBoard;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const GRACE: Millis = Millis::from_secs(900);

struct World {
    _dir: tempfile::TempDir,
    catalog: Arc<dyn Catalog>,
    objects: Arc<InMemory>,
    clock: Arc<TestClock>,
    owner: Account,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = SqlCatalog::open(&sqlite_url(&dir.path().join("c.db")), SqlOptions::default()).await.unwrap();
        let owner = creator(&*catalog, "alice").await;
        Self { _dir: dir, catalog, objects: Arc::default(), clock: Arc::new(TestClock::at(at(0))), owner }
    }

    fn collector(&self) -> Collector {
        self.collector_of(self.catalog.clone(), self.objects.clone(), "a")
    }

    fn collector_of(&self, catalog: Arc<dyn Catalog>, objects: Arc<dyn ObjectStore>, owner: &str) -> Collector {
        let config = CollectorConfig { interval: Duration::from_secs(3600), ..CollectorConfig::new(owner) };
        Collector::new(catalog, objects, self.clock.clone(), config)
    }

    async fn round(&self) -> Collected {
        let collector = self.collector();
        collector.round(&mut collector.tenure()).await.unwrap().unwrap()
    }

    async fn put(&self, key: &str) {
        self.objects.put(&Path::from(key), PutPayload::from_static(b"x")).await.unwrap();
    }

    async fn keys(&self) -> BTreeSet<String> {
        self.objects.list(None).map_ok(|object| object.location.to_string()).try_collect().await.unwrap()
    }

    /// An upload of which two chunks of three have arrived, and one that was never recorded.
    async fn half_uploaded(&self) -> catalog::Upload {
        let upload = start_upload(&*self.catalog, &self.owner, 30).await;
        for start in [0, 10] {
            let piece = chunk(upload.id, start, 10);
            self.put(&piece.key).await;
            self.catalog.append_chunk(upload.id, piece, at(0), at(0) + Millis::from_days(1)).await.unwrap();
        }
        self.put(&format!("{}unrecorded", Chunk::prefix(upload.id))).await;
        self.catalog.upload(upload.id).await.unwrap().unwrap()
    }

    async fn encode(&self, job: &Job, tag: &str) {
        put_whole(&*self.catalog, job, "240p", tag).await;
        for name in [format!("{tag}-240p-0.m4s"), format!("{tag}-240p-1.m4s"), format!("{tag}-init-240p.mp4")] {
            self.put(&format!("{}{name}", MediaFile::prefix(job.video_id))).await;
        }
        self.put(&format!("{}{tag}-poster.jpg", MediaFile::prefix(job.video_id))).await;
    }

    /// A video that is ready, and the keys of its objects.
    async fn ready(&self) -> (VideoId, BTreeSet<String>) {
        let before = self.keys().await;
        let job = leased(&*self.catalog, &self.owner).await;
        let upload = self.catalog.upload_of_video(job.video_id).await.unwrap().unwrap();
        for piece in self.catalog.chunks(upload.id).await.unwrap() {
            self.put(&piece.key).await;
        }
        self.encode(&job, "a").await;
        self.catalog.finish_transcode(&job, result("240p", "a"), at(0)).await.unwrap();
        (job.video_id, self.keys().await.difference(&before).cloned().collect())
    }
}

#[tokio::test]
async fn an_expired_upload_goes_at_once_and_its_rows_after_the_grace_period() {
    let world = World::new().await;
    let upload = world.half_uploaded().await;
    let (_, kept) = world.ready().await;
    world.clock.advance(Millis(Millis::from_days(1).0 - 1));
    assert_eq!(world.round().await.objects, 0);
    world.clock.advance(Millis(1));
    let collected = world.round().await;
    assert_eq!((collected.expired, collected.objects, collected.forgotten), (1, 3, 0));
    assert_eq!(world.keys().await, kept);
    assert!(world.catalog.upload(upload.id).await.unwrap().is_some());
    // A PATCH that had not heard of it.
    world.put(&format!("{}late", Chunk::prefix(upload.id))).await;
    world.clock.advance(Millis(GRACE.0 - 1));
    assert_eq!(world.round().await.forgotten, 0);
    world.put(&format!("{}later", Chunk::prefix(upload.id))).await;
    world.clock.advance(Millis(1));
    let collected = world.round().await;
    assert_eq!((collected.objects, collected.forgotten), (1, 1));
    assert_eq!(world.keys().await, kept);
    assert_eq!(world.catalog.upload(upload.id).await.unwrap(), None);
    assert_eq!(world.catalog.video(upload.video_id).await.unwrap(), None);
    assert_eq!(world.round().await, Collected::default());
}

#[tokio::test]
async fn a_deleted_video_leaves_nothing_behind() {
    let world = World::new().await;
    let (gone, objects) = world.ready().await;
    let (_, kept) = world.ready().await;
    assert_eq!(objects.len(), 5);
    let upload = world.catalog.upload_of_video(gone).await.unwrap().unwrap();
    world.put(&format!("{}a/deeper/object", MediaFile::prefix(gone))).await;
    world.put(&format!("{}unrecorded", Chunk::prefix(upload.id))).await;
    world.catalog.delete_video(gone, at(0)).await.unwrap();
    let collected = world.round().await;
    assert_eq!((collected.objects, collected.forgotten), (7, 0));
    assert_eq!(world.keys().await, kept);
    // A worker that had not heard of it.
    world.put(&format!("{}late.m4s", MediaFile::prefix(gone))).await;
    world.clock.advance(GRACE);
    let collected = world.round().await;
    assert_eq!((collected.objects, collected.forgotten), (1, 1));
    assert_eq!(world.keys().await, kept);
    assert_eq!(world.catalog.deleted_videos(9).await.unwrap(), []);
    assert_eq!(world.catalog.upload(upload.id).await.unwrap(), None);
}

#[tokio::test]
async fn what_earlier_attempts_left_is_swept_and_the_rest_stays() {
    let world = World::new().await;
    let first = leased(&*world.catalog, &world.owner).await;
    world.encode(&first, "one").await;
    let second = world.catalog.lease_job(JobKind::Transcode, "w2", at(0) + LEASE, LEASE).await.unwrap().unwrap();
    world.encode(&second, "two").await;
    world.put(&format!("{}unrecorded.m4s", MediaFile::prefix(first.video_id))).await;
    world.clock.advance(GRACE);
    assert_eq!(world.round().await.objects, 0, "nothing is touched while the job runs");
    world.catalog.finish_transcode(&second, result("240p", "two"), world.clock.now()).await.unwrap();
    assert_eq!(world.round().await.objects, 0, "nor during the grace period");
    world.clock.advance(GRACE);
    let collected = world.round().await;
    assert_eq!((collected.objects, collected.swept), (5, 1));
    for key in world.keys().await {
        let name = key.rsplit('/').next().unwrap();
        assert!(name.starts_with("two-"), "{key}");
        assert!(world.catalog.media_file(first.video_id, name).await.unwrap().is_some(), "{key}");
    }
    assert_eq!(world.keys().await.len(), 4);
    assert_eq!(world.round().await, Collected::default());

    let failed = leased(&*world.catalog, &world.owner).await;
    world.encode(&failed, "three").await;
    world.catalog.fail_transcode(&failed, "no", world.clock.now()).await.unwrap();
    world.clock.advance(GRACE);
    assert_eq!(world.round().await.objects, 4);
    assert_eq!(world.keys().await.len(), 4);
}

#[tokio::test]
async fn whatever_fails_in_between_the_end_is_the_same() {
    for seed in 0..8 {
        let world = World::new().await;
        let (kept_id, kept) = world.ready().await;
        let (gone, _) = world.ready().await;
        let half = world.half_uploaded().await;
        world.catalog.delete_video(gone, at(0)).await.unwrap();
        world.clock.advance(Millis::from_days(2));
        let plan = FailurePlan { seed, before: 0.1, after: 0.1 };
        let catalog = FailingCatalog::new(world.catalog.clone(), plan);
        let store = FailingStore::new(world.objects.clone(), StorePlan { seed, before: 0.15, after: 0.15 });
        let mut rounds = 0;
        loop {
            let collector = world.collector_of(catalog.clone(), Arc::new(store.clone()), "a");
            let mut tenure = collector.tenure();
            // Two rounds a life; time passes between them, so that what was aborted ripens.
            for _ in 0..2 {
                let outcome = collector.round(&mut tenure).await;
                drop(outcome);
                world.clock.advance(GRACE);
            }
            // Rows never go before their objects.
            let has_objects = async |prefix: String| world.keys().await.iter().any(|key| key.starts_with(&prefix));
            if world.catalog.upload(half.id).await.unwrap().is_none() {
                assert!(!has_objects(Chunk::prefix(half.id)).await, "seed {seed}");
            }
            let deleted = world.catalog.deleted_videos(9).await.unwrap();
            if deleted.is_empty() {
                assert!(!has_objects(MediaFile::prefix(gone)).await, "seed {seed}");
            }
            if deleted.is_empty() && world.catalog.upload(half.id).await.unwrap().is_none() {
                break;
            }
            rounds += 1;
            assert!(rounds < 300, "seed {seed}: it never ends");
        }
        assert_eq!(world.keys().await, kept, "seed {seed}");
        assert!(world.catalog.video(kept_id).await.unwrap().is_some());
        assert_eq!(world.catalog.renditions(kept_id).await.unwrap()[0].segments.len(), 2);
    }
}

#[tokio::test]
async fn one_item_that_fails_does_not_keep_the_others() {
    let world = World::new().await;
    let (gone, _) = world.ready().await;
    world.ready().await;
    world.catalog.delete_video(gone, at(0)).await.unwrap();
    let store = FailingStore::new(world.objects.clone(), StorePlan { seed: 1, before: 1.0, after: 0.0 });
    let collector = world.collector_of(world.catalog.clone(), Arc::new(store.clone()), "a");
    world.clock.advance(GRACE);
    let collected = collector.round(&mut collector.tenure()).await.unwrap().unwrap();
    assert_eq!(
        (collected.failed, collected.forgotten, collected.objects),
        (2, 0, 0),
        "the deletion, and the other video's sweep"
    );
    assert_eq!(world.catalog.deleted_videos(9).await.unwrap().len(), 1);
    store.heal();
    let collected = collector.round(&mut collector.tenure()).await.unwrap().unwrap();
    assert_eq!((collected.failed, collected.forgotten, collected.objects, collected.swept), (0, 1, 5, 1));
}

#[tokio::test]
async fn one_collector_works_at_a_time() {
    let world = World::new().await;
    let (first, second) = (world.collector(), world.collector_of(world.catalog.clone(), world.objects.clone(), "b"));
    assert!(first.round(&mut first.tenure()).await.unwrap().is_some());
    assert!(second.round(&mut second.tenure()).await.unwrap().is_none());
    world.clock.advance(Millis::from_secs(60));
    assert!(second.round(&mut second.tenure()).await.unwrap().is_some());
    assert!(first.round(&mut first.tenure()).await.unwrap().is_none());
}

/// Tells of each object that was removed.
#[derive(Debug, Clone)]
struct Telling(Arc<InMemory>, mpsc::UnboundedSender<String>);

impl fmt::Display for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telling")
    }
}

type Outcome<T> = object_store::Result<T>;

#[async_trait]
impl ObjectStore for Telling {
    async fn put_opts(&self, at: &Path, payload: PutPayload, opts: PutOptions) -> Outcome<PutResult> {
        self.0.put_opts(at, payload, opts).await
    }

    async fn put_multipart_opts(&self, at: &Path, opts: PutMultipartOptions) -> Outcome<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Outcome<GetResult> {
        self.0.get_opts(at, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Outcome<Path>>) -> BoxStream<'static, Outcome<Path>> {
        let told = self.1.clone();
        self.0.delete_stream(locations).inspect_ok(move |path| told.send(path.to_string()).unwrap()).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Outcome<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Outcome<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Outcome<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_running_collector_is_woken_and_gives_its_lease_back() {
    let world = World::new().await;
    let (told, mut removals) = mpsc::unbounded_channel();
    let store = Arc::new(Telling(world.objects.clone(), told));
    let collector = Arc::new(world.collector_of(world.catalog.clone(), store, "a"));
    let (first, objects) = world.ready().await;
    let (second, _) = world.ready().await;
    world.catalog.delete_video(first, at(0)).await.unwrap();
    let cancel = CancellationToken::new();
    let board = HealthBoard::new(world.clock.clone());
    let running = tokio::spawn({
        let (collector, cancel, health) = (collector.clone(), cancel.clone(), board.register("collector"));
        async move { collector.run(health, cancel).await }
    });
    let mut next = async || tokio::time::timeout(Duration::from_secs(30), removals.recv()).await.unwrap().unwrap();
    for _ in 0..objects.len() {
        assert!(objects.contains(&next().await));
    }
    // Its next round is an hour away, so only the wake-up can bring these.
    world.catalog.delete_video(second, at(0)).await.unwrap();
    collector.waker().notify_one();
    for _ in 0..objects.len() {
        assert!(!objects.contains(&next().await));
    }
    cancel.cancel();
    running.await.unwrap();
    let other = world.collector_of(world.catalog.clone(), world.objects.clone(), "b");
    assert!(other.round(&mut other.tenure()).await.unwrap().is_some());
}
