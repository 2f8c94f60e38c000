//! Media as another program than ours sees it: `ffprobe` and `ffmpeg`.

use std::{path::Path, process::Command};

use serde_json::Value;

use super::command::output;

/// What `ffprobe` says of the only stream of a file, its pictures or packets counted by decoding.
pub async fn probe(path: &Path) -> Value {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-of", "json", "-count_frames", "-show_streams"]).arg(path);
    let output = output(command).await;
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "ffprobe {}: {complaints}", path.display());
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    match found["streams"].as_array().map(Vec::as_slice) {
        Some([stream]) => stream.clone(),
        _ => panic!("{}: {found}", path.display()),
    }
}

/// Plays an address to its end with `ffmpeg`, which must not complain; returns the milliseconds
/// played.
pub async fn play(address: &str) -> i64 {
    let mut command = Command::new("ffmpeg");
    command.env("no_proxy", "127.0.0.1").args(["-v", "error", "-nostdin", "-i", address]);
    command.args(["-progress", "pipe:1", "-f", "null", "-"]);
    let output = output(command).await;
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "ffmpeg {address}: {complaints}");
    let progress = String::from_utf8_lossy(&output.stdout);
    let played = progress.lines().filter_map(|line| line.strip_prefix("out_time_us=")).next_back();
    played.and_then(|text| text.parse::<i64>().ok()).unwrap_or_else(|| panic!("{progress}")) / 1000
}
