//! A bucket at a real server: the conformance suites, the trial at the start, lost replies,
//! presigned addresses, and a server that goes away and comes back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

use std::sync::Arc;

use event_schemas::{ByteSize, Fault, Faulty as _, Millis};
use futures::{StreamExt, TryStreamExt};
use object_store::{
    Attribute, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, integration, path::Path,
};
use objects::{
    FileSystemProbe, FreeSpaceGuard, ObjectsError, OpenedObjects, S3Problem, StorageSpec,
    failing::{FailingStore, FailurePlan},
    fault_of, open_for_reading, open_objects,
};
use s3_server::{ACCESS_KEY, Conditions, Options, Reply, S3Server, SECRET_KEY};

const BUCKET: &str = "videos";

struct World {
    dir: tempfile::TempDir,
    server: S3Server,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path(), BUCKET);
        change(&mut options);
        let server = S3Server::start(options).await.unwrap();
        Self { dir, server }
    }

    fn url(&self, at: &str) -> String {
        let mark = if at.contains('?') { '&' } else { '?' };
        format!("s3://{ACCESS_KEY}:{SECRET_KEY}@{at}{mark}endpoint={}", self.server.endpoint())
    }

    async fn open(&self, at: &str) -> Result<OpenedObjects, ObjectsError> {
        open(&self.url(at), self.dir.path()).await
    }

    async fn store(&self) -> Arc<dyn ObjectStore> {
        self.open("videos/some/prefix").await.unwrap().store
    }
}

async fn open(url: &str, root: &std::path::Path) -> Result<OpenedObjects, ObjectsError> {
    let spec: StorageSpec = url.parse().unwrap();
    open_objects(&spec, FreeSpaceGuard::new(root, ByteSize(0), Arc::new(FileSystemProbe))).await
}

