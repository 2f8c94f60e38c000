//! The conformance suites on the local store, its free-space floor and the failing wrapper.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

use std::{
    path::Path as FsPath,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use event_schemas::{ByteSize, Fault};
use object_store::{Error, ObjectStore, ObjectStoreExt, integration, path::Path};
use objects::{
    DurableLocal, FileSystemProbe, FreeSpaceGuard, NoSpace,
    failing::{FailingStore, FailurePlan, Injected},
    no_space,
};

fn plenty(root: &FsPath) -> FreeSpaceGuard {
    FreeSpaceGuard::new(root, ByteSize(0), Arc::new(FileSystemProbe))
}

async fn local() -> (tempfile::TempDir, DurableLocal) {
    let dir = tempfile::tempdir().unwrap();
    let store = DurableLocal::open(dir.path(), plenty(dir.path())).await.unwrap();
    (dir, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_local_store_keeps_its_promises() {
    let dirs = parking_lot::Mutex::new(Vec::new());
    objects::conformance::run_all(|| async {
        let (dir, store) = local().await;
        dirs.lock().push(dir);
        Arc::new(store) as Arc<dyn ObjectStore>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failing_store_that_has_healed_keeps_them_too() {
    let dirs = parking_lot::Mutex::new(Vec::new());
    objects::conformance::run_all(|| async {
        let (dir, store) = local().await;
        dirs.lock().push(dir);
        let store = FailingStore::new(Arc::new(store), FailurePlan { seed: 1, before: 0.5, after: 0.5 });
        assert!(store.head(&Path::from("x")).await.is_err());
        store.heal();
        Arc::new(store) as Arc<dyn ObjectStore>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_librarys_own_suite_passes() {
    // Each part leaves objects behind, so each gets a store of its own.
    macro_rules! passes {
        ($($part:ident($($more:expr),*)),+ $(,)?) => {$({
            let (_dir, store) = local().await;
            integration::$part(&store, $($more),*).await;
        })+};
    }
    passes!(
        put_get_delete_list(),
        get_opts(),
        put_opts(false),
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
    let (_dir, store) = local().await;
    assert!(matches!(integration::get_nonexistent_object(&store, None).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_put_tells_the_etag_that_reading_gives() {
    let (_dir, store) = local().await;
    let path = Path::from("a/b");
    let put = store.put(&path, "x".into()).await.unwrap();
    assert!(put.e_tag.is_some());
    assert_eq!(put.e_tag, store.head(&path).await.unwrap().e_tag);
    let mut upload = store.put_multipart(&path).await.unwrap();
    upload.put_part("xy".into()).await.unwrap();
    assert_eq!(upload.complete().await.unwrap().e_tag, store.head(&path).await.unwrap().e_tag);
    let again = store.put(&path, "x".into()).await.unwrap();
    assert_ne!(put.e_tag, again.e_tag);
}

#[tokio::test]
async fn the_staging_directory_is_out_of_reach() {
    let (dir, store) = local().await;
    let mut upload = store.put_multipart(&Path::from("a")).await.unwrap();
    upload.put_part("x".into()).await.unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join(".staging")).unwrap().count(), 1);
    let listed = store.list_with_delimiter(None).await.unwrap();
    assert!(listed.common_prefixes.is_empty() && listed.objects.is_empty());
    let inside = Path::from(".staging/x");
    assert!(matches!(store.put(&inside, "x".into()).await, Err(Error::NotSupported { .. })));
    assert!(matches!(store.get(&inside).await, Err(Error::NotSupported { .. })));
    assert!(matches!(store.delete(&inside).await, Err(Error::NotSupported { .. })));
}

#[tokio::test]
async fn a_second_opening_leaves_the_first_ones_files_alone() {
    let (dir, first) = local().await;
    let path = Path::from("a");
    let mut upload = first.put_multipart(&path).await.unwrap();
    upload.put_part("x".into()).await.unwrap();
    let second = DurableLocal::open(dir.path(), plenty(dir.path())).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(second.get(&path).await.unwrap().bytes().await.unwrap(), "x");
}

#[tokio::test]
async fn writes_stop_at_the_floor_and_resume_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(1000));
    let probe = Arc::clone(&free);
    let guard =
        FreeSpaceGuard::new(dir.path(), ByteSize(100), Arc::new(move || ByteSize(probe.load(Ordering::SeqCst))));
    let store = DurableLocal::open(dir.path(), guard).await.unwrap();
    let (kept, refused) = (Path::from("kept"), Path::from("refused"));
    store.put(&kept, "x".into()).await.unwrap();
    let mut upload = store.put_multipart(&refused).await.unwrap();

    free.store(104, Ordering::SeqCst);
    let error = store.put(&refused, "12345".into()).await.unwrap_err();
    let expected = NoSpace { free: ByteSize(104), wanted: ByteSize(5), floor: ByteSize(100) };
    assert_eq!(no_space(&error), Some(&expected), "{error:?}");
    assert_eq!(objects::fault_of(&error), Fault::Dependency);
    let error = upload.put_part("12345".into()).await.unwrap_err();
    assert_eq!(no_space(&error), Some(&expected), "{error:?}");
    assert!(matches!(store.head(&refused).await, Err(Error::NotFound { .. })));
    store.delete(&kept).await.unwrap();

    free.store(105, Ordering::SeqCst);
    store.put(&refused, "12345".into()).await.unwrap();
}

#[tokio::test]
async fn injected_failures_follow_their_seed() {
    let run = |seed| async move {
        let (_dir, store) = local().await;
        let failing = FailingStore::new(Arc::new(store.clone()), FailurePlan { seed, before: 0.3, after: 0.3 });
        let mut outcomes = Vec::new();
        for n in 0..40 {
            let path = Path::from(format!("{n}"));
            let outcome = match failing.put(&path, "x".into()).await {
                Ok(_) => None,
                Err(Error::Generic { source, .. }) => Some(*source.downcast::<Injected>().unwrap()),
                Err(error) => panic!("{error}"),
            };
            let stored = store.head(&path).await.is_ok();
            assert_eq!(stored, outcome != Some(Injected::Before), "{outcome:?}");
            outcomes.push(outcome);
        }
        outcomes
    };
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
    for wanted in [None, Some(Injected::Before), Some(Injected::After)] {
        assert!(first.contains(&wanted), "{wanted:?}");
    }
}
