//! The address of a Qdrant server, as the configuration writes it.

use std::{fmt, time::Duration};

use search_index::{DenseSpace, SearchError};
use url::Url;

/// The gRPC port of a server that was not configured otherwise.
const GRPC_PORT: u16 = 6334;

/// How an index on Qdrant is opened.
#[derive(Debug, Clone)]
pub struct QdrantOptions {
    /// The dense spaces that the index shall hold. A collection made here holds them; one that is
    /// there and lacks one of them is refused.
    pub spaces: Vec<DenseSpace>,
    /// Whether a collection that does not fit is opened all the same, as whoever rebuilds it has
    /// to do.
    pub accept_unfit: bool,
    /// The API key, if it is not in the address.
    pub api_key: Option<ApiKey>,
    /// How long one call to the server may take.
    pub timeout: Duration,
}

impl Default for QdrantOptions {
    fn default() -> Self {
        Self { spaces: Vec::new(), accept_unfit: false, api_key: None, timeout: Duration::from_secs(5) }
    }
}

/// A secret that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// `key` as a secret.
    ///
    /// # Errors
    /// It is empty, or holds what can't be sent in a header.
    pub fn new(key: impl Into<String>) -> Result<Self, SearchError> {
        let key = key.into();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad("the API key is empty or holds other than visible ASCII characters"));
        }
        Ok(Self(key))
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// An address taken apart: `qdrant://[:key@]host[:port][?collection=…&tls=…&rest_port=…&shards=…&replicas=…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// What is shown of it: host and port.
    pub(crate) shown: String,
    /// The address of the gRPC interface.
    pub(crate) grpc: String,
    /// The address of the HTTP interface, which restores snapshots.
    pub(crate) rest: Url,
    pub(crate) api_key: Option<ApiKey>,
    /// The alias under which the live collection is known.
    pub(crate) alias: String,
    pub(crate) shards: Option<u32>,
    pub(crate) replicas: Option<u32>,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, SearchError> {
        let url: Url = text.parse().map_err(|error: url::ParseError| bad(error.to_string()))?;
        if url.scheme() != "qdrant" {
            return Err(bad(format!("it begins with {}: instead of qdrant:", url.scheme())));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad("it names no host"))?;
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(bad("nothing may stand behind host and port but ?collection= and the like"));
        }
        if !url.username().is_empty() {
            return Err(bad("the API key goes into the place of the password, qdrant://:key@host, without a user"));
        }
        let port = url.port().unwrap_or(GRPC_PORT);
        let (mut alias, mut tls, mut rest_port) = ("millrace-videos".to_owned(), false, port.saturating_sub(1));
        let (mut shards, mut replicas) = (None, None);
        for (key, value) in url.query_pairs() {
            match &*key {
                "collection" => alias = collection(&value)?,
                "tls" => tls = value.parse().map_err(|_| bad("tls is true or false"))?,
                "rest_port" => rest_port = number(&key, &value)?,
                "shards" => shards = Some(number(&key, &value)?),
                "replicas" => replicas = Some(number(&key, &value)?),
                other => return Err(bad(format!("{other} is no parameter of it"))),
            }
        }
        let api_key = match url.password() {
            None => None,
            Some(encoded) => Some(ApiKey::new(percent_decoded(encoded)?)?),
        };
        let scheme = if tls { "https" } else { "http" };
        let rest = format!("{scheme}://{host}:{rest_port}/");
        Ok(Self {
            shown: format!("{host}:{port}"),
            grpc: format!("{scheme}://{host}:{port}"),
            rest: rest.parse().map_err(|error: url::ParseError| bad(error.to_string()))?,
            api_key,
            alias,
            shards,
            replicas,
        })
    }
}

fn collection(name: &str) -> Result<String, SearchError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !(1..=100).contains(&name.len()) || !name.bytes().all(plain) {
        return Err(bad("collection is 1 to 100 letters, digits, - and _"));
    }
    Ok(name.to_owned())
}

fn number<T: std::str::FromStr + PartialOrd + From<u8>>(key: &str, value: &str) -> Result<T, SearchError> {
    let number = value.parse().ok().filter(|number| *number >= T::from(1));
    number.ok_or_else(|| bad(format!("{key} is a number from 1")))
}

fn percent_decoded(text: &str) -> Result<String, SearchError> {
    // A pair of a query string decodes the same way, but for a plus.
    let query = format!("k={}", text.replace('+', "%2B").replace('&', "%26"));
    let decoded = url::form_urlencoded::parse(query.as_bytes()).next().map(|(_, value)| value.into_owned());
    decoded.ok_or_else(|| bad("the API key can't be decoded"))
}

/// The address is wrong. The text of it is left out: it may hold the key.
fn bad(problem: impl Into<String>) -> SearchError {
    SearchError::Refused {
        problem: format!("the address of the Qdrant server: {}", problem.into()),
        remedy: "set `index` to \"qdrant://host:6334\", with ?collection=, tls=, rest_port=, shards= or replicas= as \
                 needed"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let plain = Address::parse("qdrant://search.example").unwrap();
        assert_eq!(plain.grpc, "http://search.example:6334");
        assert_eq!(plain.rest.as_str(), "http://search.example:6333/");
        assert_eq!((plain.alias.as_str(), plain.api_key, plain.shards), ("millrace-videos", None, None));
        let full = "qdrant://:k%2Fe+y%26@[::1]:7000?collection=my_videos&tls=true&rest_port=7443&shards=3&replicas=2";
        let full = Address::parse(full).unwrap();
        assert_eq!((full.grpc.as_str(), full.rest.as_str()), ("https://[::1]:7000", "https://[::1]:7443/"));
        assert_eq!(full.api_key.as_ref().map(ApiKey::reveal), Some("k/e+y&"));
        assert_eq!((full.alias.as_str(), full.shards, full.replicas), ("my_videos", Some(3), Some(2)));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_key() {
        for (text, part) in [
            ("search:6334", "begins with search:"),
            ("http://host:6334", "begins with http:"),
            ("qdrant://", "no host"),
            ("qdrant://:secret@host/path", "nothing may stand"),
            ("qdrant://user:secret@host", "without a user"),
            ("qdrant://:secret@host?colection=x", "colection is no parameter"),
            ("qdrant://:secret@host?collection=a/b", "letters, digits"),
            ("qdrant://:secret@host?shards=0", "shards is a number"),
            ("qdrant://:secret@host?rest_port=99999", "rest_port is a number"),
            ("qdrant://:secret@host?tls=yes", "true or false"),
            ("qdrant://:sec%00ret@host", "visible ASCII"),
            ("qdrant://:secret@ho st", "host"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("`index`") && !error.contains("secret"), "{text}: {error}");
        }
        let address = Address::parse("qdrant://:secret@host").unwrap();
        assert!(!format!("{address:?}").contains("secret"));
    }
}
