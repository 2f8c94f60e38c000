//! Which tasks and routes each role brings.

use std::{sync::Arc, time::Duration};

use event_log::Stream;
use event_schemas::{Millis, Partition, Topic};
use ingest_api::{Edge, EdgeOptions, Ingest, UploadOptions, Uploads};
use lake_sql::{SqlEngine, SqlOptions};
use lake_views::{LakeViews, LakeViewsConfig};
use lake_writer::{LakeHandle, LakeWriter, WriterConfig, WriterDeps};
use metrics_exporter_prometheus::PrometheusHandle;
use playback_api::{Playback, instance::InstanceView};
use publish_stage::{Collector, CollectorConfig, Relay, RelayConfig};
use ranking::{RankingConfig, Rankings};
use runtime::{Consumption, Tasks};
use tokio_util::sync::CancellationToken;
use transcode_stage::{ChildProgram, RunnerConfig, TranscodeStage};
use utoipa_axum::router::OpenApiRouter;
use views_stage::{ViewsDeps, ViewsState};

use super::{bootstrap::Seams, http, ops, reindex};
use crate::config::{Config, Role};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Starts the roles' tasks and gives back their routes.
///
/// # Errors
/// A role can't start.
pub async fn start(
    config: &Config,
    seams: &Seams,
    tasks: &Tasks,
    metrics: PrometheusHandle,
    stop: &CancellationToken,
) -> Result<OpenApiRouter, Failure> {
    let mut routes = http::description();
    let lake = if config.has(Role::Lake) { Some(lake(config, seams, tasks).await?) } else { None };
    if config.has(Role::Recommend) {
        recommend(config, seams, tasks).await?;
    }
    if config.has(Role::Transcode) {
        transcode(config, seams, tasks).await?;
    }
    if config.has(Role::Ingest) {
        routes = routes.merge(ingest(config, seams, tasks, stop));
    }
    if config.has(Role::Playback) {
        routes = routes.merge(playback(config, seams, tasks, stop)?);
    }
    let sql = if config.has(Role::Sql) { Some(engine(config, seams, Some(SQL_ROWS))?) } else { None };
    let ops = ops::Ops {
        sql,
        access: Arc::clone(&seams.access),
        log: Arc::clone(&seams.log),
        producer: Arc::clone(&seams.producer),
        store: Arc::clone(&seams.store),
        index: seams.index.clone(),
        lake,
        health: tasks.health().clone(),
        metrics,
        operator_token: seams.data_dir.operator_token()?.into(),
    };
    Ok(routes.merge(ops::router(ops)))
}

fn ingest(config: &Config, seams: &Seams, tasks: &Tasks, stop: &CancellationToken) -> OpenApiRouter {
    let options = EdgeOptions {
        linger: config.telemetry.linger_ms.to_duration(),
        queue: config.telemetry.queue,
        ..EdgeOptions::default()
    };
    let (edge, work) = Edge::new(Arc::clone(&seams.producer), config.topics.playback_partitions, &options);
    for (partition, work) in work.into_iter().enumerate() {
        // Ends when the routes are dropped, having written what it holds.
        let guard = tasks.enter(format!("telemetry edge {partition}"));
        tokio::spawn(async move {
            work.await;
            drop(guard);
        });
    }
    publish(seams, tasks);
    let options = UploadOptions {
        max_size: config.uploads.max_size,
        chunk_size: config.uploads.chunk_size,
        expire_after: Millis::from_secs(config.uploads.expire_hours * 3600),
        idle_timeout: config.uploads.idle_ms.to_duration(),
        at_once: config.uploads.at_once,
    };
    ingest_api::router(Ingest {
        access: Arc::clone(&seams.access),
        objects: Arc::clone(&seams.objects),
        uploads: Arc::new(Uploads::new(options, stop.clone())),
        edge: Arc::new(edge),
    })
}

