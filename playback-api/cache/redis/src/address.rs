//! From the address in the configuration to a client that has not connected yet.

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, TlsCertificates};
use url::Url;

use crate::{Options, error::OpenError};

/// A client for `url`, and the number of the database.
pub(crate) fn client(url: &str, options: &Options) -> Result<(Client, i64), OpenError> {
    let parsed = Url::parse(url).map_err(|error| OpenError::Address(error.to_string()))?;
    let info = parsed.into_connection_info().map_err(|error| OpenError::Address(error.to_string()))?;
    let database = info.redis_settings().db();
    if database < 0 {
        return Err(OpenError::Address("the number of a database is 0 or more".to_owned()));
    }
    // RESP3 tells of a closed connection that nobody uses.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let info: ConnectionInfo = info.set_redis_settings(settings);
    let client = match info.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            return Err(OpenError::Address("`#insecure` is not offered; name the authority instead".to_owned()));
        }
        ConnectionAddr::TcpTls { .. } => {
            // With several providers linked rustls wants one chosen; another choice made before stays.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let certificates = TlsCertificates { client_tls: None, root_cert: options.authority.clone() };
            Client::build_with_tls(info, certificates)
        }
        _ => Client::open(info),
    };
    client.map(|client| (client, database)).map_err(|error| OpenError::Address(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let database = |url: &str| client(url, &Options::default()).map(|(_, database)| database);
        assert_eq!(database("redis://localhost").unwrap(), 0);
        assert_eq!(database("redis://user:p%40ss@[::1]:7000/3").unwrap(), 3);
        assert_eq!(database("unix:///run/redis.sock?db=2").unwrap(), 2);
        assert_eq!(database("rediss://redis.example/1").unwrap(), 1);
        for bad in ["", "localhost:6379", "http://x", "redis://", "redis://h/x", "redis://h/-1", "rediss://h/#insecure"]
        {
            assert!(matches!(database(bad), Err(OpenError::Address(_))), "{bad}");
        }
    }

    #[test]
    fn no_error_shows_the_password() {
        for bad in
            ["redis://u:hush@h:99999", "redis://u:hush@h/x", "redis://:hush@", "ftp://u:hush@h", "redis://u:hush@h:x/"]
        {
            let error = client(bad, &Options::default()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
        }
    }
}
