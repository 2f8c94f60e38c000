//! `millrace serve`: opens the back ends, starts the roles, serves until told to stop, drains.

pub mod bootstrap;
mod http;
mod logging;
mod ops;
mod reindex;
mod roles;

pub use roles::transcode_runner;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use metrics_exporter_prometheus::PrometheusBuilder;
use runtime::Tasks;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    commands::demo::{DemoPlan, demo},
    config::{Config, Role},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the server until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting. Once it serves, failures show in the log and in readiness.
pub async fn serve(config: Config, demo_clips: Option<PathBuf>) -> Result<ExitCode, Failure> {
    logging::start();
    let metrics = PrometheusBuilder::new().install_recorder()?;
    // Bound first: a port that is taken must not have opened, or made, anything.
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("can't listen on {}: {error}", config.listen))?;
    let seams = bootstrap::open(&config).await?;
    let tasks = Tasks::new(Arc::clone(&seams.clock));
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;

    let upkeep = metrics.clone();
    tasks.spawn("metrics upkeep", move |cancel| {
        let metrics = upkeep.clone();
        async move {
            while tokio::time::timeout(Duration::from_secs(5), cancel.cancelled()).await.is_err() {
                metrics.run_upkeep();
            }
            Ok(())
        }
    });
    let routes = roles::start(&config, &seams, &tasks, metrics, &stop).await?;
    let web = match config.has(Role::Playback) {
        true => Some(playback_api::web::policy(seams.media_origin().await?.as_deref())?),
        false => None,
    };
    let application = http::application(routes, Arc::clone(&seams.access), tasks.clone(), web);

    let roles: Vec<String> = config.roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
    tracing::info!(address = %config.listen, roles = roles.join(","), data = %seams.data_dir.root().display(), "serving");
    eprintln!("Millrace serves {}", config.url());

    if let Some(clips) = demo_clips {
        tokio::spawn(fill_with_demo(config.clone(), clips, stop.clone()));
    }
    let patience = config.shutdown_ms.to_duration();
    let served = http::run(listener, application, stop, patience).await;
    // The routes are gone, and with them the telemetry edge: its tasks write what they hold.
    let stragglers = tasks.shutdown(patience).await;
    if let Some(spool) = &seams.spool {
        spool.close().await;
    }
    seams.log.close().await;
    seams.catalog.close().await;
    served?;
    if stragglers.is_empty() {
        tracing::info!("stopped in order");
        Ok(ExitCode::SUCCESS)
    } else {
        tracing::error!(stragglers = stragglers.join(", "), "stopped without waiting any longer for some work");
        eprintln!("Millrace stopped without waiting any longer for: {}", stragglers.join(", "));
        Ok(ExitCode::FAILURE)
    }
}

fn stop_on_signals(stop: CancellationToken) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}

async fn fill_with_demo(config: Config, clips: PathBuf, stop: CancellationToken) {
    let plan = DemoPlan { clips, data_dir: config.data_dir.clone(), viewers: 400, seed: 1 };
    let url = format!("http://{}", config.listen);
    let work = async {
        let client = Client::new(&url, None)?;
        demo(&client, &plan, &|what| eprintln!("demo: {what}")).await
    };
    let result = tokio::select! {
        () = stop.cancelled() => return,
        result = work => result,
    };
    match result {
        Ok(done) => eprintln!(
            "\n{}\n\n  open      {}\n  login     {}\n  password  {}\n\nStop with Ctrl-C.\n",
            done.summary,
            config.url(),
            done.login,
            done.password
        ),
        Err(error) => eprintln!("the demo was not made: {}", access::problem::chain(&error)),
    }
}
