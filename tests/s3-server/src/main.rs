//! The test server as a process of its own, so that a test can kill it.
//!
//! It prints its address as one line when it serves, and ends with its parent.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Parser;
use s3_server::{Options, S3Server};

#[derive(Debug, Parser)]
struct Arguments {
    /// Where it stores things; made if absent.
    #[arg(long)]
    directory: PathBuf,
    /// A bucket to have.
    #[arg(long)]
    bucket: String,
    /// Where it listens; port 0 for any that is free.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Whose signatures it accepts.
    #[arg(long, default_value = s3_server::ACCESS_KEY)]
    access_key: String,
    /// The secret of that key.
    #[arg(long, default_value = s3_server::SECRET_KEY)]
    secret_key: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match serve(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "s3-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> std::io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let mut options = Options::new(arguments.directory, &arguments.bucket);
    options.listen = arguments.listen;
    options.access_key = arguments.access_key;
    options.secret_key = arguments.secret_key;
    let server = S3Server::start(options).await?;
    writeln!(std::io::stdout(), "{}", server.address())?;
    tokio::signal::ctrl_c().await?;
    server.stop().await;
    Ok(())
}
