//! `millrace doctor`: whether this machine and this configuration can run the server, and how
//! safely.

use std::{fmt, path::Path};

use event_schemas::ByteSize;

use crate::config::{Config, Role};

/// How a finding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, but less well or less safely.
    Warning,
    /// The server would not run, or not do all its roles.
    Bad,
}

/// One thing looked at.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What.
    pub subject: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// In words, with what to do.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Good => "ok  ",
            Verdict::Warning => "warn",
            Verdict::Bad => "BAD ",
        };
        write!(f, "{mark}  {:<14} {}", self.subject, self.detail)
    }
}

fn finding(subject: &'static str, verdict: Verdict, detail: impl Into<String>) -> Finding {
    Finding { subject, verdict, detail: detail.into() }
}

fn disk(config: &Config) -> Finding {
    let mut dir: &Path = &config.data_dir;
    while !dir.exists() {
        dir = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    match nix::sys::statvfs::statvfs(dir) {
        Ok(stat) => {
            let free = ByteSize(stat.blocks_available() as u64 * stat.fragment_size() as u64);
            let floor = config.free_space_floor;
            if free < floor {
                let detail = format!("{free} free, under the floor of {floor}: writes are refused until there is room");
                finding("disk", Verdict::Bad, detail)
            } else if free.0 < floor.0.saturating_mul(4) {
                finding("disk", Verdict::Warning, format!("{free} free; writes stop under {floor}"))
            } else {
                finding("disk", Verdict::Good, format!("{free} free; writes stop under {floor}"))
            }
        }
        Err(error) => finding("disk", Verdict::Bad, format!("can't look at `{}`: {error}", dir.display())),
    }
}

fn data_dir(config: &Config) -> Finding {
    let path = &config.data_dir;
    if !path.exists() {
        return finding("data", Verdict::Good, format!("`{}` will be made", path.display()));
    }
    match crate::data_dir::DataDir::open(path) {
        Ok(_) => finding("data", Verdict::Good, format!("`{}` is free to use", path.display())),
        Err(error @ crate::data_dir::DataDirError::InUse { .. }) => {
            finding("data", Verdict::Warning, format!("{error}: a server is running"))
        }
        Err(error) => finding("data", Verdict::Bad, error.to_string()),
    }
}

fn transcoding(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let media = transcode_stage::media_libraries();
    let missing: Vec<&str> = media.missing.iter().map(String::as_str).collect();
    findings.push(if missing.is_empty() {
        finding("ffmpeg", Verdict::Good, media.version)
    } else {
        finding("ffmpeg", Verdict::Bad, format!("{} lacks {}", media.version, missing.join(", ")))
    });
    let sandbox = transcode_stage::sandbox::sandbox_level();
    let verdict = match (sandbox.is_sufficient(), config.transcode.allow_unsafe) {
        (true, _) => Verdict::Good,
        (false, true) => Verdict::Warning,
        (false, false) => Verdict::Bad,
    };
    findings.push(finding("sandbox", verdict, sandbox.to_string()));
    findings
}

/// Looks at everything.
#[must_use]
pub fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![data_dir(config), disk(config)];
    if config.has(Role::Transcode) {
        findings.extend(transcoding(config));
    }
    let exposed = !config.listen.ip().is_loopback();
    let over_tls = config.public_url.as_ref().is_some_and(|url| url.scheme() == "https");
    findings.push(if exposed && !over_tls {
        let detail = format!(
            "listens on {} without an https `public_url`: passwords and cookies would cross the network in the clear",
            config.listen
        );
        finding("network", Verdict::Warning, detail)
    } else {
        finding("network", Verdict::Good, format!("{} as {}", config.listen, config.url()))
    });
    findings
}
