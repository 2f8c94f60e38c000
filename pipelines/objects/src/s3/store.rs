//! A bucket as the rest of the program wants a store to be.

use std::{fmt, time::Duration, time::Instant};

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    Attribute, CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
    aws::AmazonS3, path::Path,
};
use uuid::Uuid;

/// The metadata that names the call which created an object.
const WRITE: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("millrace-write"));
/// How often a create is tried again that lost against a write which then came to nothing.
const CONFLICTS: u32 = 6;

/// Objects in a bucket.
///
/// # Guarantees
/// * **Durable, atomic**: as the service promises: an acknowledged object is stored for good and
///   seen whole, by every reader from then on.
/// * **Conditional**: of any number of concurrent [`PutMode::Create`] one wins. A create whose reply
///   was lost and that was sent again is told that it won, not that the object exists already.
/// * **Bounded**: a call to a server that is away fails after a few tries. Reading may take as long
///   as its reader does.
/// * **After an error** a write may or may not have happened. That the bucket or an upload is not
///   there is never [`Error::NotFound`]: that is said of objects alone.
/// * An upload in parts that is dropped is aborted; what a killed process leaves is for the bucket's
///   rules to remove.
/// * Deleting an absent object succeeds.
#[derive(Debug, Clone)]
pub(crate) struct S3Store {
    s3: AmazonS3,
}

impl S3Store {
    pub(super) fn new(s3: AmazonS3) -> Self {
        Self { s3 }
    }

    async fn create(&self, location: &Path, payload: PutPayload, mut opts: PutOptions) -> Result<PutResult> {
        // A request whose reply is lost is sent again and then meets its own object. The name of
        // this call, stored with the object, tells that case from another's create.
        let write = Uuid::new_v4().to_string();
        opts.attributes.insert(WRITE, write.clone().into());
        let mut wait = Duration::from_millis(50);
        for _ in 0..CONFLICTS {
            let exists = match self.s3.put_opts(location, payload.clone(), opts.clone()).await {
                Err(error @ Error::AlreadyExists { .. }) => error,
                result => return result.map_err(writing),
            };
            match self.s3.get_opts(location, GetOptions::new().with_head(true)).await {
                Ok(found) if found.attributes.get(&WRITE).is_some_and(|found| **found == *write) => {
                    return Ok(PutResult { e_tag: found.meta.e_tag, version: found.meta.version });
                }
                Ok(_) => return Err(exists),
                // The service refuses a create that meets another under way, which may then fail.
                Err(Error::NotFound { .. }) => tokio::time::sleep(wait).await,
                Err(error) => return Err(error),
            }
            wait *= 2;
        }
        Err(Error::Generic { store: "S3", source: format!("`{location}`: creating it keeps colliding").into() })
    }
}

/// The error of a write, for which nothing can be "not found" that the caller asked for.
fn writing(error: Error) -> Error {
    match error {
        Error::NotFound { source, .. } => Error::Generic { store: "S3", source },
        error => error,
    }
}

/// The error of a read: an absent object, unless the bucket itself is.
fn reading(error: Error) -> Error {
    match error {
        Error::NotFound { source, .. } if source.to_string().contains("<Code>NoSuchBucket</Code>") => {
            Error::Generic { store: "S3", source }
        }
        error => error,
    }
}

impl fmt::Display for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.s3.fmt(f)
    }
}

#[async_trait::async_trait]
impl ObjectStore for S3Store {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let (started, bytes) = (Instant::now(), payload.content_length() as u64);
        let put = match opts.mode {
            PutMode::Create => self.create(location, payload, opts).await?,
            _ => self.s3.put_opts(location, payload, opts).await.map_err(writing)?,
        };
        metrics::counter!("millrace_objects_written_bytes_total").increment(bytes);
        metrics::histogram!("millrace_objects_place_seconds").record(started.elapsed());
        Ok(put)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.s3.put_multipart_opts(location, opts).await.map_err(writing)?;
        Ok(Box::new(S3Upload { location: location.clone(), upload: Some(upload), bytes: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.s3.get_opts(location, options).await.map_err(reading)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.s3.delete_stream(locations).map_err(writing).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.s3.list(prefix).map_err(writing).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.s3.list_with_offset(prefix, offset).map_err(writing).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.s3.list_with_delimiter(prefix).await.map_err(writing)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        match options.mode {
            CopyMode::Overwrite => self.s3.copy_opts(from, to, options).await.map_err(reading),
            // Not every service has a conditional copy, and some overwrite where they have none:
            // the conditional put is the one that was tried at the start. The object passes through
            // memory.
            CopyMode::Create => {
                let found = self.get(from).await?;
                let mut opts = PutOptions::from(PutMode::Create);
                opts.attributes = found.attributes.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
                self.create(to, found.bytes().await.map_err(reading)?.into(), opts).await.map(drop)
            }
        }
    }
}

/// An upload in parts that is aborted if it is dropped before its end.
#[derive(Debug)]
struct S3Upload {
    location: Path,
    /// None once it has ended.
    upload: Option<Box<dyn MultipartUpload>>,
    bytes: u64,
}

impl S3Upload {
    fn ended(&self) -> Error {
        Error::Generic { store: "S3", source: format!("the upload of `{}` has already ended", self.location).into() }
    }
}

#[async_trait::async_trait]
impl MultipartUpload for S3Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(upload) = &mut self.upload else {
            let error = self.ended();
            return Box::pin(async move { Err(error) });
        };
        self.bytes += data.content_length() as u64;
        let part = upload.put_part(data);
        Box::pin(async move { part.await.map_err(writing) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let Some(upload) = &mut self.upload else { return Err(self.ended()) };
        let put = upload.complete().await.map_err(writing)?;
        self.upload = None;
        metrics::counter!("millrace_objects_written_bytes_total").increment(self.bytes);
        Ok(put)
    }

    async fn abort(&mut self) -> Result<()> {
        let Some(upload) = &mut self.upload else { return Err(self.ended()) };
        upload.abort().await.map_err(writing)?;
        self.upload = None;
        Ok(())
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        let (Some(mut upload), Ok(runtime)) = (self.upload.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let location = self.location.clone();
        runtime.spawn(async move {
            if let Err(error) = upload.abort().await {
                tracing::warn!(%error, %location, "an upload in parts was given up and could not be aborted");
            }
        });
    }
}
