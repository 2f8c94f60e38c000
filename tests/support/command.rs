//! The program's other commands, run as an operator would.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::server::Server;

/// The program, free of whatever configures another instance.
pub fn millrace() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MILLRACE_") {
            command.env_remove(name);
        }
    }
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1").stdin(Stdio::null());
    command
}

/// Runs a command without blocking the test's other tasks.
pub async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output()).await.expect("a thread").expect("the program starts")
}

/// Runs a command that must succeed and returns what it prints.
pub async fn succeed(command: Command) -> String {
    let shown = format!("{command:?}");
    let output = output(command).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

impl Server {
    /// One of the program's commands against this server.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = millrace();
        command.current_dir(self.folder()).env("MILLRACE_URL", &self.url);
        command.arg("--data-dir").arg(self.data());
        self.configure(&mut command);
        command.args(arguments);
        command
    }

    /// `millrace lake flush`.
    pub async fn flush(&self) -> Value {
        let printed = succeed(self.command(&["lake", "flush"])).await;
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }

    /// `millrace sql`: the rows as JSON objects.
    pub async fn sql(&self, query: &str) -> Vec<Value> {
        let printed = succeed(self.command(&["sql", "--format", "json-lines", query])).await;
        let rows = printed.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
        rows.collect()
    }

    /// `millrace sql`: the single number that a query gives.
    pub async fn sql_number(&self, query: &str) -> i64 {
        let rows = self.sql(query).await;
        let [row] = rows.as_slice() else { panic!("{query}: {rows:?}") };
        let value = row.as_object().and_then(|row| row.values().next()).and_then(Value::as_i64);
        value.unwrap_or_else(|| panic!("{query}: {row}"))
    }
}
