//! `millrace doctor`: whether this machine and this configuration can run the server, and how
//! safely.

use std::{fmt, path::Path};

use event_schemas::ByteSize;

use transcode_stage::sandbox::Landlock;

use crate::{
    config::{Config, Role},
    serve::transcode_runner,
};

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
            let free = ByteSize(stat.blocks_available() * stat.fragment_size());
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
    // Opening makes a new directory's files, and looking must change nothing.
    if !path.join("FORMAT").exists() {
        return match std::fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
            Ok(true) => finding("data", Verdict::Good, format!("`{}` is empty and will be used", path.display())),
            Ok(false) => {
                finding("data", Verdict::Bad, format!("`{}` holds something else than Millrace's data", path.display()))
            }
            Err(error) => finding("data", Verdict::Bad, format!("can't read `{}`: {error}", path.display())),
        };
    }
    match crate::data_dir::DataDir::open(path) {
        Ok(_) => finding("data", Verdict::Good, format!("`{}` is free to use", path.display())),
        Err(error @ crate::data_dir::DataDirError::InUse { .. }) => {
            finding("data", Verdict::Warning, format!("{error}: a server is running"))
        }
        Err(error) => finding("data", Verdict::Bad, error.to_string()),
    }
}

fn landlock(level: Landlock) -> &'static str {
    match level {
        Landlock::Absent => "Landlock: the kernel has none",
        Landlock::Partial => "Landlock: in part",
        Landlock::Full => "Landlock",
    }
}

async fn transcoding(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let media = transcode_stage::media_libraries();
    findings.push(if media.missing.is_empty() {
        finding("ffmpeg", Verdict::Good, media.version)
    } else {
        let detail = format!("{} has no {}", media.version, media.missing.join(", "));
        finding("ffmpeg", Verdict::Bad, detail)
    });
    let report = match transcode_runner(config) {
        Ok(runner) => transcode_stage::sandbox_level(&runner).await.map_err(|error| access::problem::chain(&error)),
        Err(error) => Err(error.to_string()),
    };
    let refused = if config.transcode.allow_unsafe { Verdict::Warning } else { Verdict::Bad };
    findings.push(match report {
        Ok(report) if report.is_sufficient() => {
            let denied: Vec<&str> = report.test.attempts.iter().map(|attempt| attempt.what.as_str()).collect();
            let detail = format!(
                "no new privileges, seccomp, rlimits; {}; a child was denied: {}",
                landlock(report.state.landlock),
                denied.join(", ")
            );
            finding("sandbox", Verdict::Good, detail)
        }
        Ok(report) => {
            let allowed = report.test.attempts.iter().filter(|attempt| !attempt.denied);
            let mut wrong: Vec<String> = allowed.map(|attempt| format!("a child could {}", attempt.what)).collect();
            wrong.extend(report.state.missing);
            finding("sandbox", refused, wrong.join("; "))
        }
        Err(error) => finding("sandbox", refused, error),
    });
    findings
}

/// Looks at everything.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![data_dir(config), disk(config)];
    if config.has(Role::Transcode) {
        findings.extend(transcoding(config).await);
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
