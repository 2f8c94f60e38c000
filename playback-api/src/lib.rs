//! Everything that is read: videos, feeds, search, studio figures, live events and media.
//! Mounted by the `playback` role.
//!
//! Figures come from the serving store, texts from the catalog, bytes from the object store.
//! `access::policy` decides for each of them; nothing here decides by itself.

pub mod cursor;
pub mod events;
pub mod feeds;
pub mod follow;
pub mod hls;
pub mod instance;
pub mod media;
pub mod media_access;
pub mod playback;
pub mod shapes;
pub mod studio;
pub mod videos;
pub mod web;

use std::sync::Arc;

use access::{Access, Problem};
use axum::extract::FromRef;
use catalog::CatalogError;
use event_schemas::{Millis, VideoId};
use object_store::ObjectStore;
use objects::Presign;
use search_index::SearchIndex;
use serving_store::{ServingStore, SingleFlight};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

/// What the handlers of this role share.
#[derive(Clone)]
pub struct Playback {
    /// Who is asking.
    pub access: Arc<Access>,
    /// Segments and posters.
    pub objects: Arc<dyn ObjectStore>,
    /// How players read public segments from the store itself; none to serve them from here.
    pub presigned: Option<Presigned>,
    /// Figures, rankings, fan-out.
    pub store: Arc<dyn ServingStore>,
    /// Playlists being put together.
    pub playlists: Arc<SingleFlight<CatalogError>>,
    /// Text search.
    pub index: Arc<dyn SearchIndex>,
    /// Partitions of the `playback` topic, whose counters are added up.
    pub playback_partitions: u32,
    /// What `/api/v1/instance` says.
    pub instance: Arc<instance::InstanceView>,
    /// Ends the event streams at shutdown.
    pub closing: CancellationToken,
}

/// Addresses of the object store for players.
#[derive(Debug, Clone)]
pub struct Presigned {
    /// Who makes them.
    pub by: Arc<dyn Presign>,
    /// How long each is valid.
    pub valid_for: Millis,
}

impl FromRef<Playback> for Arc<Access> {
    fn from_ref(playback: &Playback) -> Self {
        Self::clone(&playback.access)
    }
}

/// A video id from a path; anything else looks like a video that is not there.
pub(crate) fn video_id(text: &str) -> Result<VideoId, Problem> {
    text.parse().map_err(|_| Problem::not_found("video"))
}

/// The routes of the role that answer under `/api` and `/media`.
#[must_use]
pub fn router(playback: Playback) -> OpenApiRouter {
    OpenApiRouter::new()
        .merge(instance::router())
        .merge(videos::router())
        .merge(playback::router())
        .merge(feeds::router())
        .merge(studio::router())
        .merge(events::router())
        .merge(media::router())
        .merge(media_access::router())
        .with_state(playback)
}
