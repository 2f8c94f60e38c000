//! `millrace lake flush`: waits until the lake holds all that was acknowledged.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::client::{Client, ClientError};

/// What the lake holds.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Flushed {
    /// Next offset of each partition of `playback` that the lake's table has committed.
    pub offsets: BTreeMap<String, u64>,
    /// The version of the table; null while nothing was ever committed.
    pub table_version: Option<u64>,
}

/// Asks the server to commit what its log holds now, and waits for it.
///
/// # Errors
/// See [`ClientError`].
pub async fn flush(client: &Client) -> Result<Flushed, ClientError> {
    client.json(client.request(Method::POST, "/api/v1/operator/lake/flush")).await
}
