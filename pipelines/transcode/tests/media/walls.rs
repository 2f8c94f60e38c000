//! From inside the child, nothing outside can be reached.

use libtest_mimic::Trial;
use transcode_stage::worker::sandbox_level;

use crate::{collect::config, trial};

pub fn trials() -> Vec<Trial> {
    vec![trial("everything_tried_is_denied", everything_tried_is_denied)]
}

async fn everything_tried_is_denied() {
    let report = sandbox_level(&config()).await.unwrap();
    for attempt in &report.test.attempts {
        assert!(attempt.denied, "{attempt:?}");
    }
    assert!(report.test.attempts.len() >= 12);
    assert!(report.state.no_new_privs && report.state.seccomp && report.state.rlimits, "{report:?}");
    assert!(report.is_sufficient());
}
