//! The `millrace` program: `serve` runs the server, every other command is its client or reads
//! its files. Only `serve/bootstrap.rs` names concrete back ends.

mod cli;
mod client;
mod commands;
mod config;
mod data_dir;
mod serve;
mod sim;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: this process may be a sandboxed child, which must hold nothing.
    if let Some(code) = cli::child() {
        return code;
    }
    cli::run()
}
