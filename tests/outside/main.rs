//! Drives the parts that are not Rust against the real program: the web app in a real browser, the
//! notebook on a real lake, the edge before it, and what `deploy/` holds.
//!
//! What can't be run here says so in a line that begins with `not run:` and passes, unless
//! `MILLRACE_REQUIRE_ALL=1`, as `make test` sets it: then it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod deploy;
mod edge;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use support::{Creator, SHORT, Server, clips, command, wait::holds, wait_until};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").to_owned()
}

fn not_run(reason: &str) {
    assert!(std::env::var_os("MILLRACE_REQUIRE_ALL").is_none_or(|value| value != "1"), "can't run: {reason}");
    support::not_run(reason);
}

/// The first of these programs that there is.
fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    names.iter().find_map(|name| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file()))
}

/// The web app through a real browser, as a person uses it; see `tests/browser`.
#[tokio::test]
async fn browser() {
    let tests = root().join("tests/browser");
    let Some(node) = program(&["node"]) else { return not_run("there is no Node.js") };
    let chromium = std::env::var_os("CHROMIUM").map(PathBuf::from).filter(|file| file.is_file());
    let Some(chromium) = chromium.or_else(|| program(&["chromium", "chromium-browser", "google-chrome"])) else {
        return not_run("there is no Chromium");
    };
    if !tests.join("node_modules/playwright-core").is_dir() {
        return not_run("tests/browser/node_modules is absent: run `npm ci` in tests/browser");
    }
    let clip = clips::small().await;
    let server = Server::start(&[]).await;
    if server.stranger().get("/").await.status != 200 {
        return not_run("the program was built without the web app: run `make web` and build it again");
    }
    let mut command = Command::new(node);
    command.current_dir(&tests).args(["--test", "--test-reporter=spec", "walkthrough.test.mjs"]);
    command.env("MILLRACE_URL", &server.url).env("MILLRACE_CLIP", &clip.path).env("CHROMIUM", chromium);
    command.env("MILLRACE_ARTIFACTS", env!("CARGO_TARGET_TMPDIR"));
    command.env_remove("MILLRACE_LOGIN").env_remove("MILLRACE_PASSWORD").env_remove("NODE_OPTIONS");
    let output = command::output(command).await;
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    let passed =
        told.lines().find_map(|line| line.trim().strip_prefix("ℹ pass ")).and_then(|count| count.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed >= 8), "{told}");
    println!("{} steps in a real browser", passed.unwrap_or_default());
}

/// The notebook opens the table as it lies on disk and recounts what the API says.
#[tokio::test]
async fn notebook() {
    let script = root().join("scripts/run-notebook");
    let clip = clips::small().await;
    let server = Server::start(&[]).await;
    let ada = Creator::sign_up(&server, "ada").await;
    let videos = [
        ada.publish(&clip, "Marmots").await,
        ada.publish(&clips::tiny(40).await, "Clouds").await,
        ada.publish(&clips::tiny(70).await, "Rain").await,
    ];
    let simulate = ["simulate", "--viewers", "30", "--sessions", "3", "--seed", "11", "--span-hours", "48"];
    let outcome: Value = serde_json::from_str(&command::succeed(server.command(&simulate)).await).unwrap();
    server.flush().await;
    let views = server.sql_number("select count(*) from views").await;
    assert!(views > 0);
    wait_until("the API counts what the lake does", SHORT, async || {
        let mut counted = 0;
        for video in &videos {
            counted += server.stranger().video(video).await["counters"]["views"].as_i64().unwrap();
        }
        holds(counted == views, || format!("API {counted}, lake {views}"))
    })
    .await;

    let mut command = Command::new(&script);
    command.arg(server.data().join("lake")).args(["--url", &server.url]).env("NO_PROXY", "127.0.0.1");
    let output = command::output(command).await;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("run 'scripts/setup test' first") {
        return not_run("the notebook's Python packages are absent: run `scripts/setup test`");
    }
    assert!(output.status.success(), "{complaint}");
    let recount: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("the notebook's recount: {recount}");
    assert_eq!(recount["playback_events"], outcome["events"], "{recount}");
    for video in &videos {
        let counters = server.stranger().video(video).await["counters"].clone();
        assert_eq!(recount["videos"][video], counters, "video {video}");
    }
    assert_eq!(recount["compared_with_api"], videos.len(), "{recount}");
}