async fn all(store: &dyn ObjectStore) -> Vec<String> {
    store.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bucket_keeps_the_promises() {
    let worlds = parking_lot::Mutex::new(Vec::new());
    objects::conformance::run_all(|| async {
        let world = World::new().await;
        let store = world.store().await;
        worlds.lock().push(world);
        store
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bucket_behind_failures_keeps_them_once_healed() {
    let worlds = parking_lot::Mutex::new(Vec::new());
    objects::conformance::run_all(|| async {
        let world = World::new().await;
        let store = FailingStore::new(world.store().await, FailurePlan { seed: 1, before: 0.5, after: 0.5 });
        worlds.lock().push(world);
        assert!(store.head(&Path::from("x")).await.is_err());
        store.heal();
        Arc::new(store) as Arc<dyn ObjectStore>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_librarys_own_suite_passes() {
    macro_rules! passes {
        ($($part:ident($($more:expr),*)),+ $(,)?) => {$({
            let world = World::new().await;
            integration::$part(&*world.store().await, $($more),*).await;
        })+};
    }
    passes!(
        put_get_delete_list(),
        get_opts(),
        put_opts(true),
        put_get_attributes(),
        stream_get(),
        list_uses_directories_correctly(),
        list_with_delimiter(),
        list_with_offset_exclusivity(),
        rename_and_copy(),
        copy_if_not_exists(),
        copy_rename_nonexistent_object(),
        multipart_race_condition(true),
        multipart_out_of_order(),
    );
}

#[tokio::test]
async fn the_trial_leaves_nothing_and_prefixes_are_apart() {
    let world = World::new().await;
    let (a, b) = (world.open("videos/a").await.unwrap().store, world.open("videos/b").await.unwrap().store);
    a.put(&Path::from("x"), "a".into()).await.unwrap();
    b.put(&Path::from("x"), "b".into()).await.unwrap();
    assert_eq!(a.get(&Path::from("x")).await.unwrap().bytes().await.unwrap(), "a");
    assert_eq!(all(&*b).await, ["x"]);
    let whole = world.open("videos").await.unwrap().store;
    assert_eq!(all(&*whole).await, ["a/x", "b/x"]);
}

#[tokio::test]
async fn what_can_not_be_used_is_named_at_the_start() {
    let problem = |result: Result<OpenedObjects, ObjectsError>| match result {
        Err(error @ ObjectsError::S3 { problem, .. }) => {
            let text = error.to_string();
            assert!(text.starts_with("s3://") && text.contains("`storage`") && !text.contains(SECRET_KEY), "{text}");
            (problem, error.fault())
        }
        other => panic!("{other:?}"),
    };
    let world = World::new().await;
    let endpoint = world.server.endpoint();
    assert_eq!(problem(world.open("other-bucket").await), (S3Problem::NoBucket, Fault::Caller));
    for keys in [format!("{ACCESS_KEY}:wrong"), format!("another:{SECRET_KEY}")] {
        let opened = open(&format!("s3://{keys}@videos?endpoint={endpoint}"), world.dir.path()).await;
        assert_eq!(problem(opened), (S3Problem::Credentials, Fault::Caller));
    }
    for conditions in [Conditions::Ignored, Conditions::Refused] {
        let world = World::with(|options| options.conditions = conditions).await;
        assert_eq!(problem(world.open("videos").await), (S3Problem::Unconditional, Fault::Caller));
        let left = open_for_reading(&world.url("videos").parse().unwrap()).await.unwrap();
        assert_eq!(all(&*left).await, Vec::<String>::new(), "the trial's object stayed");
    }
    let url = world.url("videos");
    world.server.stop().await;
    assert_eq!(problem(open(&url, world.dir.path()).await), (S3Problem::Unreachable, Fault::Dependency));
}

#[tokio::test]
async fn a_create_whose_reply_was_lost_is_told_that_it_won() {
    let world = World::new().await;
    let store = world.store().await;
    for (name, reply) in [("lost", Reply::Lost), ("error", Reply::Error)] {
        let at = Path::from(name);
        world.server.reply_to_writes([reply]);
        let put = store.put_opts(&at, "mine".into(), PutMode::Create.into()).await.unwrap();
        assert_eq!(put.e_tag, store.head(&at).await.unwrap().e_tag);
        let again = store.put_opts(&at, "another's".into(), PutMode::Create.into()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
        assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), "mine");
    }
}

#[tokio::test]
async fn prefixes_of_more_objects_than_a_page_are_listed_in_order_and_deleted() {
    let world = World::new().await;
    let store = world.store().await;
    let names: Vec<String> = (0..1100).map(|n| format!("v/{n:05}")).collect();
    let puts = names.iter().map(|name| {
        let (store, at) = (Arc::clone(&store), Path::from(name.as_str()));
        async move { store.put(&at, "x".into()).await.unwrap() }
    });
    futures::stream::iter(puts).buffer_unordered(16).collect::<Vec<_>>().await;
    store.put(&Path::from("vv"), "stays".into()).await.unwrap();
    let under = Path::from("v");
    let listed: Vec<String> =
        store.list(Some(&under)).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
    assert_eq!(listed, names);
    let from = Path::from("v/00999");
    assert_eq!(store.list_with_offset(Some(&under), &from).count().await, 100);
    let locations = store.list(Some(&under)).map_ok(|meta| meta.location).boxed();
    assert_eq!(store.delete_stream(locations).try_collect::<Vec<_>>().await.unwrap().len(), 1100);
    assert_eq!(all(&*store).await, ["vv"]);
    // One that another process has deleted already.
    let twice = futures::stream::iter(["v/00001", "vv"].map(|name| Ok(Path::from(name)))).boxed();
    assert_eq!(store.delete_stream(twice).try_collect::<Vec<_>>().await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_upload_in_parts_that_is_dropped_is_aborted() {
    let world = World::new().await;
    let store = world.store().await;
    let mut upload = store.put_multipart(&Path::from("a")).await.unwrap();
    upload.put_part(vec![1; 5 << 20].into()).await.unwrap();
    assert_eq!(world.server.unfinished_uploads().unwrap(), 1);
    drop(upload);
    while world.server.unfinished_uploads().unwrap() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(store.head(&Path::from("a")).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_presigned_address_reads_one_object_and_no_other() {
    let world = World::new().await;
    let OpenedObjects { store, presign } = world.open("videos/some/prefix").await.unwrap();
    let presign = presign.unwrap();
    let at = Path::from("media/a b/seg.m4s");
    store.put(&at, "0123456789".into()).await.unwrap();
    store.put(&Path::from("media/other"), "secret".into()).await.unwrap();
    let url = presign.get_url(&at, Millis(60_000)).await.unwrap();
    assert!(url.query_pairs().any(|(key, value)| key == "X-Amz-Expires" && value == "60"), "{url}");
    assert!(!url.as_str().contains(SECRET_KEY));

    let http = reqwest_for_store::Client::new();
    let whole = http.get(url.clone()).send().await.unwrap();
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.headers()["content-type"], "video/iso.segment");
    assert_eq!(whole.bytes().await.unwrap(), "0123456789");
    let part = http.get(url.clone()).header("range", "bytes=2-4").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap(), "234");

    let other = url.as_str().replace("a%20b/seg.m4s", "other");
    assert_ne!(other, url.as_str());
    let longer = url.as_str().replace("X-Amz-Expires=60", "X-Amz-Expires=600000");
    for forged in [other, longer] {
        assert_eq!(http.get(forged).send().await.unwrap().status(), 403);
    }
    assert_eq!(http.put(url.clone()).body("x").send().await.unwrap().status(), 403);
    assert_eq!(http.delete(url).send().await.unwrap().status(), 403);
    assert!(presign.get_url(&at, Millis(0)).await.is_err());

    let public = world.open("videos/some/prefix?public_endpoint=https://media.example").await.unwrap();
    let url = public.presign.unwrap().get_url(&at, Millis(60_000)).await.unwrap();
    assert!(url.as_str().starts_with("https://media.example/videos/some/prefix/media/a%20b/seg.m4s?"), "{url}");
}

#[tokio::test]
async fn files_have_no_presigned_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(&format!("file:{}", dir.path().display()), dir.path()).await.unwrap();
    assert!(opened.presign.is_none());
}

#[tokio::test]
async fn a_server_that_was_away_is_used_again() {
    let world = World::new().await;
    let store = world.store().await;
    let at = Path::from("a");
    store.put(&at, "before".into()).await.unwrap();
    let options = world.server.stop().await;
    let errors = [
        store.put(&at, "x".into()).await.map(drop).unwrap_err(),
        store.put_opts(&Path::from("b"), "x".into(), PutMode::Create.into()).await.map(drop).unwrap_err(),
        store.get(&at).await.map(drop).unwrap_err(),
        store.list(None).try_next().await.map(drop).unwrap_err(),
        store.delete(&at).await.unwrap_err(),
        store.put_multipart(&at).await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(fault_of(&error), Fault::Dependency, "{error}");
    }
    let _server = S3Server::start(options).await.unwrap();
    assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), "before");
    store.put(&at, "after".into()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let world = World::new().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("s3://{ACCESS_KEY}:{SECRET_KEY}@videos?endpoint=http://{address}&timeout_ms=100");
    let opening = open(&url, world.dir.path()).await;
    assert!(matches!(opening, Err(ObjectsError::S3 { problem: S3Problem::Unreachable, .. })), "{opening:?}");
}

#[tokio::test]
async fn a_bucket_that_went_away_is_not_taken_for_absent_objects() {
    let world = World::new().await;
    let store = world.store().await;
    let options = world.server.stop().await;
    std::fs::remove_dir_all(world.dir.path().join("buckets").join(BUCKET)).unwrap();
    let _server = S3Server::start(Options { buckets: Vec::new(), ..options }).await.unwrap();
    let at = Path::from("a");
    for error in [
        store.get(&at).await.map(drop).unwrap_err(),
        store.put(&at, "x".into()).await.map(drop).unwrap_err(),
        store.list(None).try_next().await.map(drop).unwrap_err(),
    ] {
        assert_eq!(fault_of(&error), Fault::Dependency, "{error}");
    }
}

#[tokio::test]
async fn a_store_for_reading_reads_and_nothing_else() {
    let world = World::new().await;
    let files = tempfile::tempdir().unwrap();
    for url in [world.url("videos/p"), format!("file:{}", files.path().display())] {
        let at = Path::from("lake/a");
        open(&url, files.path()).await.unwrap().store.put(&at, "0123".into()).await.unwrap();
        let store = open_for_reading(&url.parse().unwrap()).await.unwrap();
        let range = GetOptions::new().with_range(Some(GetRange::Bounded(1..3)));
        assert_eq!(store.get_opts(&at, range).await.unwrap().bytes().await.unwrap(), "12");
        let under = Path::from("lake");
        assert_eq!(store.list(Some(&under)).count().await, 1);
        assert!(matches!(store.put(&at, "x".into()).await, Err(Error::NotSupported { .. })));
        assert!(matches!(store.delete(&at).await, Err(Error::NotSupported { .. })));
        assert!(matches!(store.rename(&at, &Path::from("b")).await, Err(Error::NotSupported { .. })));
        assert!(store.put_multipart(&at).await.is_err());
        assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), "0123");
    }
    let absent = format!("file:{}/absent", files.path().display()).parse().unwrap();
    assert!(matches!(open_for_reading(&absent).await, Err(ObjectsError::Absent { .. })));
    let none = open_for_reading(&world.url("other-bucket").parse().unwrap()).await;
    assert!(matches!(none, Err(ObjectsError::S3 { problem: S3Problem::NoBucket, .. })));
}

#[tokio::test]
async fn created_objects_name_their_write() {
    let world = World::new().await;
    let store = world.store().await;
    let at = Path::from("a");
    store.put_opts(&at, "x".into(), PutMode::Create.into()).await.unwrap();
    let found = store.get(&at).await.unwrap();
    assert!(found.attributes.get(&Attribute::Metadata("millrace-write".into())).is_some());
}
