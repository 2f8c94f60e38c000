//! What is made durable, in which order, and what a failure in between leaves.

use std::fs::File;

use event_schemas::ByteSize;
use object_store::ObjectStoreExt;
use parking_lot::Mutex;

use super::*;
use crate::{no_space, space::FileSystemProbe};

/// Notes every sync with what could be seen at that moment; fails those that it is told to.
#[derive(Default)]
struct Watcher {
    seen: Mutex<Vec<String>>,
    fail_dirs: Mutex<bool>,
    watched: Mutex<Option<PathBuf>>,
}

impl Watcher {
    fn note(&self, what: &str, path: &std::path::Path) {
        let visible = self.watched.lock().as_ref().is_some_and(|watched| watched.exists());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.seen.lock().push(format!("{what} {name} visible={visible}"));
    }
}

impl Syncs for Watcher {
    fn file(&self, file: &File, path: &std::path::Path) -> io::Result<()> {
        assert!(file.metadata()?.len() > 0, "synced before it was written");
        self.note("file", std::path::Path::new(path.file_name().unwrap().to_str().unwrap().split('#').next().unwrap()));
        Ok(())
    }

    fn dir(&self, path: &std::path::Path) -> io::Result<()> {
        self.note("dir", path);
        if *self.fail_dirs.lock() { Err(io::Error::other("injected")) } else { Ok(()) }
    }
}

async fn watched() -> (tempfile::TempDir, PathBuf, Arc<Watcher>, DurableLocal) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("root");
    let watcher = Arc::new(Watcher::default());
    let space = FreeSpaceGuard::new(dir.path(), ByteSize(0), Arc::new(FileSystemProbe));
    let store = DurableLocal::open_with(root.clone(), space, Arc::clone(&watcher) as _).await.unwrap();
    watcher.seen.lock().clear();
    (dir, root, watcher, store)
}

#[tokio::test]
async fn contents_are_synced_before_the_name_and_every_directory_after_it() {
    for mode in [PutMode::Overwrite, PutMode::Create] {
        let (_dir, root, watcher, store) = watched().await;
        *watcher.watched.lock() = Some(root.join("a/b/object"));
        store.put_opts(&Path::from("a/b/object"), "x".into(), mode.into()).await.unwrap();
        let expected =
            ["file object visible=false", "dir root visible=false", "dir a visible=false", "dir b visible=true"];
        assert_eq!(*watcher.seen.lock(), expected);

        watcher.seen.lock().clear();
        store.put(&Path::from("a/b/other"), "x".into()).await.unwrap();
        assert_eq!(*watcher.seen.lock(), ["file object visible=true", "dir b visible=true"], "known directories");
    }
}

#[tokio::test]
async fn a_multipart_object_is_synced_before_it_has_its_name() {
    let (_dir, root, watcher, store) = watched().await;
    *watcher.watched.lock() = Some(root.join("object"));
    let mut upload = store.put_multipart(&Path::from("object")).await.unwrap();
    upload.put_part("x".into()).await.unwrap();
    assert!(watcher.seen.lock().is_empty());
    upload.complete().await.unwrap();
    assert_eq!(*watcher.seen.lock(), ["file object visible=false", "dir root visible=true"]);
}

#[tokio::test]
async fn changes_of_names_are_synced() {
    let (_dir, root, watcher, store) = watched().await;
    let (from, to) = (Path::from("from/object"), Path::from("to/object"));
    store.put(&from, "x".into()).await.unwrap();
    *watcher.watched.lock() = Some(root.join("to/object"));
    watcher.seen.lock().clear();
    store.rename(&from, &to).await.unwrap();
    assert_eq!(*watcher.seen.lock(), ["dir root visible=false", "dir to visible=true", "dir from visible=true"]);
    assert!(!root.join("from").exists(), "an empty directory stayed");

    watcher.seen.lock().clear();
    store.delete(&to).await.unwrap();
    assert_eq!(*watcher.seen.lock(), ["dir to visible=false"]);
}

#[tokio::test]
async fn nothing_is_acknowledged_that_could_not_be_synced() {
    let (_dir, _root, watcher, store) = watched().await;
    let path = Path::from("a/object");
    *watcher.fail_dirs.lock() = true;
    assert!(store.put(&path, "x".into()).await.is_err());
    *watcher.fail_dirs.lock() = false;
    watcher.seen.lock().clear();
    store.put(&path, "x".into()).await.unwrap();
    assert!(
        watcher.seen.lock().iter().any(|line| line.starts_with("dir root")),
        "a directory whose entry failed to sync was taken for durable: {:?}",
        watcher.seen.lock()
    );
    *watcher.fail_dirs.lock() = true;
    assert!(store.delete(&path).await.is_err());
}

#[tokio::test]
async fn a_refused_create_relies_on_something_durable() {
    let (_dir, _root, watcher, store) = watched().await;
    let path = Path::from("a/object");
    store.put(&path, "x".into()).await.unwrap();
    watcher.seen.lock().clear();
    let refused = store.put_opts(&path, "y".into(), PutMode::Create.into()).await.unwrap_err();
    assert!(matches!(refused, Error::AlreadyExists { .. }), "{refused}");
    assert_eq!(watcher.seen.lock().last().unwrap(), "dir a visible=false");
}

#[tokio::test]
async fn a_full_disk_is_told_apart() {
    let (_dir, _root, _watcher, store) = watched().await;
    let error = store.inner.io_error(&Path::from("x"), ByteSize(7), io::ErrorKind::StorageFull.into());
    assert_eq!(no_space(&error).unwrap().wanted, ByteSize(7));
    let other = store.inner.io_error(&Path::from("x"), ByteSize(7), io::Error::other("no"));
    assert_eq!(no_space(&other), None);
}
