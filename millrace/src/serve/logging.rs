//! The program's own log: to standard error, as text for people or, with
//! `MILLRACE_LOG_FORMAT=json`, as JSON for machines. `RUST_LOG` chooses what is told.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

// What goes wrong in the Delta kernel comes back as an error and is told by whoever handles it.
const DEFAULT: &str =
    "info,buoyant_kernel=off,deltalake_core=warn,datafusion=warn,tantivy=warn,sqlx=warn,fjall=warn,lsm_tree=warn";

/// Starts logging; a second call in one process changes nothing.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Told by `eprintln!`, they would panic in the middle of a request when standard error is a
        // file on a full disk.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let json = std::env::var("MILLRACE_LOG_FORMAT").is_ok_and(|format| format == "json");
    // It fails only where a logger is there already.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}
