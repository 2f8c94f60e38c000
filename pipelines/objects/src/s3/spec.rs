//! A bucket, as the configuration writes it.

use std::fmt;

use event_schemas::Millis;
use object_store::path::Path;
use percent_encoding::percent_decode_str;
use url::Url;

/// What may stand after the `?`.
const KEYS: &str = "endpoint, public_endpoint, region, path_style, timeout_ms";

/// A bucket and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Spec {
    /// The bucket's name.
    pub bucket: String,
    /// What all keys begin with; empty for nothing.
    pub prefix: Path,
    /// The server; Amazon's for the region if absent, or what the environment says.
    pub endpoint: Option<Url>,
    /// The server as viewers reach it, for presigned addresses; `endpoint` if absent.
    pub public_endpoint: Option<Url>,
    /// The region; what the environment says, or `us-east-1`, if absent.
    pub region: Option<String>,
    /// True if the bucket stands in the path of addresses, false if in the host's name.
    pub path_style: bool,
    /// How long the server may take to begin to answer, a request's body included, and then from
    /// one piece of the answer to the next.
    pub timeout: Millis,
    /// The credentials; what the environment says if absent.
    pub credentials: Option<S3Credentials>,
}

/// An access key and its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// The access key.
    pub access_key: String,
    /// Its secret; never shown.
    pub secret_key: String,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

impl S3Spec {
    /// Reads `s3://[ACCESS_KEY:SECRET_KEY@]BUCKET[/PREFIX][?KEY=VALUE&…]`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| {
            format!("it can't be read: {error} (in credentials write %2F for `/`, %40 for `@`, %3A for `:`)")
        })?;
        if url.fragment().is_some() {
            return Err("a `#` begins nothing here: write %23 in a key or secret".to_owned());
        }
        if url.port().is_some() {
            return Err("the name after `s3://` is the bucket's and has no port: the server's address is \
                 `?endpoint=http://HOST:PORT`"
                .to_owned());
        }
        let mut spec = Self {
            bucket: bucket(url.host_str().unwrap_or_default())?,
            prefix: prefix(url.path())?,
            endpoint: None,
            public_endpoint: None,
            region: None,
            path_style: true,
            timeout: Millis(30_000),
            credentials: credentials(&url)?,
        };
        let mut seen = Vec::new();
        for (key, value) in url.query_pairs() {
            match &*key {
                "endpoint" => spec.endpoint = Some(endpoint(&key, &value)?),
                "public_endpoint" => spec.public_endpoint = Some(endpoint(&key, &value)?),
                "region" => spec.region = Some(region(&value)?),
                "path_style" => {
                    spec.path_style = value.parse().map_err(|_| "`path_style` is true or false".to_owned())?;
                }
                "timeout_ms" => {
                    let span = value.parse().ok().filter(|span| (100..=600_000).contains(span));
                    spec.timeout = Millis(span.ok_or("`timeout_ms` is 100 to 600000")?);
                }
                _ => return Err(format!("`{key}` is no key of it; the keys are {KEYS}")),
            }
            if seen.contains(&key) {
                return Err(format!("`{key}` is given twice"));
            }
            seen.push(key);
        }
        Ok(spec)
    }
}

fn bucket(name: &str) -> Result<String, String> {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let allowed = |c: char| ends(c) || c == '-' || c == '.';
    let valid = (3..=63).contains(&name.len())
        && name.chars().all(allowed)
        && name.starts_with(ends)
        && name.ends_with(ends)
        && !name.contains("..");
    if valid {
        Ok(name.to_owned())
    } else {
        Err("a bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens, and begins and ends with a \
             letter or digit"
            .to_owned())
    }
}

fn prefix(path: &str) -> Result<Path, String> {
    Path::from_url_path(path).map_err(|error| format!("the prefix can't be used: {error}"))
}

fn endpoint(key: &str, value: &str) -> Result<Url, String> {
    let wrong = || format!("`{key}` is http://HOST:PORT or https://HOST, with nothing after it");
    let url = Url::parse(value).map_err(|_| wrong())?;
    let bare = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    if bare { Ok(url) } else { Err(wrong()) }
}

fn region(name: &str) -> Result<String, String> {
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        Ok(name.to_owned())
    } else {
        Err("`region` is a name such as eu-central-1".to_owned())
    }
}

fn credentials(url: &Url) -> Result<Option<S3Credentials>, String> {
    let text = |encoded: &str| {
        let decoded = percent_decode_str(encoded).decode_utf8();
        decoded.map(|text| text.into_owned()).map_err(|_| "the credentials are not UTF-8".to_owned())
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        (user, Some(password)) if !user.is_empty() && !password.is_empty() => {
            Ok(Some(S3Credentials { access_key: text(user)?, secret_key: text(password)? }))
        }
        _ => Err("credentials are ACCESS_KEY:SECRET_KEY@, both, or neither".to_owned()),
    }
}

impl fmt::Display for S3Spec {
    /// The address without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.as_ref().is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        if let Some(endpoint) = &self.endpoint {
            write!(f, "?endpoint={}", endpoint.as_str().trim_end_matches('/'))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_the_bucket_is() {
        let plain = S3Spec::parse("s3://videos").unwrap();
        assert_eq!((plain.bucket.as_str(), plain.prefix.as_ref(), plain.path_style), ("videos", "", true));
        assert_eq!((plain.endpoint, plain.region, plain.credentials), (None, None, None));

        let text = "s3://key:se%2Fc%3Ar+t@my.videos/a/b%20c/?endpoint=http://127.0.0.1:9000&region=eu-central-1\
                    &path_style=false&public_endpoint=https%3A%2F%2Fmedia.example&timeout_ms=500";
        let full = S3Spec::parse(text).unwrap();
        assert_eq!(full.bucket, "my.videos");
        assert_eq!(full.prefix, Path::from("a/b c"));
        assert_eq!(full.endpoint.as_ref().unwrap().as_str(), "http://127.0.0.1:9000/");
        assert_eq!(full.public_endpoint.as_ref().unwrap().as_str(), "https://media.example/");
        assert_eq!(full.region.as_deref(), Some("eu-central-1"));
        assert_eq!((full.path_style, full.timeout), (false, Millis(500)));
        let credentials = S3Credentials { access_key: "key".into(), secret_key: "se/c:r+t".into() };
        assert_eq!(full.credentials, Some(credentials));
        assert_eq!(full.to_string(), "s3://my.videos/a/b c?endpoint=http://127.0.0.1:9000");
        assert!(!format!("{full:?}").contains("se/c"));
    }

    #[test]
    fn a_wrong_address_is_refused_with_what_is_allowed() {
        for (text, why) in [
            ("s3://", "3 to 63"),
            ("s3://Videos", "lower-case"),
            ("s3://videos:9000/x", "endpoint="),
            ("s3://videos?endpont=http://x", "the keys are endpoint, public_endpoint, region, path_style, timeout_ms"),
            ("s3://videos?endpoint=127.0.0.1:9000", "`endpoint` is http://HOST:PORT"),
            ("s3://videos?endpoint=http://127.0.0.1:9000/videos", "nothing after it"),
            ("s3://videos?endpoint=http://a:b@c", "nothing after it"),
            ("s3://videos?path_style=yes", "true or false"),
            ("s3://videos?timeout_ms=1", "100 to 600000"),
            ("s3://videos?region=", "eu-central-1"),
            ("s3://videos?region=a&region=b", "twice"),
            ("s3://key@videos", "both"),
            ("s3://videos/a//b", "prefix"),
        ] {
            let error = S3Spec::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
