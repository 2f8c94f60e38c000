//! The free-space floor: writes stop before the disk is full, and resume by themselves.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use event_schemas::{ByteSize, Fault, Faulty};

/// There is not enough free space for a write. Nothing was written; the same write may succeed
/// once there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{free} are free and {wanted} wanted, but {floor} must stay free")]
pub struct NoSpace {
    /// What is free now.
    pub free: ByteSize,
    /// What the write needs.
    pub wanted: ByteSize,
    /// What must stay free.
    pub floor: ByteSize,
}

impl Faulty for NoSpace {
    fn fault(&self) -> Fault {
        Fault::Dependency
    }
}

/// Tells how much space is free.
pub trait SpaceProbe: Send + Sync {
    /// The space that this program may still use where `path` lies.
    ///
    /// # Errors
    /// The system can't tell.
    fn free(&self, path: &Path) -> io::Result<ByteSize>;
}

/// Asks the file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileSystemProbe;

impl SpaceProbe for FileSystemProbe {
    fn free(&self, path: &Path) -> io::Result<ByteSize> {
        let stat = nix::sys::statvfs::statvfs(path)?;
        Ok(ByteSize(stat.blocks_available().saturating_mul(stat.fragment_size())))
    }
}

impl<F: Fn() -> ByteSize + Send + Sync> SpaceProbe for F {
    fn free(&self, _path: &Path) -> io::Result<ByteSize> {
        Ok(self())
    }
}

/// Refuses writes that would leave less than `floor` free where `path` lies. It keeps no state:
/// each call asks anew, so writes resume with the space.
#[derive(Clone)]
pub struct FreeSpaceGuard {
    path: PathBuf,
    floor: ByteSize,
    probe: Arc<dyn SpaceProbe>,
}

impl FreeSpaceGuard {
    /// A guard over the file system that holds `path`, which must exist when it is asked.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, floor: ByteSize, probe: Arc<dyn SpaceProbe>) -> Self {
        Self { path: path.into(), floor, probe }
    }

    /// Whether `wanted` may be written now. A system that can't tell does not hinder: the write
    /// itself then says what is wrong.
    ///
    /// # Errors
    /// [`NoSpace`].
    pub fn check(&self, wanted: ByteSize) -> Result<(), NoSpace> {
        let free = match self.probe.free(&self.path) {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "the free space can't be told");
                return Ok(());
            }
        };
        if free.0 < self.floor.0.saturating_add(wanted.0) {
            return Err(NoSpace { free, wanted, floor: self.floor });
        }
        Ok(())
    }

    /// The refusal for a disk that turned out to be full in the middle of a write.
    pub(crate) fn full(&self, wanted: ByteSize) -> NoSpace {
        let free = self.probe.free(&self.path).unwrap_or_default();
        NoSpace { free, wanted, floor: self.floor }
    }
}

impl std::fmt::Debug for FreeSpaceGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FreeSpaceGuard").field("path", &self.path).field("floor", &self.floor).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_stays_free() {
        let guard = |free: u64| FreeSpaceGuard::new("/", ByteSize(100), Arc::new(move || ByteSize(free)));
        assert_eq!(guard(110).check(ByteSize(10)), Ok(()));
        let refused = NoSpace { free: ByteSize(109), wanted: ByteSize(10), floor: ByteSize(100) };
        assert_eq!(guard(109).check(ByteSize(10)), Err(refused));
        assert!(guard(u64::MAX - 1).check(ByteSize(u64::MAX - 10)).is_err());
    }

    #[test]
    fn the_file_system_tells_its_space() {
        assert!(FileSystemProbe.free(Path::new("/")).unwrap() > ByteSize(0));
        assert!(FileSystemProbe.free(Path::new("/no/such/place")).is_err());
    }
}
