//! The search index on a Qdrant server, for many processes: the remote back end of
//! [`search_index::SearchIndex`].
//!
//! It keeps the guarantees of the seam with one collection behind an alias ([`QdrantIndex`]).
//! Words are found by a sparse vector that the server scores by rarity, mistyped ones by looking
//! up the words of the index first, meaning by named dense vectors; the server fuses both.
//! Versions are guarded by conditions of the upserts themselves, so any number of processes may
//! write. The binary opens it where the configuration names `qdrant://…`.

mod collection;
mod encode;
mod error;
mod index;
mod options;
mod requests;
mod server;
mod shape;
mod snapshots;
mod spelling;

pub use index::QdrantIndex;
pub use options::{ApiKey, QdrantOptions};
pub use snapshots::Snapshot;
