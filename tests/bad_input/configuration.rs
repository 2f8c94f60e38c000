//! Configuration that is not allowed, and a data directory that somebody holds.

use std::process::Command;

use crate::support::{
    Server,
    command::{millrace, output},
};

/// Runs a command that must end with exit code 2 and name all these parts; returns what it says.
async fn refused(command: Command, parts: &[&str]) -> String {
    let shown = format!("{command:?}");
    let output = output(command).await;
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{shown}: {message}");
    for part in parts {
        assert!(message.contains(part), "{shown}: `{part}` is not in: {message}");
    }
    assert!(output.stdout.is_empty(), "{shown}");
    message.into_owned()
}

#[tokio::test]
async fn unknown_keys_and_bad_values_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let serve = || {
        let mut command = millrace();
        command.current_dir(folder.path()).arg("serve");
        command
    };
    let file = folder.path().join("millrace.toml");
    for (toml, parts) in [
        ("lissten = \"127.0.0.1:1\"", &["`lissten`", "does not exist", "millrace.toml", "listen"][..]),
        ("[uploads]\nmaxsize = 1", &["`uploads.maxsize`", "does not exist", "max_size"]),
        ("[uploads]\nmax_size = \"huge\"", &["`uploads.max_size`", "huge", "MiB"]),
        ("listen = \"here\"", &["`listen`", "here"]),
        ("roles = [\"cook\"]", &["roles", "cook", "ingest"]),
        ("log = \"kafka://x\"", &["`log`", "kafka://x", "embedded:"]),
        ("listen = ", &["millrace.toml"]),
    ] {
        std::fs::write(&file, toml).unwrap();
        refused(serve(), parts).await;
        std::fs::remove_file(&file).unwrap();
        // The same file under another name, named by a flag and by a variable.
        let named = folder.path().join("other.toml");
        std::fs::write(&named, toml.replace("millrace.toml", "other.toml")).unwrap();
        let parts: Vec<&str> =
            parts.iter().map(|part| if *part == "millrace.toml" { "other.toml" } else { part }).collect();
        let mut command = serve();
        command.arg("--config").arg(&named);
        refused(command, &parts).await;
        let mut command = serve();
        command.env("MILLRACE_CONFIG", &named);
        refused(command, &parts).await;
    }

    for (name, value, parts) in [
        ("MILLRACE_LISSTEN", "127.0.0.1:1", &["`lissten`", "does not exist", "MILLRACE_", "listen"][..]),
        ("MILLRACE_UPLOADS__MAXSIZE", "1", &["`uploads.maxsize`", "does not exist", "max_size"]),
        ("MILLRACE_UPLOADS__MAX_SIZE", "huge", &["`uploads.max_size`", "huge", "MiB"]),
        ("MILLRACE_ACCOUNTS__SIGN_UP", "maybe", &["`accounts.sign_up`", "maybe", "open", "invitation", "closed"]),
        ("MILLRACE_LAKE__COMMIT_MS", "1", &["`lake.commit_ms`", "`1`", "50 to 600000"]),
    ] {
        let mut command = serve();
        command.env(name, value);
        refused(command, parts).await;
    }

    for (set, parts) in [
        ("lissten=127.0.0.1:1", &["`lissten`", "does not exist", "listen"][..]),
        ("uploads.chunk_size=1", &["`uploads.chunk_size`", "1 bytes", "64 KiB to 256 MiB"]),
        ("transcode.workers=0", &["`transcode.workers`", "`0`", "1 to 65536"]),
        ("transcode.workers=some", &["`transcode.workers`", "some", "from the command line"]),
        ("storage=s4://bucket", &["`storage`", "s4://bucket", "file:"]),
        ("catalog=mysql:x", &["`catalog`", "mysql:x", "sqlite:"]),
        ("public_url=ftp://here", &["`public_url`", "ftp://here", "http"]),
        ("nonsense", &["nonsense", "key=value"]),
    ] {
        let mut command = serve();
        command.args(["--set", set]);
        refused(command, parts).await;
    }
    for (arguments, parts) in [
        (&["--listen", "here"][..], &["--listen", "here"][..]),
        (&["--roles", "cook"], &["--roles", "cook", "ingest"]),
        (&["--speed", "9"], &["--speed"]),
        (&["--config", "absent.toml"], &["absent.toml"]),
    ] {
        let mut command = serve();
        command.args(arguments);
        refused(command, parts).await;
    }
    // A variable that is no key of the server's, such as the log's form, is none of its business.
    let mut command = serve();
    command.env("MILLRACE_LOG_FORMAT", "json").args(["--set", "lissten=1"]);
    let message = refused(command, &["`lissten`"]).await;
    assert!(!message.contains("log_format"), "{message}");
    // None of them has begun anything.
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["other.toml"]);
}

#[tokio::test]
async fn a_second_process_on_a_data_directory_is_told_of_the_first() {
    let mut server = Server::start(&[]).await;
    let second = || server.command(&["serve", "--listen", "127.0.0.1:0"]);
    let refused = output(second()).await;
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(message.contains(&format!("in use by process {}", server.pid())), "{message}");
    assert!(message.contains(&server.data().canonicalize().unwrap().display().to_string()), "{message}");
    server.stranger().get("/readyz").await.expect(200);

    // The lock goes with the process, however it ends.
    server.kill();
    server.restart().await;
    server.stranger().get("/readyz").await.expect(200);
}

#[tokio::test]
async fn a_folder_that_is_no_data_directory_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
    let mut command = millrace();
    command.arg("--data-dir").arg(folder.path()).args(["serve", "--listen", "127.0.0.1:0"]);
    let refused = output(command).await;
    let message = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(message.contains("not a data directory"), "{message}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["thesis.txt"]);
}
