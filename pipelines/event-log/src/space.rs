//! Refuses writes before the disk is full, and takes them again by itself when there is room.
//!
//! Whatever writes to the data directory asks [`FreeSpace::check`] first: the embedded log does,
//! and so does whoever stores uploads and media.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use event_schemas::{ByteSize, Fault, Faulty};

/// Tells how much room a file system has.
pub trait SpaceProbe: Send + Sync {
    /// The bytes an unprivileged process may still write to the file system that holds `path`.
    ///
    /// # Errors
    /// The path is gone or its file system does not answer.
    fn available(&self, path: &Path) -> io::Result<ByteSize>;
}

/// Asks the operating system (`statvfs`).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSpace;

impl SpaceProbe for SystemSpace {
    fn available(&self, path: &Path) -> io::Result<ByteSize> {
        let stat = nix::sys::statvfs::statvfs(path)?;
        Ok(ByteSize(stat.blocks_available().saturating_mul(stat.fragment_size())))
    }
}

/// There is too little room to write.
#[derive(Debug, thiserror::Error)]
pub enum NoSpace {
    /// Less is free than the floor.
    #[error("{available} are free where at least {floor} must stay free")]
    UnderFloor {
        /// What is free.
        available: ByteSize,
        /// What must stay free.
        floor: ByteSize,
    },
    /// The file system could not be asked.
    #[error("the free space can't be read")]
    Unreadable(#[source] io::Error),
}

impl Faulty for NoSpace {
    fn fault(&self) -> Fault {
        Fault::Dependency
    }
}

/// A file system's free-space floor.
#[derive(Clone)]
pub struct FreeSpace {
    path: PathBuf,
    floor: ByteSize,
    probe: Arc<dyn SpaceProbe>,
}

impl FreeSpace {
    /// Keeps at least `floor` free on the file system of `path`, which must exist.
    pub fn new(path: impl Into<PathBuf>, floor: ByteSize, probe: Arc<dyn SpaceProbe>) -> Self {
        Self { path: path.into(), floor, probe }
    }

    /// Whether one may write now. Costs one system call.
    ///
    /// # Errors
    /// Under the floor, or the file system does not answer.
    pub fn check(&self) -> Result<(), NoSpace> {
        let available = self.probe.available(&self.path).map_err(NoSpace::Unreadable)?;
        if available < self.floor { Err(NoSpace::UnderFloor { available, floor: self.floor }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_answers_and_the_floor_decides() {
        let here = Path::new(".");
        let available = SystemSpace.available(here).unwrap();
        assert!(available > ByteSize(0));
        let space = |floor| FreeSpace::new(here, floor, Arc::new(SystemSpace));
        space(ByteSize(1)).check().unwrap();
        let error = space(ByteSize(u64::MAX)).check().unwrap_err();
        assert!(matches!(error, NoSpace::UnderFloor { .. }) && error.is_retryable(), "{error}");
        let gone = FreeSpace::new("/nonexistent/place", ByteSize(1), Arc::new(SystemSpace));
        assert!(matches!(gone.check(), Err(NoSpace::Unreadable(_))));
    }
}
