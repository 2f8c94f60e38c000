//! Which tasks and routes each role brings.

use std::{future::Future, sync::Arc, time::Duration};

use event_log::Stream;
use event_schemas::{Millis, Partition, Topic};
use ingest_api::{Edge, EdgeOptions, Ingest, Spool, UploadOptions, Uploads};
use lake_sql::{SqlEngine, SqlOptions};
use lake_views::{LakeHistory, LakeViews, LakeViewsConfig};
use lake_writer::{LakeHandle, LakeWriter, WriterConfig, WriterDeps};
use metrics_exporter_prometheus::PrometheusHandle;
use playback_api::{Playback, Presigned, follow::Announcer, instance::InstanceView};
use publish_stage::{Collector, CollectorConfig, Relay, RelayConfig};
use ranking::{RankingConfig, Rankings};
use runtime::{Consumption, Membership, Ownership, Tasks, Tenancy, tasks::TaskError};
use serving_store::SingleFlight;
use tokio_util::sync::CancellationToken;
use transcode_stage::{ChildProgram, RunnerConfig, TranscodeStage};
use utoipa_axum::router::OpenApiRouter;
use views_stage::{ViewsDeps, ViewsState};

use super::{
    bootstrap::{IndexWork, Seams},
    http, ops, reindex,
};
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
        rankings(config, seams, tasks)?;
    }
    if let Some(work) = seams.index_work {
        index(config, seams, tasks, work).await?;
    }
    if config.has(Role::Transcode) {
        transcode(config, seams, tasks).await?;
    }
    if config.has(Role::Ingest) {
        routes = routes.merge(ingest(config, seams, tasks, stop).await?);
    }
    if config.has(Role::Playback) {
        routes = routes.merge(playback(config, seams, tasks, stop)?);
    }
    let sql = if config.has(Role::Sql) { Some(engine(config, seams, Some(SQL_ROWS))?) } else { None };
    let ops = ops::Ops {
        sql,
        access: Arc::clone(&seams.access),
        essential: essential(config, seams),
        objects: Arc::clone(&seams.objects),
        log: Arc::clone(&seams.log),
        producer: Arc::clone(&seams.producer),
        store: Arc::clone(&seams.store),
        index: seams.index.clone(),
        lake,
        health: tasks.health().clone(),
        metrics,
        operator_token: Arc::clone(&seams.operator_token),
    };
    Ok(routes.merge(ops::router(ops)))
}

