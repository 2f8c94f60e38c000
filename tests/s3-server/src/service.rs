//! The operations of S3 that the program and its libraries use, over [`Store`].

use std::sync::Arc;

use bytes::Bytes;
use event_schemas::ByteSize;
use futures::TryStreamExt;
use s3s::{
    Body, S3, S3Error, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CommonPrefix, CompleteMultipartUploadInput,
        CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource,
        CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput,
        DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, GetObjectInput, GetObjectOutput,
        HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output,
        Object, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp, UploadPartCopyInput, UploadPartCopyOutput,
        UploadPartInput, UploadPartOutput,
    },
    s3_error,
};
use tokio_util::task::TaskTracker;

use crate::{
    Conditions,
    blob::{Head, Headers},
    store::{Condition, Listing, Page, Refused, Start, Store},
};

/// A page of a listing holds at most so many names.
const LONGEST_PAGE: usize = 1000;
/// The largest body that is taken.
const LARGEST_BODY: ByteSize = ByteSize(1 << 30);

/// The operations, each of which runs to its end once it has begun: a client that goes away in
/// between does not stop it.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) store: Arc<Store>,
    pub(crate) conditions: Conditions,
    pub(crate) running: TaskTracker,
}

impl From<Refused> for S3Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoBucket => s3_error!(refused, NoSuchBucket, "The specified bucket does not exist"),
            Refused::NoKey => s3_error!(refused, NoSuchKey, "The specified key does not exist."),
            Refused::NoUpload => s3_error!(refused, NoSuchUpload),
            Refused::InvalidPart => s3_error!(refused, InvalidPart),
            Refused::SmallPart => s3_error!(refused, EntityTooSmall),
            Refused::Condition => s3_error!(refused, PreconditionFailed),
            Refused::Io(_) => s3_error!(refused, InternalError),
        }
    }
}

impl Service {
    async fn run<T: Send + 'static, E: Into<S3Error> + Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, E> + Send + 'static,
    ) -> S3Result<T> {
        let store = Arc::clone(&self.store);
        let done = self.running.spawn_blocking(move || work(&store)).await;
        done.map_err(S3Error::internal_error)?.map_err(Into::into)
    }

    fn condition(
        &self,
        if_none_match: Option<&ETagCondition>,
        if_match: Option<&ETagCondition>,
    ) -> S3Result<Condition> {
        let condition = match (if_none_match, if_match) {
            (None, None) => return Ok(Condition::None),
            (Some(ETagCondition::Any), None) => Condition::Absent,
            (None, Some(ETagCondition::ETag(etag))) => Condition::Matches(etag.value().to_owned()),
            _ => return Err(s3_error!(NotImplemented, "this condition of a write")),
        };
        match self.conditions {
            Conditions::Kept => Ok(condition),
            Conditions::Ignored => Ok(Condition::None),
            Conditions::Refused => {
                Err(s3_error!(NotImplemented, "A header you provided implies functionality that is not implemented"))
            }
        }
    }
}

async fn take(body: Option<StreamingBlob>) -> S3Result<Vec<Bytes>> {
    let Some(body) = body else { return Ok(Vec::new()) };
    let mut size = 0;
    body.map_err(|error| s3_error!(std::io::Error::other(error), IncompleteBody))
        .inspect_ok(|chunk: &Bytes| size += chunk.len() as u64)
        .try_collect()
        .await
        .and_then(|chunks| if size > LARGEST_BODY.0 { Err(s3_error!(EntityTooLarge)) } else { Ok(chunks) })
}

fn strong(etag: &str) -> Option<ETag> {
    Some(ETag::Strong(etag.to_owned()))
}

fn instant(micros: i64) -> Option<Timestamp> {
    let instant = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()?;
    Some(Timestamp::from(instant))
}

fn seconds(at: &Timestamp) -> i64 {
    time::OffsetDateTime::from(at.clone()).unix_timestamp()
}

fn size(bytes: u64) -> Option<i64> {
    i64::try_from(bytes).ok()
}

