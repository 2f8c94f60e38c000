//! Where the cluster is and how it is used: the address `fluvio://host:9003?…` and the settings
//! that come from the program.

use std::{sync::Arc, time::Duration};

use event_log::LogError;
use event_schemas::Clock;
use fluvio::config::{TlsConfig, TlsPaths, TlsPolicy};
use url::Url;

use crate::Generations;

/// The port of a cluster's controller where the address names none.
const CONTROLLER_PORT: u16 = 9003;
const PARAMETERS: [&str; 8] =
    ["replication", "prefix", "spu_address", "tls", "tls_domain", "tls_ca", "tls_cert", "tls_key"];

/// What the program gives the log besides its address.
#[derive(Clone)]
pub struct FluvioLogOptions {
    /// Stamps what is appended, and measures how far consumers lag.
    pub clock: Arc<dyn Clock>,
    /// Keeps each topic's generation.
    pub generations: Arc<dyn Generations>,
    /// The longest one request may take, connecting included.
    pub request_timeout: Duration,
    /// The longest a new topic may take until all its partitions have a leader.
    pub provision_timeout: Duration,
    /// How old the knowledge of the consumers' lag may grow before it is gathered anew.
    pub lag_interval: Duration,
}

impl FluvioLogOptions {
    /// The settings for production.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, generations: Arc<dyn Generations>) -> Self {
        Self {
            clock,
            generations,
            request_timeout: Duration::from_secs(10),
            provision_timeout: Duration::from_secs(30),
            lag_interval: Duration::from_secs(5),
        }
    }
}

/// A parsed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// `host:port` of the cluster's controller.
    pub controller: String,
    /// The copies of each partition; every one of them takes a record before it is acknowledged.
    pub replication: u32,
    /// What topic names begin with, the hyphen included.
    pub prefix: String,
    /// Whether brokers are reached by the address meant for the cluster's own network.
    pub local_brokers: bool,
    /// Encryption and identity.
    pub tls: TlsPolicy,
}

impl Address {
    /// Reads `fluvio://host[:port][?parameter=value&…]`.
    pub fn parse(text: &str) -> Result<Self, LogError> {
        let bad = |why: String| LogError::Configuration(format!("the log's address: {why}"));
        let url = Url::parse(text).map_err(|e| bad(e.to_string()))?;
        if url.scheme() != "fluvio" {
            return Err(bad(format!("it must begin with `fluvio://`, not `{}:`", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("Fluvio knows no user and password; use `tls_cert` and `tls_key`".to_owned()));
        }
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(bad("it has no path; topics are told apart by `prefix`".to_owned()));
        }
        let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| bad("it names no host".to_owned()))?;
        let mut out = Self {
            controller: format!("{host}:{}", url.port().unwrap_or(CONTROLLER_PORT)),
            replication: 2,
            prefix: String::new(),
            local_brokers: false,
            tls: TlsPolicy::Disabled,
        };
        let mut tls = "disabled".to_owned();
        let mut paths = TlsPaths {
            domain: host.to_owned(),
            key: Default::default(),
            cert: Default::default(),
            ca_cert: Default::default(),
        };
        for (name, value) in url.query_pairs() {
            match &*name {
                "replication" => {
                    out.replication = value
                        .parse()
                        .ok()
                        .filter(|n| (1..=16).contains(n))
                        .ok_or_else(|| bad(format!("`replication` is 1 to 16, not `{value}`")))?;
                }
                "prefix" => {
                    let letters = value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
                    if !letters || value.is_empty() || value.len() > 40 || value.starts_with('-') {
                        return Err(bad(format!(
                            "`prefix` is up to 40 lower-case letters, digits and hyphens, not `{value}`"
                        )));
                    }
                    out.prefix = format!("{}-", value.trim_end_matches('-'));
                }
                "spu_address" => {
                    out.local_brokers = match &*value {
                        "public" => false,
                        "local" => true,
                        _ => return Err(bad(format!("`spu_address` is `public` or `local`, not `{value}`"))),
                    };
                }
                "tls" => tls = value.into_owned(),
                "tls_domain" => paths.domain = value.into_owned(),
                "tls_ca" => paths.ca_cert = value.into_owned().into(),
                "tls_cert" => paths.cert = value.into_owned().into(),
                "tls_key" => paths.key = value.into_owned().into(),
                _ => return Err(bad(format!("it has no parameter `{name}`; there are {}", PARAMETERS.join(", ")))),
            }
        }
        out.tls = match tls.as_str() {
            "disabled" => TlsPolicy::Disabled,
            "anonymous" => TlsPolicy::Anonymous,
            "verified" => {
                for (name, path) in [("tls_ca", &paths.ca_cert), ("tls_cert", &paths.cert), ("tls_key", &paths.key)] {
                    if !path.is_file() {
                        return Err(bad(format!("`tls=verified` needs `{name}` to name a readable file")));
                    }
                }
                TlsPolicy::Verified(TlsConfig::Files(paths))
            }
            _ => return Err(bad(format!("`tls` is `disabled`, `anonymous` or `verified`, not `{tls}`"))),
        };
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let error = Address::parse(text).unwrap_err();
        assert!(matches!(error, LogError::Configuration(_)));
        error.to_string()
    }

    #[test]
    fn an_address_is_read() {
        let plain = Address::parse("fluvio://sc.example").unwrap();
        assert_eq!((plain.controller.as_str(), plain.replication, plain.prefix.as_str()), ("sc.example:9003", 2, ""));
        let full = Address::parse("fluvio://10.0.0.1:9103/?replication=3&prefix=a-b&spu_address=local&tls=anonymous");
        let full = full.unwrap();
        assert_eq!((full.controller.as_str(), full.replication), ("10.0.0.1:9103", 3));
        assert_eq!((full.prefix.as_str(), full.local_brokers, full.tls), ("a-b-", true, TlsPolicy::Anonymous));
        assert_eq!(Address::parse("fluvio://[::1]:9003").unwrap().controller, "[::1]:9003");
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(error("kafka://host:9092").contains("fluvio://"));
        assert!(error("fluvio://me:secret@host").contains("tls_cert"));
        assert!(!error("fluvio://me:secret@host").contains("secret"));
        assert!(error("fluvio://host/topic").contains("prefix"));
        assert!(error("fluvio:///").contains("host"));
        assert!(error("fluvio://host?replicas=2").contains("replication, prefix"));
        assert!(error("fluvio://host?replication=0").contains("replication"));
        assert!(error("fluvio://host?prefix=Nope").contains("lower-case"));
        assert!(error("fluvio://host?tls=yes").contains("verified"));
        assert!(error("fluvio://host?tls=verified").contains("tls_ca"));
        assert!(error("fluvio://host?spu_address=x").contains("local"));
        assert!(error("host:9003").contains("fluvio://"));
    }
}
