//! The objects seam: upload chunks, media segments and Delta tables behind `object_store`.
//!
//! The trait is [`object_store::ObjectStore`]; [`DurableLocal`] keeps objects as files and, unlike
//! the library's own local store, acknowledges a write only when it survives the loss of power.
//! Only the binary's `bootstrap.rs` calls [`open_objects`]; everyone else holds the trait object.

mod dirs;
mod durable;
mod error;
mod multipart;
mod space;
mod spec;
mod staging;
mod sync;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod failing;

use std::sync::Arc;

use object_store::ObjectStore;

pub use durable::DurableLocal;
pub use error::{ObjectsError, fault_of, no_space};
pub use space::{FileSystemProbe, FreeSpaceGuard, NoSpace, SpaceProbe};
pub use spec::{InvalidStorage, StorageSpec};

/// Opens the store that `spec` names. Writes are refused while `space` says so.
///
/// # Errors
/// The directory can't be made, or is not writable.
pub async fn open_objects(spec: &StorageSpec, space: FreeSpaceGuard) -> Result<Arc<dyn ObjectStore>, ObjectsError> {
    match spec {
        StorageSpec::File(root) => Ok(Arc::new(DurableLocal::open(root.clone(), space).await?)),
    }
}
