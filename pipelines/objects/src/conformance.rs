//! What the rest of the program relies on, for every store. Each function wants an empty store.
//!
//! The library's own suite (`object_store::integration`) covers the trait; these cover what it
//! leaves open.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code, behind a feature")]

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, future::join_all};
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, path::Path};

/// Runs every check, each with a store of its own.
pub async fn run_all<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn ObjectStore>>,
{
    one_creator_wins(make().await).await;
    writers_of_new_directories_do_not_disturb_each_other(make().await).await;
    a_multipart_object_appears_whole_or_not_at_all(make().await).await;
    names_are_told_apart(make().await).await;
    copies_are_independent(make().await).await;
}

async fn names(store: &dyn ObjectStore) -> Vec<String> {
    let mut names: Vec<String> = store.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
    names.sort();
    names
}

/// Of 16 concurrent conditional puts exactly one wins, every time, and its contents stay.
pub async fn one_creator_wins(store: Arc<dyn ObjectStore>) {
    for round in 0..8 {
        let path = Path::from(format!("_delta_log/{round:020}.json"));
        let attempts = (0..16).map(|creator| {
            let (store, path) = (Arc::clone(&store), path.clone());
            tokio::spawn(async move {
                store.put_opts(&path, creator.to_string().into(), PutMode::Create.into()).await.map(|_| creator)
            })
        });
        let mut winners = Vec::new();
        for result in join_all(attempts).await {
            match result.unwrap() {
                Ok(creator) => winners.push(creator.to_string()),
                Err(Error::AlreadyExists { .. }) => {}
                Err(error) => panic!("neither won nor told that it exists: {error}"),
            }
        }
        let contents = store.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(winners, [String::from_utf8(contents.to_vec()).unwrap()]);
    }
}

/// Puts and deletes that make and empty the same directories all succeed.
pub async fn writers_of_new_directories_do_not_disturb_each_other(store: Arc<dyn ObjectStore>) {
    let writers = (0..8).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for round in 0..20 {
                let path = Path::from(format!("shared/deep/{writer}"));
                store.put(&path, format!("{round}").into()).await.unwrap();
                store.delete(&path).await.unwrap();
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    assert_eq!(names(&*store).await, Vec::<String>::new());
}

/// Nothing is seen of an upload before it completes, nor after it is aborted or dropped.
pub async fn a_multipart_object_appears_whole_or_not_at_all(store: Arc<dyn ObjectStore>) {
    let path = Path::from("a/object");
    let mut upload = store.put_multipart(&path).await.unwrap();
    // Parts that aren't the last have 5 MiB at least, as every store wants it.
    let large = "first ".repeat(1 << 20);
    let (second, first) = {
        let first = upload.put_part(large.clone().into());
        (upload.put_part("second".into()), first)
    };
    second.await.unwrap();
    first.await.unwrap();
    assert!(matches!(store.head(&path).await, Err(Error::NotFound { .. })));
    assert_eq!(names(&*store).await, Vec::<String>::new());
    upload.complete().await.unwrap();
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), format!("{large}second"));
    assert!(upload.complete().await.is_err(), "completed twice");

    let other = Path::from("a/other");
    let mut aborted = store.put_multipart(&other).await.unwrap();
    aborted.put_part("x".into()).await.unwrap();
    aborted.abort().await.unwrap();
    let mut dropped = store.put_multipart(&other).await.unwrap();
    dropped.put_part("x".into()).await.unwrap();
    drop(dropped);
    let mut unfinished = store.put_multipart(&other).await.unwrap();
    drop(unfinished.put_part("never awaited".into()));
    assert!(unfinished.complete().await.is_err(), "completed without its part");
    assert_eq!(names(&*store).await, ["a/object"]);
}

/// Listings have the names that were put, in any characters a path may have.
pub async fn names_are_told_apart(store: Arc<dyn ObjectStore>) {
    let wanted = ["a", "a b/c", "a.tmp", "dir/%41", "dir/A", "dir/é"];
    let mut expected: Vec<String> = wanted.iter().map(|name| Path::from(*name).to_string()).collect();
    expected.sort();
    for name in wanted {
        store.put(&Path::from(name), name.to_owned().into()).await.unwrap();
    }
    assert_eq!(names(&*store).await, expected);
    for name in wanted {
        assert_eq!(store.get(&Path::from(name)).await.unwrap().bytes().await.unwrap(), name);
    }
    let top = store.list_with_delimiter(None).await.unwrap();
    let mut prefixes: Vec<String> = top.common_prefixes.iter().map(ToString::to_string).collect();
    prefixes.sort();
    assert_eq!(prefixes, ["a b", "dir"]);
    let missing = store.delete_stream(futures::stream::iter(wanted.map(|name| Ok(Path::from(name)))).boxed());
    assert_eq!(missing.try_collect::<Vec<_>>().await.unwrap().len(), wanted.len());
    assert_eq!(names(&*store).await, Vec::<String>::new());
}

/// Replacing an object changes neither its copies nor what a reader has begun to read.
pub async fn copies_are_independent(store: Arc<dyn ObjectStore>) {
    let (a, b, c) = (Path::from("a"), Path::from("b"), Path::from("c/d"));
    store.put(&a, "old".into()).await.unwrap();
    store.copy(&a, &b).await.unwrap();
    // Onto a name that already has the same contents.
    store.copy(&a, &b).await.unwrap();
    let reading = store.get(&a).await.unwrap();
    store.put(&a, "new".into()).await.unwrap();
    assert_eq!(store.get(&b).await.unwrap().bytes().await.unwrap(), "old");
    assert_eq!(reading.bytes().await.unwrap(), "old");
    store.copy(&a, &b).await.unwrap();
    store.rename(&a, &b).await.unwrap();
    assert!(matches!(store.head(&a).await, Err(Error::NotFound { .. })), "renamed onto its own copy, and still there");
    store.rename_if_not_exists(&b, &c).await.unwrap();
    store.put(&b, "other".into()).await.unwrap();
    assert!(matches!(store.rename_if_not_exists(&b, &c).await, Err(Error::AlreadyExists { .. })));
    assert_eq!(names(&*store).await, ["b", "c/d"]);
}
