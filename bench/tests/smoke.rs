//! The bench runs with tiny sizes on whatever of its back ends is on this machine. Nothing about
//! time is asserted.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{io::Write as _, process::Command};

use serde_json::Value;

const SUBJECTS: [&str; 6] = ["embedded", "nats-fsync", "redis-fsync", "fluvio", "nats", "redis"];

/// What must be measured. NATS is a peer and none of the project's back ends, and Fluvio has suites
/// of its own that say when there is no broker.
fn is_required(name: &str) -> bool {
    let all = std::env::var_os("MILLRACE_REQUIRE_ALL").is_some_and(|value| value == "1");
    name == "embedded" || all && name.starts_with("redis")
}

#[test]
fn every_log_is_appended_to_and_read_back() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["logs", "--rounds", "2", "--callers", "8", "--records", "200", "--seconds", "20", "--warm-up", "0.05"])
        .args(["--in-memory", "--folder"])
        .arg(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));

    let report = std::fs::read_to_string(folder.path().join("logs.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let measured = report["subjects"].as_array().unwrap();
    for name in SUBJECTS {
        let Some(subject) = measured.iter().find(|subject| subject["subject"] == name) else {
            let why = report["not_run"][name].as_str().unwrap();
            assert!(text.lines().any(|line| line.starts_with("not run: ") && line.contains(name)), "{text}");
            assert!(!is_required(name), "{name}: {why}");
            continue;
        };
        let rows = text.lines().filter(|line| line.split('|').nth(1).is_some_and(|cell| cell.trim() == name)).count();
        assert_eq!(rows, 2, "{name} is in both tables: {text}");
        let rounds = subject["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 2, "{name}");
        for round in rounds {
            assert!(round["append"]["calls"].as_u64().unwrap() > 0, "{name}: {round}");
            let [records, bytes] = ["records", "bytes"].map(|field| round["read"][field].as_u64().unwrap());
            assert!(records >= round["append"]["calls"].as_u64().unwrap(), "{name}: {round}");
            // Each record is the batch that was appended.
            let mean = bytes as f64 / records as f64;
            assert!((mean / round["record_bytes"].as_f64().unwrap() - 1.0).abs() < 0.05, "{name}: {round}");
            let server = round["server_memory"].as_u64().unwrap();
            assert_eq!(server == 0, name == "embedded", "{name}: {round}");
        }
    }
    for line in text.lines().filter(|line| line.starts_with("not run: ")) {
        // Past the capture of what passing tests print; a closed standard error is no reason to fail.
        let _ = writeln!(std::io::stderr(), "{line}, in the bench's smoke test");
    }
    let ratios = report["ratios"].as_array().unwrap();
    assert!(ratios.iter().all(|ratio| ratio["ours"] == "embedded" || ratio["ours"] == "fluvio"));
    // Nothing but the results stays.
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["logs.json"]);
}

#[test]
fn a_folder_in_memory_is_refused_unless_asked_for() {
    // Present on every Linux; where it is not memory there is nothing to refuse.
    let shm = std::path::Path::new("/dev/shm");
    let Ok(folder) = tempfile::tempdir_in(shm) else {
        let _ = writeln!(std::io::stderr(), "not run: bench in memory: {} can't be written", shm.display());
        return;
    };
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["logs", "--subjects", "embedded", "--folder"])
        .arg(folder.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("--in-memory"), "{error}");
}
