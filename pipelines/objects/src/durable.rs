//! Objects as files, durable when acknowledged.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use event_schemas::ByteSize;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode, Result,
    local::LocalFileSystem, path::Path,
};

use crate::{
    dirs::Dirs,
    error::ObjectsError,
    multipart::LocalUpload,
    space::FreeSpaceGuard,
    staging::{STAGING, Staged, Staging},
    sync::{Fsync, Syncs},
};

const STORE: &str = "DurableLocal";

/// Objects as files under one directory.
///
/// # Guarantees
/// * **Durable**: a write, copy, rename or delete resolves when its outcome survives the loss of
///   power: the contents are synced before the object has its name, and every directory made or
///   changed is synced before the reply.
/// * **Atomic**: an object is seen whole or not at all. It may be seen shortly before its write is
///   acknowledged.
/// * **Conditional**: of any number of concurrent [`PutMode::Create`] one wins, the others get
///   [`Error::AlreadyExists`]; the winner's object is durable by the time they do.
/// * **Bounded**: below the floor of free space, and on a full disk, writes fail with
///   [`crate::NoSpace`] and leave nothing; deletes go on.
/// * **After another error** a write may or may not have happened.
/// * **Cancellation**: dropping the future of a write does not take it back.
/// * Names that begin with `.staging/` are refused and never listed.
#[derive(Debug, Clone)]
pub struct DurableLocal {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    files: LocalFileSystem,
    dirs: Dirs,
    staging: Staging,
    sync: Arc<dyn Syncs>,
    pub(crate) space: FreeSpaceGuard,
}

impl DurableLocal {
    /// Opens the store in `root`, which is made if it is absent, and removes what killed
    /// processes were writing.
    ///
    /// # Errors
    /// The directory can't be made, read or written.
    pub async fn open(root: impl Into<PathBuf>, space: FreeSpaceGuard) -> Result<Self, ObjectsError> {
        Self::open_with(root.into(), space, Arc::new(Fsync)).await
    }

    pub(crate) async fn open_with(
        root: PathBuf,
        space: FreeSpaceGuard,
        sync: Arc<dyn Syncs>,
    ) -> Result<Self, ObjectsError> {
        blocking(move || Ok(Self::open_blocking(root, space, sync))).await?
    }

    fn open_blocking(root: PathBuf, space: FreeSpaceGuard, sync: Arc<dyn Syncs>) -> Result<Self, ObjectsError> {
        let at = |source| ObjectsError::Directory { path: root.clone(), source };
        let dirs = Dirs::open(&root, Arc::clone(&sync)).map_err(at)?;
        let staging = Staging::open(dirs.root()).map_err(at)?;
        let files = LocalFileSystem::new_with_prefix(dirs.root())?;
        Ok(Self { inner: Arc::new(Inner { files, dirs, staging, sync, space }) })
    }
}

impl Inner {
    /// The file of `location`.
    fn file_of(&self, location: &Path) -> Result<PathBuf> {
        if is_reserved(location) {
            return Err(Error::NotSupported { source: format!("`{location}`: `{STAGING}` is reserved").into() });
        }
        self.files.path_to_filesystem(location)
    }

    fn stage(&self, location: &Path, payload: &PutPayload) -> Result<Staged> {
        let size = ByteSize(payload.content_length() as u64);
        self.space.check(size).map_err(|error| failed(location, error))?;
        let mut staged = self.staging.file().map_err(|error| self.io_error(location, size, error))?;
        payload
            .iter()
            .try_for_each(|chunk| staged.file.write_all(chunk))
            .map_err(|error| self.io_error(location, size, error))?;
        Ok(staged)
    }

    /// Makes the contents durable, then gives them their name, durably.
    pub(crate) fn place(
        &self,
        mut staged: Staged,
        location: &Path,
        dest: &std::path::Path,
        mode: &PutMode,
    ) -> Result<PutResult> {
        let started = std::time::Instant::now();
        let placed: io::Result<fs::Metadata> = (|| {
            self.sync.file(&staged.file, &staged.path)?;
            let metadata = staged.file.metadata()?;
            self.dirs.change_at(dest, || match mode {
                PutMode::Create => fs::hard_link(&staged.path, dest),
                _ => fs::rename(&staged.path, dest),
            })?;
            Ok(metadata)
        })();
        let metadata = placed.map_err(|error| self.io_error(location, ByteSize(0), error))?;
        if !matches!(mode, PutMode::Create) {
            staged.placed();
        }
        metrics::counter!("millrace_objects_written_bytes_total").increment(metadata.len());
        metrics::histogram!("millrace_objects_place_seconds").record(started.elapsed());
        Ok(PutResult { e_tag: Some(e_tag(&metadata)), version: None })
    }

