//! The objects seam: upload chunks, media segments and Delta tables behind `object_store`.
//!
//! The trait is [`object_store::ObjectStore`]. [`DurableLocal`] keeps objects as files and, unlike
//! the library's own local store, acknowledges a write only when it survives the loss of power. A
//! bucket of S3, or of what speaks its protocol, is tried before it is used: it must exist, grant
//! what the program does, and keep conditional writes apart.
//! Only the binary's `bootstrap.rs` opens stores; everyone else holds the trait object.

mod dirs;
mod durable;
mod error;
mod multipart;
mod presign;
mod read_only;
mod s3;
mod space;
mod spec;
mod staging;
mod sync;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod failing;

use std::sync::Arc;

use object_store::{ObjectStore, local::LocalFileSystem};

pub use durable::DurableLocal;
pub use error::{ObjectsError, S3Problem, fault_of, no_space};
pub use presign::{LONGEST_PRESIGNED, Presign};
pub use s3::{S3Credentials, S3Spec};
pub use space::{FileSystemProbe, FreeSpaceGuard, NoSpace, SpaceProbe};
pub use spec::{InvalidStorage, StorageSpec};

/// An open store, and what it can do besides.
#[derive(Debug, Clone)]
pub struct OpenedObjects {
    /// The objects.
    pub store: Arc<dyn ObjectStore>,
    /// Makes addresses at which anyone may read an object; none for files.
    pub presign: Option<Arc<dyn Presign>>,
}

/// Opens the store that `spec` names. Writes to files are refused while `space` says so; it says
/// nothing about a bucket.
///
/// # Errors
/// The directory can't be made, or is not writable; the bucket failed its trial, and how.
pub async fn open_objects(spec: &StorageSpec, space: FreeSpaceGuard) -> Result<OpenedObjects, ObjectsError> {
    match spec {
        StorageSpec::File(root) => {
            let store = Arc::new(DurableLocal::open(root.clone(), space).await?);
            Ok(OpenedObjects { store, presign: None })
        }
        StorageSpec::S3(spec) => s3::open(spec).await,
    }
}

/// Opens the store that `spec` names for reading, beside a server that writes it: nothing is made,
/// cleared away or locked, and every write is refused.
///
/// # Errors
/// [`ObjectsError::Absent`] if there is no such directory; the bucket failed its trial, and how.
pub async fn open_for_reading(spec: &StorageSpec) -> Result<Arc<dyn ObjectStore>, ObjectsError> {
    match spec {
        StorageSpec::File(root) => {
            if !root.is_dir() {
                return Err(ObjectsError::Absent { path: root.clone() });
            }
            Ok(Arc::new(read_only::ReadOnly(Arc::new(LocalFileSystem::new_with_prefix(root)?))))
        }
        StorageSpec::S3(spec) => s3::open_for_reading(spec).await,
    }
}
