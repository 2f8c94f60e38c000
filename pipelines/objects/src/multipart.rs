//! An object written in parts, which appears as a whole when it is complete.

use std::{
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
};

use event_schemas::ByteSize;
use futures::FutureExt;
use object_store::{MultipartUpload, PutMode, PutPayload, PutResult, Result, UploadPart, path::Path};
use parking_lot::RwLock;

use crate::{
    durable::{Inner, blocking, failed},
    staging::Staged,
};

/// A multipart upload under way. Dropping it without completing it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct LocalUpload {
    inner: Arc<Inner>,
    location: Path,
    dest: PathBuf,
    state: Arc<State>,
    /// Where the next part begins.
    end: u64,
}

#[derive(Debug)]
struct State {
    /// Parts share it; completing takes the file out of it alone, after the parts under way.
    staged: RwLock<Option<Staged>>,
    written: AtomicU64,
}

impl LocalUpload {
    pub(crate) fn new(inner: Arc<Inner>, location: Path, dest: PathBuf, staged: Staged) -> Self {
        let state = State { staged: RwLock::new(Some(staged)), written: AtomicU64::new(0) };
        Self { inner, location, dest, state: Arc::new(state), end: 0 }
    }
}

/// A multipart upload was used after it ended, or completed without all its parts.
#[derive(Debug, thiserror::Error)]
enum MultipartError {
    #[error("the upload of `{0}` has already ended")]
    Ended(String),
    #[error("the upload of `{location}` has {written} of {wanted} bytes: a part failed or was not awaited")]
    Incomplete { location: String, written: u64, wanted: u64 },
}

#[async_trait::async_trait]
impl MultipartUpload for LocalUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let mut at = self.end;
        self.end += data.content_length() as u64;
        let (inner, state, location) = (Arc::clone(&self.inner), Arc::clone(&self.state), self.location.clone());
        blocking(move || {
            let size = ByteSize(data.content_length() as u64);
            inner.space.check(size).map_err(|error| failed(&location, error))?;
            let staged = state.staged.read();
            let staged =
                staged.as_ref().ok_or_else(|| failed(&location, MultipartError::Ended(location.to_string())))?;
            for chunk in &data {
                staged.file.write_all_at(chunk, at).map_err(|error| inner.io_error(&location, size, error))?;
                at += chunk.len() as u64;
            }
            state.written.fetch_add(size.0, Ordering::SeqCst);
            Ok(())
        })
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (inner, state) = (Arc::clone(&self.inner), Arc::clone(&self.state));
        let (location, dest, wanted) = (self.location.clone(), self.dest.clone(), self.end);
        blocking(move || {
            let staged = state.staged.write().take();
            let staged = staged.ok_or_else(|| failed(&location, MultipartError::Ended(location.to_string())))?;
            let written = state.written.load(Ordering::SeqCst);
            if written != wanted {
                let location_text = location.to_string();
                return Err(failed(&location, MultipartError::Incomplete { location: location_text, written, wanted }));
            }
            inner.place(staged, &location, &dest, &PutMode::Overwrite)
        })
        .await
    }

    async fn abort(&mut self) -> Result<()> {
        let (state, location) = (Arc::clone(&self.state), self.location.clone());
        blocking(move || {
            let staged = state.staged.write().take();
            staged.map(drop).ok_or_else(|| failed(&location, MultipartError::Ended(location.to_string())))
        })
        .await
    }
}