    fn copy(&self, from: &Path, to: &Path, mode: CopyMode) -> Result<()> {
        let (source, dest) = (self.file_of(from)?, self.file_of(to)?);
        self.must_be_file(from, &source)?;
        // Objects are replaced, never changed in place, so two names may share one file.
        let copied = match mode {
            CopyMode::Create => self.dirs.change_at(&dest, || fs::hard_link(&source, &dest)),
            CopyMode::Overwrite => {
                let staged = self.staging.path();
                fs::hard_link(&source, &staged)
                    .and_then(|()| self.dirs.change_at(&dest, || fs::rename(&staged, &dest)))
                    // Renaming onto another name of the same file does nothing: the name stays.
                    .inspect(|()| drop(fs::remove_file(&staged)))
                    .inspect_err(|_| drop(fs::remove_file(&staged)))
            }
        };
        copied.map_err(|error| {
            let missing = if error.kind() == io::ErrorKind::AlreadyExists { to } else { from };
            self.io_error(missing, ByteSize(0), error)
        })
    }

    fn rename(&self, from: &Path, to: &Path, mode: RenameTargetMode) -> Result<()> {
        if matches!(mode, RenameTargetMode::Overwrite) && from == to {
            return self.must_be_file(from, &self.file_of(from)?);
        }
        // The new name is durable before the old one goes: a crash in between leaves both.
        let mode = match mode {
            RenameTargetMode::Overwrite => CopyMode::Overwrite,
            RenameTargetMode::Create => CopyMode::Create,
        };
        self.copy(from, to, mode)?;
        self.delete(from)
    }

    fn delete(&self, location: &Path) -> Result<()> {
        let path = self.file_of(location)?;
        self.dirs.remove_file(&path).map_err(|error| self.io_error(location, ByteSize(0), error))
    }

    fn must_be_file(&self, location: &Path, path: &std::path::Path) -> Result<()> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => Ok(()),
            Ok(_) => Err(self.io_error(location, ByteSize(0), io::ErrorKind::NotFound.into())),
            Err(error) => Err(self.io_error(location, ByteSize(0), error)),
        }
    }

    /// The library's error for what the system said about `location`.
    pub(crate) fn io_error(&self, location: &Path, wanted: ByteSize, error: io::Error) -> Error {
        let path = location.to_string();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NotFound { path, source: error.into() },
            io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: error.into() },
            io::ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: error.into() },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => failed(location, self.space.full(wanted)),
            _ => failed(location, error),
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(STORE).field("root", &self.dirs.root()).field("space", &self.space).finish_non_exhaustive()
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}({})", self.inner.dirs.root().display())
    }
}

#[async_trait::async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if matches!(opts.mode, PutMode::Update(_)) {
            return Err(self.missing("a put that depends on the object's ETag"));
        }
        if !opts.attributes.is_empty() {
            return Err(self.missing("attributes of an object"));
        }
        let (inner, location) = (Arc::clone(&self.inner), location.clone());
        let dest = inner.file_of(&location)?;
        blocking(move || {
            let staged = inner.stage(&location, &payload)?;
            inner.place(staged, &location, &dest, &opts.mode)
        })
        .await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        if !opts.attributes.is_empty() {
            return Err(self.missing("attributes of an object"));
        }
        let (inner, location) = (Arc::clone(&self.inner), location.clone());
        let dest = inner.file_of(&location)?;
        blocking(move || {
            let staged = inner.stage(&location, &PutPayload::new())?;
            Ok(Box::new(LocalUpload::new(inner, location, dest, staged)) as Box<dyn MultipartUpload>)
        })
        .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.file_of(location)?;
        self.inner.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.inner.file_of(location)?;
        self.inner.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let inner = Arc::clone(&self.inner);
        locations
            .map(move |location| {
                let inner = Arc::clone(&inner);
                blocking(move || {
                    let location = location?;
                    inner.delete(&location)?;
                    Ok(location)
                })
            })
            .buffered(8)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.files.list(prefix).try_filter(|meta| futures::future::ready(!is_reserved(&meta.location))).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner
            .files
            .list_with_offset(prefix, offset)
            .try_filter(|meta| futures::future::ready(!is_reserved(&meta.location)))
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.inner.files.list_with_delimiter(prefix).await?;
        listed.common_prefixes.retain(|prefix| !is_reserved(prefix));
        listed.objects.retain(|meta| !is_reserved(&meta.location));
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (inner, from, to) = (Arc::clone(&self.inner), from.clone(), to.clone());
        blocking(move || inner.copy(&from, &to, options.mode)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (inner, from, to) = (Arc::clone(&self.inner), from.clone(), to.clone());
        blocking(move || inner.rename(&from, &to, options.target_mode)).await
    }
}

impl DurableLocal {
    fn missing(&self, operation: &str) -> Error {
        Error::NotImplemented { operation: operation.to_owned(), implementer: self.to_string() }
    }
}

fn is_reserved(location: &Path) -> bool {
    location.parts().next().is_some_and(|part| part.as_ref() == STAGING)
}

/// The ETag that the library gives the same file when it is read.
fn e_tag(metadata: &fs::Metadata) -> String {
    let modified = metadata.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    format!("{:x}-{:x}-{:x}", metadata.ino(), modified.unwrap_or_default().as_micros(), metadata.len())
}

/// What failed at which object.
#[derive(Debug, thiserror::Error)]
#[error("object `{location}`: {source}")]
struct AtObject {
    location: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

pub(crate) fn failed(location: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let source = AtObject { location: location.to_string(), source: Box::new(error) };
    Error::Generic { store: STORE, source: Box::new(source) }
}

/// Runs `work` where it may block. It goes on if the future is dropped.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

#[cfg(test)]
mod tests;
