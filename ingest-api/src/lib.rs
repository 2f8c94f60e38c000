//! What comes in: resumable uploads ([`uploads`], tus 1.0) and playback telemetry
//! ([`telemetry`]). Mounted by the `ingest` role.
//!
//! An acknowledgement means durable: a PATCH is answered once its chunk objects and their rows
//! are, a telemetry batch once the log has it, or,
//! where the log is on other machines and does not answer, a queue on this machine's disk.

pub mod telemetry;
pub mod uploads;

use std::sync::Arc;

use access::Access;
use axum::extract::FromRef;
use object_store::ObjectStore;
use utoipa_axum::router::OpenApiRouter;

pub use telemetry::{Edge, EdgeOptions, Spool};
pub use uploads::{UploadOptions, Uploads};

/// What the handlers of this role share.
#[derive(Clone)]
pub struct Ingest {
    /// Who is asking.
    pub access: Arc<Access>,
    /// Where upload chunks go.
    pub objects: Arc<dyn ObjectStore>,
    /// Uploads under way.
    pub uploads: Arc<Uploads>,
    /// Telemetry on its way into the log.
    pub edge: Arc<Edge>,
}

impl FromRef<Ingest> for Arc<Access> {
    fn from_ref(ingest: &Ingest) -> Self {
        Self::clone(&ingest.access)
    }
}

/// The routes of the role.
#[must_use]
pub fn router(ingest: Ingest) -> OpenApiRouter {
    uploads::routes::router().merge(telemetry::routes::router()).with_state(ingest)
}