/// What the conditions of a read say, in the order that RFC 9110 gives them.
fn readable(
    head: &Head,
    if_match: Option<&ETagCondition>,
    if_unmodified_since: Option<&Timestamp>,
    if_none_match: Option<&ETagCondition>,
    if_modified_since: Option<&Timestamp>,
) -> S3Result<()> {
    let is = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == head.etag,
    };
    let modified = head.modified.div_euclid(1_000_000);
    let holds = match (if_match, if_unmodified_since) {
        (Some(condition), _) => is(condition),
        (None, Some(at)) => modified <= seconds(at),
        (None, None) => true,
    };
    if !holds {
        return Err(s3_error!(PreconditionFailed));
    }
    let changed = match (if_none_match, if_modified_since) {
        (Some(condition), _) => !is(condition),
        (None, Some(at)) => modified > seconds(at),
        (None, None) => true,
    };
    if changed { Ok(()) } else { Err(s3_error!(NotModified)) }
}

fn source(source: &CopySource) -> S3Result<(String, String)> {
    match source {
        CopySource::Bucket { bucket, key, version_id: None } => Ok((bucket.to_string(), key.to_string())),
        _ => Err(s3_error!(NotImplemented, "this source of a copy")),
    }
}

fn whole(head: &Head) -> Result<std::ops::Range<u64>, Refused> {
    Ok(0..head.size)
}

fn write_token(start: &Start) -> String {
    match start {
        Start::Key(key) => format!("k{}", hex::encode(key)),
        Start::Prefix(prefix) => format!("p{}", hex::encode(prefix)),
    }
}

fn read_token(token: &str) -> S3Result<Start> {
    let wrong = || s3_error!(InvalidArgument, "The continuation token provided is incorrect");
    let text = |hex: &str| String::from_utf8(hex::decode(hex).map_err(|_| wrong())?).map_err(|_| wrong());
    match (token.strip_prefix('k'), token.strip_prefix('p')) {
        (Some(key), _) => text(key).map(Start::Key),
        (_, Some(prefix)) => text(prefix).map(Start::Prefix),
        _ => Err(wrong()),
    }
}

