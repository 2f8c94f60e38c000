//! Making files and directories durable; apart, so that a test can watch it or let it fail.

use std::{fs::File, io, path::Path};

/// Forces what was written to stable storage.
pub(crate) trait Syncs: Send + Sync {
    /// The contents and the length of a file.
    fn file(&self, file: &File, path: &Path) -> io::Result<()>;

    /// The entries of a directory.
    fn dir(&self, path: &Path) -> io::Result<()>;
}

/// `fsync`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fsync;

impl Syncs for Fsync {
    fn file(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    fn dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}
