//! `GET /api/v1/instance`: what a client needs to know before anybody signs in.

use access::SignUp;
use axum::{Json, extract::State};
use event_schemas::ByteSize;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::Playback;

/// The instance.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InstanceView {
    /// Its name.
    pub name: String,
    /// Who may sign up.
    pub sign_up: SignUp,
    /// The largest file taken, in bytes.
    pub max_upload_bytes: ByteSize,
    /// The program's version.
    pub version: String,
}

#[utoipa::path(get, path = "/api/v1/instance", tag = "instance", responses((status = 200, body = InstanceView)))]
async fn instance(State(playback): State<Playback>) -> Json<InstanceView> {
    Json(InstanceView::clone(&playback.instance))
}

/// The route of this module.
#[must_use]
pub fn router() -> OpenApiRouter<Playback> {
    OpenApiRouter::new().routes(routes!(instance))
}
