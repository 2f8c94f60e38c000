//! How requests are sent: their time-outs, retries, connections and signatures.

use std::{sync::Arc, time::Duration};

use event_schemas::Millis;
use object_store::{
    BackoffConfig, ClientConfigKey, ClientOptions, Error, Result, RetryConfig, StaticCredentialProvider,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, S3ConditionalPut},
    client::{HttpClient, HttpConnector},
};
use url::Url;

use super::S3Spec;

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// Connections kept open while nothing is asked, to each server.
const IDLE_CONNECTIONS: usize = 32;
/// How long such a connection is kept: shorter than servers keep theirs, lest a request meets one
/// being closed.
const IDLE: Duration = Duration::from_secs(15);

/// A call is tried four times, and not again once ten seconds have passed.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 3,
        retry_timeout: Duration::from_secs(10),
    }
}

/// Makes connections whose time-out is on silence, not on the whole of a request: a reader may
/// take its time over an object without being cut off.
#[derive(Debug)]
struct Connector {
    silence: Duration,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let http = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|allowed| allowed == "true");
        let client = reqwest_for_store::Client::builder()
            .user_agent(concat!("millrace/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(self.silence)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .https_only(!http)
            .build()
            .map_err(|error| Error::Generic { store: "S3", source: Box::new(error) })?;
        Ok(HttpClient::new(client))
    }
}

/// The client of `spec`, at `endpoint` if there is one. Nothing is sent yet.
pub(super) fn client(spec: &S3Spec, endpoint: Option<&Url>) -> Result<AmazonS3> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&spec.bucket)
        .with_virtual_hosted_style_request(!spec.path_style)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(retries())
        .with_http_connector(Connector { silence: silence(spec.timeout) });
    if let Some(region) = &spec.region {
        builder = builder.with_region(region);
    }
    if let Some(credentials) = &spec.credentials {
        // Whole, so that no session token of the environment joins them.
        let credentials = AwsCredential {
            key_id: credentials.access_key.clone(),
            secret_key: credentials.secret_key.clone(),
            token: None,
        };
        builder =
            builder.with_credentials(Arc::new(StaticCredentialProvider::new(credentials))).with_skip_signature(false);
    }
    if let Some(endpoint) = endpoint {
        // The variant that the environment can't override.
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, address(spec, endpoint));
    }
    let effective = builder
        .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
        .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
    let http = effective.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let options = ClientOptions::new()
        .with_allow_http(http)
        // Those who are sent to the store itself see these.
        .with_content_type_for_suffix("m4s", "video/iso.segment")
        .with_content_type_for_suffix("mp4", "video/mp4")
        .with_content_type_for_suffix("jpg", "image/jpeg");
    builder.with_client_options(options).build()
}

/// True if neither the configuration nor the environment has credentials, so that the machine's
/// own role is asked for.
pub(super) fn asks_for_the_machines_role(spec: &S3Spec) -> bool {
    let environment = AmazonS3Builder::from_env();
    spec.credentials.is_none()
        && [
            AmazonS3ConfigKey::AccessKeyId,
            AmazonS3ConfigKey::WebIdentityTokenFile,
            AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
            AmazonS3ConfigKey::ContainerCredentialsFullUri,
        ]
        .iter()
        .all(|key| environment.get_config_value(key).is_none())
}

/// `endpoint` as the library wants it: with the bucket in the host's name if it belongs there.
fn address(spec: &S3Spec, endpoint: &Url) -> String {
    let text = endpoint.as_str().trim_end_matches('/');
    match text.split_once("://") {
        Some((scheme, host)) if !spec.path_style => format!("{scheme}://{}.{host}", spec.bucket),
        _ => text.to_owned(),
    }
}

fn silence(timeout: Millis) -> Duration {
    Duration::from_millis(timeout.0.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_stands_in_the_path_or_in_the_host() {
        let at = |text: &str| {
            let spec = S3Spec::parse(text).unwrap();
            address(&spec, spec.endpoint.as_ref().unwrap())
        };
        assert_eq!(at("s3://videos?endpoint=http://127.0.0.1:9000"), "http://127.0.0.1:9000");
        let hosted = "s3://videos?endpoint=https://s3.example&path_style=false";
        assert_eq!(at(hosted), "https://videos.s3.example");
    }
}
