//! The program behind `make bench`: what Millrace does in a second, and what limits it, measured
//! beside what others use for the same work.
//!
//! Each suite is a folder here and a subcommand; without one, all of them run. A suite prints its
//! tables and writes all its measurements as JSON.

mod callers;
mod logs;
mod machine;
mod payload;
mod place;
mod server;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "bench", about = "Measures Millrace beside its peers")]
struct Cli {
    #[command(subcommand)]
    suite: Option<Suite>,
}

#[derive(Subcommand)]
enum Suite {
    /// The logs: appends and reads, beside NATS JetStream and Redis Streams.
    Logs(logs::Args),
    /// One round of one back end, for `logs`.
    #[command(hide = true)]
    Round {
        /// A task as JSON.
        task: String,
    },
}

/// The suites that run where none is named.
const ALL: [&str; 1] = ["logs"];

// Servers die with the thread that starts them: this one, on which the runtime runs `run` itself.
#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().suite {
        Some(suite) => run(suite).await,
        None => all().await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn all() -> anyhow::Result<()> {
    for name in ALL {
        if let Some(suite) = Cli::parse_from(["bench", name]).suite {
            run(suite).await?;
        }
    }
    Ok(())
}

async fn run(suite: Suite) -> anyhow::Result<()> {
    match suite {
        Suite::Logs(args) => logs::run(args).await,
        Suite::Round { task } => {
            let outcome = logs::measure(serde_json::from_str(&task)?).await?;
            println!("{}", serde_json::to_string(&outcome)?);
            Ok(())
        }
    }
}
