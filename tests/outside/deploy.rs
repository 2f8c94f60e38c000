//! What `deploy/` holds, as validators see it: `deploy/check`.

use std::process::Command;

use crate::{not_run, root, support::command};

/// Image, compose file, manifests and edge pass the validators that are here; each that is not is
/// named.
#[tokio::test]
async fn deploy() {
    let output = command::output(Command::new(root().join("deploy/check"))).await;
    let told = String::from_utf8_lossy(&output.stdout);
    print!("{told}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{complaint}");
    for line in told.lines().filter_map(|line| line.strip_prefix("not run: ")) {
        not_run(&format!("deploy/check: {line}"));
    }
    let passed = told.lines().filter(|line| line.starts_with("ok: ")).count();
    assert!(passed >= 1, "{told}");
}