fn playback(config: &Config, seams: &Seams, tasks: &Tasks, stop: &CancellationToken) -> Result<OpenApiRouter, Failure> {
    let index = seams.index.clone().ok_or("the role `playback` needs the search index")?;
    for topic in [Topic::Transcodes, Topic::Videos] {
        let (log, store) = (Arc::clone(&seams.log), Arc::clone(&seams.store));
        let playback_partitions = config.topics.playback_partitions;
        tasks.spawn(format!("follow {topic}"), move |cancel| {
            let (log, store) = (Arc::clone(&log), Arc::clone(&store));
            async move {
                playback_api::follow::run(log, store, topic, Partition(0), playback_partitions, cancel).await;
                Ok(())
            }
        });
    }
    let playback = Playback {
        access: Arc::clone(&seams.access),
        objects: Arc::clone(&seams.objects),
        store: Arc::clone(&seams.store),
        index,
        playback_partitions: config.topics.playback_partitions,
        instance: Arc::new(InstanceView {
            name: config.name.clone(),
            sign_up: config.accounts.sign_up,
            max_upload_bytes: config.uploads.max_size,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }),
        closing: stop.clone(),
    };
    Ok(access::routes::router(Arc::clone(&seams.access)).merge(playback_api::router(playback)))
}

/// The relay from the outbox to the log, and the collector of what is no longer wanted.
fn publish(seams: &Seams, tasks: &Tasks) {
    let relay = Arc::new(Relay::new(
        Arc::clone(&seams.catalog),
        Arc::clone(&seams.producer),
        Arc::clone(&seams.clock),
        RelayConfig::new(&seams.owner),
    ));
    let board = tasks.health().clone();
    tasks.spawn("outbox relay", move |cancel| {
        let (relay, health) = (Arc::clone(&relay), board.register("outbox"));
        async move {
            relay.run(health, cancel).await;
            Ok(())
        }
    });
    let mut settings = CollectorConfig::new(&seams.owner);
    // What was deleted is to be gone while its owner still looks.
    settings.interval = Duration::from_secs(5);
    let collector = Arc::new(Collector::new(
        Arc::clone(&seams.catalog),
        Arc::clone(&seams.objects),
        Arc::clone(&seams.clock),
        settings,
    ));
    let board = tasks.health().clone();
    tasks.spawn("collector", move |cancel| {
        let (collector, health) = (Arc::clone(&collector), board.register("collector rounds"));
        async move {
            collector.run(health, cancel).await;
            Ok(())
        }
    });
}

/// The transcode workers. Where the sandbox can't be set up they do not start, which the log and
/// readiness say; everything else goes on.
async fn transcode(config: &Config, seams: &Seams, tasks: &Tasks) -> Result<(), Failure> {
    let runner = transcode_runner(config)?;
    if !runner.allow_unsafe {
        let why = match transcode_stage::sandbox_level(&runner).await {
            Ok(report) if report.is_sufficient() => None,
            Ok(report) => Some(report.state.missing.join("; ")),
            Err(error) => Some(runtime::describe(&error)),
        };
        if let Some(why) = why {
            tracing::error!(why, "transcoding is off: its children can't be shut in; see `millrace doctor`");
            let board = tasks.health().clone();
            tasks.spawn("transcoding", move |cancel| {
                let health = board.register("transcoding sandbox");
                health.failing(why.clone());
                async move {
                    cancel.cancelled().await;
                    drop(health);
                    Ok(())
                }
            });
            return Ok(());
        }
    }
    for worker in 0..config.transcode.workers {
        let stage = Arc::new(TranscodeStage {
            catalog: Arc::clone(&seams.catalog),
            store: Arc::clone(&seams.objects),
            log: Arc::clone(&seams.log),
            producer: Arc::clone(&seams.producer),
            clock: Arc::clone(&seams.clock),
            runner: runner.clone(),
            owner: format!("{}/{worker}", seams.owner),
            lease: config.transcode.lease_ms,
            poll: Duration::from_secs(2),
        });
        tasks.spawn(format!("transcode worker {worker}"), move |cancel| {
            let stage = Arc::clone(&stage);
            async move { Ok(stage.run(cancel).await?) }
        });
    }
    Ok(())
}

/// How transcoding children are run under this configuration.
///
/// # Errors
/// This program's own path can't be found out.
pub fn transcode_runner(config: &Config) -> Result<RunnerConfig, Failure> {
    let mut runner = RunnerConfig::new(ChildProgram::current()?);
    runner.allow_unsafe = config.transcode.allow_unsafe;
    runner.stall_timeout = config.transcode.stall_ms.to_duration();
    runner.limits.max_duration = Millis::from_secs(config.transcode.max_hours * 3600);
    Ok(runner)
}

