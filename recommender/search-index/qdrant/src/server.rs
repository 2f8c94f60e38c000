//! A connection to a server: every call bounded in time, counted, and its errors understood.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use qdrant_client::{Qdrant, QdrantError};
use search_index::SearchError;

use crate::{
    ApiKey,
    error::from_server,
    options::{Address, QdrantOptions},
};

/// The oldest server that can be used: older ones ignore conditions of upserts, and with them the
/// order of versions.
const OLDEST: (u64, u64) = (1, 18);

/// A server. It connects by itself, again after each loss; nothing is kept open by a failed call.
pub(crate) struct Server {
    pub(crate) client: Qdrant,
    pub(crate) address: Address,
    api_key: Option<ApiKey>,
    timeout: Duration,
}

impl Server {
    pub(crate) fn new(address: Address, options: &QdrantOptions) -> Result<Self, SearchError> {
        let api_key = options.api_key.clone().or_else(|| address.api_key.clone());
        let client = client(&address, api_key.as_ref(), options.timeout)?;
        Ok(Self { client, address, api_key, timeout: options.timeout })
    }

    /// The outcome of `call`, which does `what`.
    ///
    /// # Errors
    /// [`SearchError::Unavailable`] after the time limit too: the server may still do it.
    pub(crate) fn call<'a, T: 'a>(
        &'a self,
        what: &'static str,
        call: impl Future<Output = Result<T, QdrantError>> + Send + 'a,
    ) -> impl Future<Output = Result<T, SearchError>> + Send + 'a {
        self.patient_call(what, self.timeout, call)
    }

    /// The same for what takes longer.
    pub(crate) fn patient_call<'a, T: 'a>(
        &'a self,
        what: &'static str,
        limit: Duration,
        call: impl Future<Output = Result<T, QdrantError>> + Send + 'a,
    ) -> impl Future<Output = Result<T, SearchError>> + Send + 'a {
        // Boxed before it becomes part of another future: it is large.
        let call = self.limited(what, limit, Box::pin(call));
        async move { call.await?.map_err(|error| from_server(&self.address.shown, what, error)) }
    }

    /// The same as [`Server::call`] with the server's own error.
    pub(crate) fn raw<'a, T: 'a>(
        &'a self,
        what: &'static str,
        call: impl Future<Output = Result<T, QdrantError>> + Send + 'a,
    ) -> impl Future<Output = Result<Result<T, QdrantError>, SearchError>> + Send + 'a {
        self.limited(what, self.timeout, Box::pin(call))
    }

    async fn limited<T>(
        &self,
        what: &'static str,
        limit: Duration,
        call: BoxFuture<'_, Result<T, QdrantError>>,
    ) -> Result<Result<T, QdrantError>, SearchError> {
        let started = Instant::now();
        let outcome = tokio::time::timeout(limit, call).await;
        let told = if matches!(outcome, Ok(Ok(_))) { "done" } else { "failed" };
        metrics::histogram!("millrace_qdrant_call_seconds", "call" => what, "outcome" => told)
            .record(started.elapsed());
        outcome.map_err(|_| {
            let shown = &self.address.shown;
            SearchError::Unavailable(format!("Qdrant at {shown}, {what}: no answer within {limit:?}"))
        })
    }

    /// A client for what takes longer: the time limit of a call is the connection's too.
    pub(crate) fn patient_client(&self, limit: Duration) -> Result<Qdrant, SearchError> {
        client(&self.address, self.api_key.as_ref(), limit)
    }

    pub(crate) fn api_key(&self) -> Option<&ApiKey> {
        self.api_key.as_ref()
    }

    /// Whether there is a server that can be used.
    ///
    /// # Errors
    /// [`SearchError::Unavailable`]: nothing answers; [`SearchError::Refused`]: it is too old.
    pub(crate) async fn greet(&self) -> Result<(), SearchError> {
        let shown = &self.address.shown;
        let reply = self.call("its health", self.client.health_check()).await.map_err(|error| match error {
            SearchError::Unavailable(why) => SearchError::Unavailable(format!(
                "{why}. Is the server up, and does `index` name its gRPC port (6334 unless configured otherwise)?"
            )),
            other => other,
        })?;
        if version(&reply.version).is_none_or(|version| version < OLDEST) {
            let (major, minor) = OLDEST;
            return Err(SearchError::Refused {
                problem: format!("Qdrant at {shown} is of version {}", reply.version),
                remedy: format!("version {major}.{minor} or newer is needed: upgrade the server"),
            });
        }
        Ok(())
    }
}

fn client(address: &Address, key: Option<&ApiKey>, timeout: Duration) -> Result<Qdrant, SearchError> {
    Qdrant::from_url(&address.grpc)
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(2)))
        .api_key(key.map(ApiKey::reveal))
        .keep_alive_while_idle()
        .skip_compatibility_check()
        .build()
        .map_err(|error| from_server(&address.shown, "connecting", error))
}

fn version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        for (text, good) in [("1.18.3", true), ("1.18.0-dev", true), ("2.0.0", true), ("1.9.9", false), ("1", false)] {
            assert_eq!(version(text).is_some_and(|version| version >= OLDEST), good, "{text}");
        }
    }
}
