//! What `INFO` says about a server: whether it will do, and what to warn of.

use crate::error::{OpenError, Place};

/// The oldest version that will do.
const OLDEST: (u32, u32) = (6, 2);

/// What a server is like.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    version: Option<String>,
    mode: Option<String>,
    role: Option<String>,
    /// In bytes; 0 is no limit.
    memory_limit: u64,
    eviction: Option<String>,
}

impl Findings {
    /// Reads the text of `INFO`.
    pub(crate) fn of(info: &str) -> Self {
        let mut findings = Self::default();
        for (name, value) in info.lines().filter_map(|line| line.trim().split_once(':')) {
            match name {
                "redis_version" => findings.version = Some(value.to_owned()),
                "redis_mode" => findings.mode = Some(value.to_owned()),
                "role" => findings.role = Some(value.to_owned()),
                "maxmemory" => findings.memory_limit = value.parse().unwrap_or(0),
                "maxmemory_policy" => findings.eviction = Some(value.to_owned()),
                _ => {}
            }
        }
        findings
    }

    /// Whether the server will do. What it does not say counts as right.
    pub(crate) fn verdict(&self, place: &Place) -> Result<(), OpenError> {
        let server = place.server.clone();
        if let Some(version) = &self.version {
            let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
            let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            if number < OLDEST {
                return Err(OpenError::TooOld { server, version: version.clone() });
            }
        }
        if self.mode.as_deref() == Some("cluster") {
            return Err(OpenError::Cluster { server });
        }
        if self.role.as_deref() == Some("slave") {
            return Err(OpenError::Replica { server });
        }
        Ok(())
    }

    /// What the operator should know about the eviction policy.
    pub(crate) fn warning(&self) -> Option<String> {
        let policy = self.eviction.as_deref()?;
        (self.memory_limit > 0 && policy.starts_with("allkeys-")).then(|| {
            format!(
                "maxmemory-policy is {policy}: when memory runs out Redis drops counters and figures, pages show \
                 less than there is, and only `rebuild serving` brings them back; use volatile-ttl, which drops \
                 cached answers and rate limits first"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { server: "here:1".into(), database: 0, prefix: "m:".into() }
    }

    #[test]
    fn only_what_will_do_is_taken() {
        let verdict = |info: &str| Findings::of(info).verdict(&place());
        for good in [
            "",
            "redis_version:6.2.0\r\nredis_mode:standalone\r\nrole:master",
            "redis_version:7.0.15",
            "redis_version:10.0",
        ] {
            assert!(verdict(good).is_ok(), "{good}");
        }
        for old in ["5.0.14", "6.0.20", "2.8"] {
            let error = verdict(&format!("redis_version:{old}\r\n")).unwrap_err();
            assert!(matches!(&error, OpenError::TooOld { version, .. } if version == old), "{error}");
        }
        assert!(matches!(verdict("redis_mode:cluster\r\n"), Err(OpenError::Cluster { .. })));
        assert!(matches!(verdict("# Replication\r\nrole:slave\r\n"), Err(OpenError::Replica { .. })));
    }

    #[test]
    fn eviction_of_figures_is_warned_of() {
        let warning = |limit: u64, policy: &str| {
            Findings::of(&format!("maxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n")).warning().is_some()
        };
        assert!(warning(1 << 30, "allkeys-lru") && warning(1, "allkeys-random"));
        assert!(!warning(0, "allkeys-lru"), "without a limit nothing is dropped");
        assert!(!warning(1 << 30, "noeviction") && !warning(1 << 30, "volatile-ttl"));
    }
}
