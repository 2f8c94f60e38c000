//! Files being written, before they have a name that anyone sees.
//!
//! Each opened store has a directory of its own under `.staging`, held by a file lock: what a
//! killed process left behind is removed by the next one to open the store, what a living one
//! writes is not.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// The directory under the root that holds staging files; no object lives there.
pub(crate) const STAGING: &str = ".staging";

/// One store's staging directory.
pub(crate) struct Staging {
    dir: PathBuf,
    next: AtomicU64,
    /// Holds the lock for as long as the store is open.
    _lock: File,
}

impl Staging {
    /// Removes what is left of processes that are gone, and makes a directory for this one.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let base = root.join(STAGING);
        fs::create_dir_all(&base)?;
        for entry in fs::read_dir(&base)? {
            remove_abandoned(&entry?.path())?;
        }
        loop {
            let dir = base.join(uuid::Uuid::new_v4().to_string());
            fs::create_dir(&dir)?;
            if let Some(lock) = lock(&dir)? {
                return Ok(Self { dir, next: AtomicU64::new(0), _lock: lock });
            }
            // Another process that opened at this moment took it for abandoned: make another.
        }
    }

    /// A name nobody else uses.
    pub(crate) fn path(&self) -> PathBuf {
        // The `#` and the number after it hide the file from the library's listings.
        self.dir.join(format!("object#{}", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// A new empty file.
    pub(crate) fn file(&self) -> io::Result<Staged> {
        let path = self.path();
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok(Staged { path, file, placed: false })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What can't be removed now is removed at the next opening.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The lock on `dir`; none if another process has it or has removed the directory.
fn lock(dir: &Path) -> io::Result<Option<File>> {
    let file = match File::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    }
    match fs::metadata(dir) {
        Ok(there) if there.ino() == file.metadata()?.ino() => Ok(Some(file)),
        _ => Ok(None),
    }
}

fn remove_abandoned(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        return fs::remove_file(path);
    }
    let Some(_lock) = lock(path)? else { return Ok(()) };
    let files = fs::read_dir(path)?.count();
    fs::remove_dir_all(path)?;
    tracing::info!(files, "removed what a killed process was writing");
    Ok(())
}

/// A file being written; removed when dropped, unless it was placed.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    placed: bool,
}

impl Staged {
    /// The file has been renamed: there is nothing left to remove.
    pub(crate) fn placed(&mut self) {
        self.placed = true;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.placed {
            // What can't be removed now is removed at the next opening.
            let _ = fs::remove_file(&self.path);
        }
    }
}
