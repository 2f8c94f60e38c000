//! What `deploy/` holds, as validators see it: `deploy/check`.

use std::process::Command;

use crate::{
    root,
    support::{command, not_run},
};

/// Image, compose file, manifests and edge pass the validators that are here; each that is not is
/// named.
#[tokio::test]
async fn deploy() {
    let output = command::output(Command::new(root().join("deploy/check"))).await;
    let told = String::from_utf8_lossy(&output.stdout);
    print!("{told}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{complaint}");
    // No engine and no cluster is part of the set-up.
    for line in told.lines().filter_map(|line| line.strip_prefix("not run: ")) {
        not_run(&format!("deploy/check: {line}"));
    }
    // What set-up installs must be there.
    let missing: Vec<&str> = told.lines().filter(|line| line.starts_with("missing: ")).collect();
    let must = std::env::var_os("MILLRACE_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!must || missing.is_empty(), "{missing:?}");
    for line in missing {
        not_run(&format!("deploy/check: {line}"));
    }
    let passed = told.lines().filter(|line| line.starts_with("ok: ")).count();
    assert!(passed >= 1, "{told}");
}
