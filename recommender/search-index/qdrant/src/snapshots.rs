//! Snapshots of the live collection: made, listed and put back.

use std::time::Duration;

use search_index::SearchError;
use url::Url;

use crate::{ApiKey, QdrantIndex, shape};

/// How long the server may take to write a snapshot, or to read one back.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// A snapshot that lies on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its file name.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Where it can be fetched, with the API key, and restored from.
    pub location: Url,
}

impl QdrantIndex {
    /// Makes a snapshot of the live collection: text, vectors and positions as of one moment. It
    /// lies on the server, in a folder named after the collection; once a rebuild has put another
    /// collection in place it is not listed any more, so one that shall be kept is best fetched.
    ///
    /// # Errors
    /// A failing server.
    pub async fn create_snapshot(&self) -> Result<Snapshot, SearchError> {
        let inner = self.inner();
        let live = inner.live().await?;
        let client = inner.server.patient_client(PATIENCE)?;
        let call = client.create_snapshot(live.name());
        let made = inner.server.patient_call("making a snapshot", PATIENCE, call).await?.snapshot_description;
        let made = made.ok_or_else(|| SearchError::Damaged("the server made a snapshot without a name".into()))?;
        self.described(live.name(), made.name, made.size)
    }

    /// The snapshots of the live collection.
    ///
    /// # Errors
    /// A failing server.
    pub async fn list_snapshots(&self) -> Result<Vec<Snapshot>, SearchError> {
        let inner = self.inner();
        let live = inner.live().await?;
        let call = inner.server.client.list_snapshots(live.name());
        let all = inner.server.call("listing snapshots", call).await?.snapshot_descriptions;
        all.into_iter().map(|one| self.described(live.name(), one.name, one.size)).collect()
    }

    fn described(&self, collection: &str, name: String, size: i64) -> Result<Snapshot, SearchError> {
        let location = self.rest(&["collections", collection, "snapshots", &name])?;
        Ok(Snapshot { name, bytes: u64::try_from(size).unwrap_or(0), location })
    }

    fn rest(&self, path: &[&str]) -> Result<Url, SearchError> {
        let mut url = self.inner().server.address.rest.clone();
        let Ok(mut segments) = url.path_segments_mut() else {
            return Err(SearchError::Damaged("the server's HTTP address takes no path".into()));
        };
        segments.pop_if_empty().extend(path);
        drop(segments);
        Ok(url)
    }

    /// Reads the snapshot at `location`, an `http:` address or a `file:` on the server, into a new
    /// collection and puts that into the place of the live one, which is dropped. Searches see
    /// the one or the other.
    ///
    /// The positions are those of the snapshot, so the index stage takes up what has happened
    /// since; it must not run meanwhile, for it would carry its own position over.
    ///
    /// # Errors
    /// [`SearchError::Refused`]: the snapshot can't be read, or is not of an index of this
    /// program's; a failing server. The live index is as it was.
    pub async fn restore_snapshot(&self, location: &Url) -> Result<(), SearchError> {
        let inner = self.inner();
        let name = inner.new_name();
        let outcome = self.recover(&name, location).await;
        if outcome.is_ok() {
            return inner.switch_to(&name).await;
        }
        // Nothing may be there to drop.
        let _ = inner.drop_collection(&name).await;
        outcome
    }

    async fn recover(&self, name: &str, location: &Url) -> Result<(), SearchError> {
        let server = &self.inner().server;
        let shown = &server.address.shown;
        let mut body = serde_json::json!({ "location": location, "priority": "snapshot" });
        let mut request = reqwest::Client::new().put(self.rest(&["collections", name, "snapshots", "recover"])?);
        if let Some(key) = server.api_key().map(ApiKey::reveal) {
            request = request.header("api-key", key);
            if location.origin() == server.address.rest.origin() {
                body["api_key"] = key.into();
            }
        }
        let failed = |error: reqwest::Error| {
            SearchError::Unavailable(format!("Qdrant at {shown}, restoring a snapshot: {}", error.without_url()))
        };
        let response = request.timeout(PATIENCE).json(&body).send().await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            let told = response.text().await.map_err(failed)?;
            let told = told.chars().take(500).collect::<String>();
            return Err(SearchError::Refused {
                problem: format!("Qdrant at {shown} can't restore the snapshot ({status}): {told}"),
                remedy: "name one that `list_snapshots` tells, or a file: on the server; rest_port= in the address \
                         is the port of its HTTP interface"
                    .into(),
            });
        }
        shape::check(name, &self.inner().describe(name).await?, &[])
    }
}
