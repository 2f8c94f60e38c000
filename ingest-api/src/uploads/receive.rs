//! Receives the body of one PATCH: bytes into chunk objects, chunk objects into rows.

use std::sync::Arc;

use access::Problem;
use axum::{body::BodyDataStream, http::StatusCode};
use bytes::{Bytes, BytesMut};
use catalog::{Catalog, CatalogError, Chunk, Upload};
use event_schemas::{Clock, Fault, UploadId, records::UploadState};
use futures::StreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, path::Path};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{UploadOptions, writers::Writer};

/// How receiving a body ended.
#[derive(Debug)]
pub enum Received {
    /// Every byte sent is durable.
    All(Upload),
    /// The sender went away, fell silent or was taken over, or the process is to end; what was
    /// received is durable.
    Part(Upload),
}

/// The key of a chunk object: unique, so that two writers never write the same one.
#[must_use]
pub fn chunk_key(upload: UploadId, start: u64) -> String {
    format!("uploads/{upload}/{start:020}-{}", Uuid::new_v4().simple())
}

/// The problem that a failing object store is to a caller.
#[must_use]
pub fn storage_problem(error: &object_store::Error) -> Problem {
    if objects::no_space(error).is_some() {
        tracing::warn!(error = %access::problem::chain(error), "storage has no room");
        let mut problem = Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "storage-full",
            "Storage is full",
            "there is no room for more; what was acknowledged is safe, resume later",
        );
        problem.retry_after = Some(event_schemas::Millis::from_secs(30));
        return problem;
    }
    match objects::fault_of(error) {
        Fault::Dependency => {
            tracing::warn!(error = %access::problem::chain(error), "storage failed");
            Problem::unavailable("storage does not answer; what was acknowledged is safe, resume in a moment")
        }
        Fault::Caller | Fault::Program => Problem::internal(error),
    }
}

/// Stores bodies.
pub struct Receiver<'a> {
    /// Rows.
    pub catalog: &'a Arc<dyn Catalog>,
    /// Objects.
    pub objects: &'a Arc<dyn ObjectStore>,
    /// The time.
    pub clock: &'a Arc<dyn Clock>,
    /// Settings.
    pub options: &'a UploadOptions,
    /// Cancelled when the process is to end.
    pub closing: &'a CancellationToken,
}

impl Receiver<'_> {
    /// Streams `body` to the end of `upload`.
    ///
    /// # Errors
    /// 413 for more bytes than the upload's length announces (those up to it are kept), 409 if
    /// somebody else has moved the upload meanwhile, 503 while storage or catalog fail. Whatever
    /// was recorded before the error stays.
    pub async fn receive(
        &self,
        mut upload: Upload,
        mut body: BodyDataStream,
        writer: &Writer,
    ) -> Result<Received, Problem> {
        let chunk_size = usize::try_from(self.options.chunk_size.0).unwrap_or(usize::MAX).max(1);
        let mut buffer = BytesMut::new();
        let mut complete = true;
        loop {
            let next = tokio::select! {
                () = writer.stop.cancelled() => None,
                () = self.closing.cancelled() => None,
                next = tokio::time::timeout(self.options.idle_timeout, body.next()) => match next {
                    Ok(Some(Ok(bytes))) => Some(bytes),
                    Ok(None) => break,
                    Ok(Some(Err(_))) | Err(_) => None,
                },
            };
            let Some(bytes) = next else {
                complete = false;
                break;
            };
            let left = upload.length.unwrap_or(u64::MAX) - upload.offset - buffer.len() as u64;
            if bytes.len() as u64 > left {
                buffer.extend_from_slice(&bytes[..usize::try_from(left).unwrap_or(0)]);
                self.store(upload, buffer.split().freeze()).await?;
                return Err(Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "more-than-announced",
                    "More bytes than announced",
                    "the body goes on past the upload's length; the bytes up to it were kept",
                ));
            }
            buffer.extend_from_slice(&bytes);
            while buffer.len() >= chunk_size {
                upload = self.store(upload, buffer.split_to(chunk_size).freeze()).await?;
            }
        }
        upload = self.store(upload, buffer.freeze()).await?;
        Ok(if complete { Received::All(upload) } else { Received::Part(upload) })
    }

    /// Makes bytes durable as one chunk: first the object, then its row.
    async fn store(&self, upload: Upload, bytes: Bytes) -> Result<Upload, Problem> {
        if bytes.is_empty() {
            return Ok(upload);
        }
        let chunk =
            Chunk { start: upload.offset, length: bytes.len() as u64, key: chunk_key(upload.id, upload.offset) };
        let path = Path::from(chunk.key.as_str());
        metrics::counter!("millrace_upload_bytes_total").increment(chunk.length);
        self.objects.put(&path, PutPayload::from_bytes(bytes)).await.map_err(|error| storage_problem(&error))?;
        let now = self.clock.now();
        match self.catalog.append_chunk(upload.id, chunk.clone(), now, now + self.options.expire_after).await {
            Ok(upload) => Ok(upload),
            Err(error) if error.is_unknown_outcome() => self.resolve(upload, &chunk, error).await,
            Err(error) => {
                // The row says no, so nothing refers to the object.
                if let Err(error) = self.objects.delete(&path).await {
                    tracing::warn!(key = chunk.key, %error, "an unused chunk stays until its upload is collected");
                }
                Err(error.into())
            }
        }
    }

    /// After a commit of unknown outcome: reads whether the chunk is recorded.
    async fn resolve(&self, upload: Upload, chunk: &Chunk, error: CatalogError) -> Result<Upload, Problem> {
        let recorded = self.catalog.chunks(upload.id).await?.into_iter().any(|known| known.key == chunk.key);
        let current = self.catalog.upload(upload.id).await?;
        match current {
            Some(current) if recorded => Ok(current),
            Some(current) if current.state == UploadState::Aborted => Err(Problem::not_found("upload")),
            _ => Err(error.into()),
        }
    }
}