/// The most rows of one answer over HTTP.
const SQL_ROWS: usize = 100_000;

fn engine(config: &Config, seams: &Seams, max_rows: Option<usize>) -> Result<Arc<SqlEngine>, Failure> {
    let options = SqlOptions {
        memory: config.lake.query_memory,
        timeout: Some(config.lake.query_ms),
        max_rows,
        parallelism: None,
    };
    Ok(Arc::new(SqlEngine::open(seams.lake.clone(), options)?))
}

/// The lake writer, the view counts, and the figures that follow from the lake.
async fn lake(config: &Config, seams: &Seams, tasks: &Tasks) -> Result<LakeHandle, Failure> {
    let mut settings = WriterConfig::new(&seams.owner);
    settings.commit_every = config.lake.commit_ms.to_duration();
    let deps = WriterDeps {
        log: Arc::clone(&seams.log),
        catalog: Arc::clone(&seams.catalog),
        lake: seams.lake.clone(),
        producer: Arc::clone(&seams.producer),
        clock: Arc::clone(&seams.clock),
        state: seams.open_state("lake-writer").await?,
    };
    let writer = LakeWriter::new(settings, deps);
    let handle = writer.handle();
    tasks.spawn("lake writer", move |cancel| {
        let writer = Arc::clone(&writer);
        async move { Ok(writer.run(cancel).await?) }
    });

    let state = ViewsState::in_database(seams.open_state("views").await?)?;
    let views = ViewsDeps {
        log: Arc::clone(&seams.log),
        producer: Arc::clone(&seams.producer),
        store: Arc::clone(&seams.store),
        state,
    };
    for partition in (0..config.topics.playback_partitions).map(Partition) {
        let views = views.clone();
        tasks.spawn(format!("views {partition}"), move |cancel| {
            let views = views.clone();
            async move { Ok(views_stage::run_partition(views, partition, cancel).await?) }
        });
    }

    let mut settings = LakeViewsConfig::new(config.topics.playback_partitions);
    settings.refresh_every = config.lake.refresh_ms.to_duration();
    let figures =
        LakeViews::new(engine(config, seams, None)?, Arc::clone(&seams.store), Arc::clone(&seams.clock), settings);
    tasks.spawn("figures from the lake", move |cancel| {
        let figures = Arc::clone(&figures);
        async move { Ok(figures.run(cancel).await?) }
    });
    Ok(handle)
}

/// The search index, related and trending.
async fn recommend(config: &Config, seams: &Seams, tasks: &Tasks) -> Result<(), Failure> {
    let index = seams.index.clone().ok_or("the role `recommend` needs the search index")?;
    reindex::if_needed(&seams.log, &seams.catalog, &index).await?;
    let partitions = seams.log.partitions(Stream::Main(Topic::Videos)).await?;
    for partition in (0..partitions).map(Partition) {
        let index = Arc::clone(&index);
        let board = tasks.health().clone();
        let (log, producer, clock) = (Arc::clone(&seams.log), Arc::clone(&seams.producer), Arc::clone(&seams.clock));
        tasks.spawn(format!("index {partition}"), move |cancel| {
            let work = Consumption {
                log: Arc::clone(&log),
                producer: Arc::clone(&producer),
                clock: Arc::clone(&clock),
                topic: Topic::Videos,
                partition,
                limit: event_log::ReadLimit::default(),
                health: board.register(format!("index of videos {partition}")),
                cancel,
            };
            let index = Arc::clone(&index);
            async move { Ok(index_stage::run_partition(index, work).await?) }
        });
    }
    let rankings = Arc::new(Rankings {
        engine: engine(config, seams, None)?,
        store: Arc::clone(&seams.store),
        clock: Arc::clone(&seams.clock),
        config: RankingConfig {
            refresh_every: config.lake.refresh_ms.to_duration(),
            decay_every: Duration::from_secs(600),
            partitions: config.topics.playback_partitions,
        },
    });
    tasks.spawn("rankings", move |cancel| {
        let rankings = Arc::clone(&rankings);
        async move { Ok(rankings.run(cancel).await?) }
    });
    Ok(())
}