/// The headers that a request sets, from an input that has these fields.
macro_rules! headers {
    ($input:expr) => {
        Headers {
            content_type: $input.content_type,
            cache_control: $input.cache_control,
            content_disposition: $input.content_disposition,
            content_encoding: $input.content_encoding,
            content_language: $input.content_language,
            metadata: $input.metadata.unwrap_or_default().into_iter().collect(),
        }
    };
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        if !self.store.has_bucket(&req.input.bucket) {
            return Err(Refused::NoBucket.into());
        }
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        let condition = self.condition(input.if_none_match.as_ref(), input.if_match.as_ref())?;
        let contents = take(input.body).await?;
        let headers = headers!(input);
        let (bucket, key) = (input.bucket, input.key);
        let head = self.run(move |store| store.put(&bucket, &key, headers, &contents, &condition)).await?;
        Ok(S3Response::new(PutObjectOutput { e_tag: strong(&head.etag), ..Default::default() }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let partial = input.range.is_some();
        let (head, range, contents) = self
            .run(move |store| {
                store.get::<S3Error>(&input.bucket, &input.key, |head| {
                    readable(
                        head,
                        input.if_match.as_ref(),
                        input.if_unmodified_since.as_ref(),
                        input.if_none_match.as_ref(),
                        input.if_modified_since.as_ref(),
                    )?;
                    match &input.range {
                        Some(range) => range.check(head.size).map_err(|error| s3_error!(error, InvalidRange)),
                        None => Ok(whole(head)?),
                    }
                })
            })
            .await?;
        let last = range.end.saturating_sub(1);
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: size(range.end - range.start),
            content_range: partial.then(|| format!("bytes {}-{last}/{}", range.start, head.size)),
            body: Some(StreamingBlob::from(Body::from(contents))),
            e_tag: strong(&head.etag),
            last_modified: instant(head.modified),
            content_type: head.headers.content_type,
            cache_control: head.headers.cache_control,
            content_disposition: head.headers.content_disposition,
            content_encoding: head.headers.content_encoding,
            content_language: head.headers.content_language,
            metadata: Some(head.headers.metadata.into_iter().collect()),
            ..Default::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        let head = self.store.head(&input.bucket, &input.key)?;
        readable(
            &head,
            input.if_match.as_ref(),
            input.if_unmodified_since.as_ref(),
            input.if_none_match.as_ref(),
            input.if_modified_since.as_ref(),
        )?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: size(head.size),
            e_tag: strong(&head.etag),
            last_modified: instant(head.modified),
            content_type: head.headers.content_type,
            cache_control: head.headers.cache_control,
            content_disposition: head.headers.content_disposition,
            content_encoding: head.headers.content_encoding,
            content_language: head.headers.content_language,
            metadata: Some(head.headers.metadata.into_iter().collect()),
            ..Default::default()
        }))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        self.run(move |store| store.delete(&input.bucket, &input.key)).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = req.input;
        if input.delete.objects.len() > LONGEST_PAGE {
            return Err(s3_error!(MalformedXML));
        }
        let quiet = input.delete.quiet.unwrap_or_default();
        let deleted = self
            .run(move |store| {
                let keys = input.delete.objects.into_iter().map(|object| object.key);
                keys.map(|key| store.delete(&input.bucket, &key).map(|()| key)).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let deleted = deleted.into_iter().map(|key| DeletedObject { key: Some(key), ..Default::default() }).collect();
        let deleted = if quiet { None } else { Some(deleted) };
        Ok(S3Response::new(DeleteObjectsOutput { deleted, ..Default::default() }))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        if input.encoding_type.is_some() {
            return Err(s3_error!(NotImplemented, "an encoding of listings"));
        }
        let start = match (&input.continuation_token, &input.start_after) {
            (Some(token), _) => Some(read_token(token)?),
            (None, Some(key)) => Some(Start::Key(key.clone())),
            (None, None) => None,
        };
        let most = usize::try_from(input.max_keys.unwrap_or(1000)).map_err(|_| s3_error!(InvalidArgument))?;
        let listing = Listing {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().filter(|delimiter| !delimiter.is_empty()),
            start,
            most: most.min(LONGEST_PAGE),
        };
        let Page { objects, prefixes, next } = self.store.list(&input.bucket, &listing)?;
        let count = i32::try_from(objects.len() + prefixes.len()).unwrap_or(i32::MAX);
        let contents = objects.into_iter().map(|head| Object {
            size: size(head.size),
            e_tag: strong(&head.etag),
            last_modified: instant(head.modified),
            key: Some(head.key),
            ..Default::default()
        });
        let prefixes = prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) });
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            start_after: input.start_after,
            continuation_token: input.continuation_token,
            max_keys: i32::try_from(listing.most).ok(),
            key_count: Some(count),
            is_truncated: Some(next.is_some()),
            next_continuation_token: next.as_ref().map(write_token),
            contents: Some(contents.collect()),
            common_prefixes: Some(prefixes.collect()),
            ..Default::default()
        }))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = req.input;
        let (from_bucket, from) = source(&input.copy_source)?;
        let head = self
            .run(move |store| {
                let (head, _, contents) = store.get(&from_bucket, &from, whole)?;
                store.put(&input.bucket, &input.key, head.headers, &[contents], &Condition::None)
            })
            .await?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: strong(&head.etag),
                last_modified: instant(head.modified),
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        let headers = headers!(input);
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let upload_id = self.run(move |store| store.begin(&input.bucket, &input.key, headers)).await?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(upload_id),
            ..Default::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = req.input;
        let contents = take(input.body).await?;
        let part = self
            .run(move |store| store.part(&input.bucket, &input.key, &input.upload_id, input.part_number, &contents))
            .await?;
        Ok(S3Response::new(UploadPartOutput { e_tag: strong(&part.etag), ..Default::default() }))
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let input = req.input;
        if input.copy_source_range.is_some() {
            return Err(s3_error!(NotImplemented, "a range of the source of a copy"));
        }
        let (from_bucket, from) = source(&input.copy_source)?;
        let part = self
            .run(move |store| {
                let (_, _, contents) = store.get(&from_bucket, &from, whole)?;
                store.part(&input.bucket, &input.key, &input.upload_id, input.part_number, &[contents])
            })
            .await?;
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(CopyPartResult {
                e_tag: strong(&part.etag),
                last_modified: instant(part.modified),
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let condition = self.condition(input.if_none_match.as_ref(), input.if_match.as_ref())?;
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let parts: Option<Vec<_>> =
            named.into_iter().map(|part| Some((part.part_number?, part.e_tag?.value().to_owned()))).collect();
        let parts = parts.ok_or_else(|| s3_error!(MalformedXML))?;
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let head = self
            .run(move |store| store.complete(&input.bucket, &input.key, &input.upload_id, &parts, &condition))
            .await?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            e_tag: strong(&head.etag),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = req.input;
        self.run(move |store| store.abort(&input.bucket, &input.key, &input.upload_id)).await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}
