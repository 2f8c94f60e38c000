//! S3, and what speaks its protocol: opening a bucket and trying what the program needs of it.

mod client;
mod spec;
mod store;

use std::{sync::Arc, time::Duration};

use event_schemas::Millis;
use object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, aws::AmazonS3, path::Path, prefix::PrefixStore, signer::Signer as _,
};
use url::Url;
use uuid::Uuid;

pub use spec::{S3Credentials, S3Spec};

use crate::{
    OpenedObjects,
    error::{ObjectsError, S3Problem},
    presign::{Presign, whole_seconds},
    read_only::ReadOnly,
};
use store::S3Store;

/// How long trying the bucket may take in all.
const TRIAL: Duration = Duration::from_secs(60);
/// Where the objects lie with which the bucket is tried.
const TRIALS: &str = ".probe";

/// Opens the bucket for reading and writing, once a trial has shown that it is there, that the
/// credentials allow what is needed, and that it keeps conditional writes apart.
pub(crate) async fn open(spec: &S3Spec) -> Result<OpenedObjects, ObjectsError> {
    let s3 = client::client(spec, spec.endpoint.as_ref())?;
    within(spec, async {
        can_list(spec, &s3).await?;
        can_write(spec, &s3).await
    })
    .await?;
    let signer = match &spec.public_endpoint {
        Some(endpoint) => client::client(spec, Some(endpoint))?,
        None => s3.clone(),
    };
    let presign = Arc::new(S3Presign { signer, prefix: spec.prefix.clone() });
    Ok(OpenedObjects { store: prefixed(spec, s3), presign: Some(presign) })
}

/// Opens the bucket for reading only, once a trial has shown that it is there and can be read.
pub(crate) async fn open_for_reading(spec: &S3Spec) -> Result<Arc<dyn ObjectStore>, ObjectsError> {
    let s3 = client::client(spec, spec.endpoint.as_ref())?;
    within(spec, can_list(spec, &s3)).await?;
    Ok(Arc::new(ReadOnly(prefixed(spec, s3))))
}

fn prefixed(spec: &S3Spec, s3: AmazonS3) -> Arc<dyn ObjectStore> {
    let store = S3Store::new(s3);
    if spec.prefix.as_ref().is_empty() {
        Arc::new(store)
    } else {
        Arc::new(PrefixStore::new(store, spec.prefix.clone()))
    }
}

async fn within(spec: &S3Spec, trial: impl Future<Output = Result<(), ObjectsError>>) -> Result<(), ObjectsError> {
    match tokio::time::timeout(TRIAL, trial).await {
        Ok(result) => result,
        Err(_) => Err(problem(spec, S3Problem::Slow, None)),
    }
}

fn problem(spec: &S3Spec, problem: S3Problem, source: Option<Error>) -> ObjectsError {
    ObjectsError::S3 { address: spec.to_string(), problem, source }
}

/// What an error of the trial means, where `right` is the right that the call needs.
fn judge(spec: &S3Spec, right: &'static str, error: Error) -> ObjectsError {
    // The service says more in the code of its answer than in its status.
    let text = error.to_string();
    let code = |code: &str| text.contains(&format!("<Code>{code}</Code>"));
    let what = if code("NoSuchBucket") || matches!(error, Error::NotFound { .. }) {
        S3Problem::NoBucket
    } else if ["InvalidAccessKeyId", "SignatureDoesNotMatch", "NotSignedUp", "ExpiredToken", "InvalidToken"]
        .into_iter()
        .any(code)
    {
        S3Problem::Credentials
    } else if code("RequestTimeTooSkewed") {
        S3Problem::Clock
    } else if code("PermanentRedirect")
        || code("AuthorizationHeaderMalformed")
        || code("IllegalLocationConstraintException")
        || text.contains("incorrectly configured region")
    {
        S3Problem::Region
    } else if matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) {
        S3Problem::Denied(right)
    } else if client::asks_for_the_machines_role(spec) {
        S3Problem::NoCredentials
    } else {
        S3Problem::Unreachable
    };
    problem(spec, what, Some(error))
}

/// Reads a listing that is empty, or nearly so.
async fn can_list(spec: &S3Spec, s3: &AmazonS3) -> Result<(), ObjectsError> {
    let trials: Path = spec.prefix.parts().chain([TRIALS.into()]).collect();
    s3.list_with_delimiter(Some(&trials)).await.map(drop).map_err(|error| judge(spec, "s3:ListBucket", error))
}

/// Creates an object, once more to see that refused, reads and deletes it.
async fn can_write(spec: &S3Spec, s3: &AmazonS3) -> Result<(), ObjectsError> {
    let name = Uuid::new_v4().to_string();
    let at: Path = spec.prefix.parts().chain([TRIALS.into(), name.as_str().into()]).collect();
    let tried = create_twice(spec, s3, &at).await;
    // Also after a failure that may have left it there; the failure says more than this one's.
    let deleted = s3.delete(&at).await.map_err(|error| judge(spec, "s3:DeleteObject", error));
    tried.and(deleted)
}

async fn create_twice(spec: &S3Spec, s3: &AmazonS3, at: &Path) -> Result<(), ObjectsError> {
    let create = || s3.put_opts(at, "a trial of the storage".into(), PutMode::Create.into());
    match create().await {
        // It exists if the first reply was lost and the request sent again.
        Ok(_) | Err(Error::AlreadyExists { .. }) => {}
        Err(error) if error.to_string().contains("<Code>NotImplemented</Code>") => {
            return Err(problem(spec, S3Problem::Unconditional, Some(error)));
        }
        Err(error) => return Err(judge(spec, "s3:PutObject", error)),
    }
    match create().await {
        Err(Error::AlreadyExists { .. }) => {}
        Ok(_) => return Err(problem(spec, S3Problem::Unconditional, None)),
        Err(error) => return Err(judge(spec, "s3:PutObject", error)),
    }
    s3.get(at).await.map(drop).map_err(|error| judge(spec, "s3:GetObject", error))
}

/// Signs addresses in the bucket.
#[derive(Debug)]
struct S3Presign {
    signer: AmazonS3,
    prefix: Path,
}

#[async_trait::async_trait]
impl Presign for S3Presign {
    async fn get_url(&self, location: &Path, valid_for: Millis) -> object_store::Result<Url> {
        let full: Path = self.prefix.parts().chain(location.parts()).collect();
        self.signer.signed_url(reqwest_for_store::Method::GET, &full, whole_seconds(valid_for)?).await
    }
}