async fn ingest(
    config: &Config,
    seams: &Seams,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Result<OpenApiRouter, Failure> {
    let options = EdgeOptions {
        linger: config.telemetry.linger_ms.to_duration(),
        queue: config.telemetry.queue,
        patience: config.telemetry.patience_ms.to_duration(),
        ..EdgeOptions::default()
    };
    let partitions = config.topics.playback_partitions;
    let mut spools = Vec::new();
    if let Some(queue) = &seams.spool {
        for partition in (0..partitions).map(Partition) {
            spools.push(Spool::open(Arc::clone(queue), partition).await?);
        }
    }
    for (partition, spool) in spools.iter().cloned().enumerate() {
        let (producer, board) = (Arc::clone(&seams.producer), tasks.health().clone());
        tasks.spawn(format!("telemetry spool {partition}"), move |cancel| {
            let (producer, spool) = (Arc::clone(&producer), spool.clone());
            let health = board.register(format!("queue of telemetry {partition}"));
            async move { Ok(spool.forward(&producer, health, cancel).await?) }
        });
    }
    let (edge, work) = Edge::new(Arc::clone(&seams.producer), partitions, &spools, &options);
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
    Ok(ingest_api::router(Ingest {
        access: Arc::clone(&seams.access),
        objects: Arc::clone(&seams.objects),
        uploads: Arc::new(Uploads::new(options, stop.clone())),
        edge: Arc::new(edge),
    }))
}

fn playback(config: &Config, seams: &Seams, tasks: &Tasks, stop: &CancellationToken) -> Result<OpenApiRouter, Failure> {
    let index = seams.index.clone().ok_or("the role `playback` needs the search index")?;
    for topic in [Topic::Transcodes, Topic::Videos] {
        announce(config, seams, tasks, topic);
    }
    let playback = Playback {
        access: Arc::clone(&seams.access),
        objects: Arc::clone(&seams.objects),
        presigned: seams.presign.clone().map(|by| Presigned { by, valid_for: config.media.presign_ms }),
        store: Arc::clone(&seams.store),
        playlists: SingleFlight::new(Arc::clone(&seams.store), Millis::from_secs(10)),
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

/// Tells event streams of the changes in `topic`; one process does it for all.
fn announce(config: &Config, seams: &Seams, tasks: &Tasks, topic: Topic) {
    let stage = Arc::new(Announcer {
        store: Arc::clone(&seams.store),
        topic,
        playback_partitions: config.topics.playback_partitions,
    });
    let board = tasks.health().clone();
    let (log, producer, clock) = (Arc::clone(&seams.log), Arc::clone(&seams.producer), Arc::clone(&seams.clock));
    spread(config, seams, tasks, &format!("announcer/{topic}"), 1, move |tenancy| {
        let work = Consumption {
            log: Arc::clone(&log),
            producer: Arc::clone(&producer),
            clock: Arc::clone(&clock),
            topic,
            partition: tenancy.partition,
            limit: event_log::ReadLimit::default(),
            health: board.register(format!("announcements of {topic}")),
            cancel: tenancy.cancel,
        };
        let stage = Arc::clone(&stage);
        async move { Ok(runtime::run_idempotent(stage.as_ref(), work).await?) }
    });
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
    settings.lease = config.lease_ms;
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
        history: Arc::new(LakeHistory::new(engine(config, seams, None)?)),
    };
    spread(config, seams, tasks, "views", config.topics.playback_partitions, move |tenancy| {
        let views = views.clone();
        async move { Ok(views_stage::run_partition(views, tenancy.partition, tenancy.cancel).await?) }
    });

    let mut settings = LakeViewsConfig::new(config.topics.playback_partitions);
    settings.refresh_every = config.lake.refresh_ms.to_duration();
    let figures =
        LakeViews::new(engine(config, seams, None)?, Arc::clone(&seams.store), Arc::clone(&seams.clock), settings);
    spread(config, seams, tasks, "figures", 1, move |tenancy| {
        let figures = Arc::clone(&figures);
        async move { Ok(figures.run(tenancy.cancel).await?) }
    });
    Ok(handle)
}

/// Keeps the search index in step with the `videos` topic.
async fn index(config: &Config, seams: &Seams, tasks: &Tasks, work: IndexWork) -> Result<(), Failure> {
    let index = seams.index.clone().ok_or("the index stage needs the search index")?;
    reindex::if_needed(&seams.log, &seams.catalog, &index).await?;
    let partitions = seams.log.partitions(Stream::Main(Topic::Videos)).await?;
    let board = tasks.health().clone();
    let (log, producer, clock) = (Arc::clone(&seams.log), Arc::clone(&seams.producer), Arc::clone(&seams.clock));
    let run = move |partition: Partition, cancel: CancellationToken| {
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
        async move { Ok::<_, TaskError>(index_stage::run_partition(index, work).await?) }
    };
    match work {
        IndexWork::Shared => spread(config, seams, tasks, "index", partitions, move |t| run(t.partition, t.cancel)),
        IndexWork::Own => {
            for partition in (0..partitions).map(Partition) {
                let run = run.clone();
                tasks.spawn(format!("index {partition}"), move |cancel| run(partition, cancel));
            }
        }
    }
    Ok(())
}

/// Related and trending videos; one process computes them for all.
fn rankings(config: &Config, seams: &Seams, tasks: &Tasks) -> Result<(), Failure> {
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
    spread(config, seams, tasks, "rankings", 1, move |tenancy| {
        let rankings = Arc::clone(&rankings);
        async move { Ok(rankings.run(tenancy.cancel).await?) }
    });
    Ok(())
}

/// What a process can't do without. Roles that answer requests stay in service as long as they
/// can answer most of them; of one that only works nobody asks anything.
fn essential(config: &Config, seams: &Seams) -> &'static [&'static str] {
    let has = |role| config.has(role);
    if seams.spool.is_none() && (has(Role::Ingest) || has(Role::Playback)) && config.log == "embedded:" {
        // One machine's disk: what holds one of them holds all.
        &["catalog", "storage", "log"]
    } else if has(Role::Playback) {
        &["catalog"]
    } else if has(Role::Ingest) {
        // Telemetry with a grant needs neither of them, and would be lost on its way to nobody.
        &[]
    } else if has(Role::Sql) {
        &["storage"]
    } else {
        &["catalog", "storage", "log"]
    }
}

/// Runs `work` for the partitions of `group` that fall to this process among those that offer to
/// work on them.
fn spread<F, Fut>(config: &Config, seams: &Seams, tasks: &Tasks, group: &str, partitions: u32, work: F)
where
    F: Fn(Tenancy) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), TaskError>> + Send + 'static,
{
    let (catalog, clock) = (Arc::clone(&seams.catalog), Arc::clone(&seams.clock));
    let membership = Membership::new(catalog, clock, group, &seams.owner, config.lease_ms);
    let ownership = Ownership::new(membership, partitions);
    for partition in (0..partitions).map(Partition) {
        let (ownership, work) = (ownership.clone(), work.clone());
        tasks.spawn(format!("{group} {partition}"), move |cancel| {
            let (ownership, work) = (ownership.clone(), work.clone());
            async move { ownership.with(partition, cancel, work).await }
        });
    }
    tasks.spawn(format!("partitions of {group}"), move |cancel| {
        let ownership = ownership.clone();
        async move { Ok(ownership.run(cancel).await?) }
    });
}
