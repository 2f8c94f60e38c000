//! `millrace dead-letters`: lists records that could not be processed, and puts one back.

use event_schemas::Topic;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::client::{Client, ClientError};

/// One dead letter.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeadLetterView {
    /// The topic it was in.
    pub topic: String,
    /// Its offset among the topic's dead letters.
    pub offset: u64,
    /// The stage that gave up.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// Tries made.
    pub attempts: u32,
    /// The partition it lay in.
    pub source_partition: u32,
    /// Its offset there.
    pub source_offset: u64,
    /// When the stage gave up (RFC 3339).
    pub at: String,
}

/// Dead letters.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeadLetterList {
    /// Oldest first.
    pub items: Vec<DeadLetterView>,
}

/// The dead letters of a topic, or of all.
///
/// # Errors
/// See [`ClientError`].
pub async fn list(client: &Client, topic: Option<Topic>) -> Result<DeadLetterList, ClientError> {
    let topics = topic.map_or_else(|| Topic::ALL.to_vec(), |topic| vec![topic]);
    let mut items = Vec::new();
    for topic in topics {
        let list: DeadLetterList = client.get(&format!("/api/v1/operator/dead-letters/{topic}")).await?;
        items.extend(list.items);
    }
    Ok(DeadLetterList { items })
}

/// Puts the record of a dead letter back into its topic, to be processed once more.
///
/// # Errors
/// See [`ClientError`].
pub async fn replay(client: &Client, topic: Topic, offset: u64) -> Result<(), ClientError> {
    let path = format!("/api/v1/operator/dead-letters/{topic}/{offset}/replay");
    client.send(client.request(Method::POST, &path)).await.map(|_| ())
}
