//! Which tasks and routes each role brings.

use std::{sync::Arc, time::Duration};

use event_log::Stream;
use event_schemas::{Partition, Topic};
use ingest_api::{Edge, EdgeOptions, Ingest, UploadOptions, Uploads};
use lake_sql::{SqlEngine, SqlOptions};
use lake_writer::{LakeHandle, LakeWriter, WriterConfig, WriterDeps};
use metrics_exporter_prometheus::PrometheusHandle;
use playback_api::{Playback, instance::InstanceView};
use runtime::{Consumption, Tasks};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

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
        transcode(config, seams, tasks)?;
    }
    if config.has(Role::Ingest) {
        routes = routes.merge(ingest(config, seams, tasks));
    }
    if config.has(Role::Playback) {
        routes = routes.merge(playback(config, seams, tasks, stop)?);
    }
    let ops = ops::Ops {
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

fn ingest(config: &Config, seams: &Seams, tasks: &Tasks) -> OpenApiRouter {
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
    let uploads = Uploads::new(UploadOptions {
        max_size: config.uploads.max_size,
        chunk_size: config.uploads.chunk_size,
        expire_after: event_schemas::Millis::from_secs(config.uploads.expire_hours * 3600),
        idle_timeout: config.uploads.idle_ms.to_duration(),
        at_once: config.uploads.at_once,
    });
    ingest_api::router(Ingest {
        access: Arc::clone(&seams.access),
        objects: Arc::clone(&seams.objects),
        uploads: Arc::new(uploads),
        edge: Arc::new(edge),
    })
}

fn playback(
    config: &Config,
    seams: &Seams,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Result<OpenApiRouter, Failure> {
    let index = seams.index.clone().ok_or("the role `playback` needs the search index")?;
    for topic in [Topic::Transcodes, Topic::Videos] {
        let (log, store) = (Arc::clone(&seams.log), Arc::clone(&seams.store));
        tasks.spawn(format!("follow {topic}"), move |cancel| {
            let (log, store) = (Arc::clone(&log), Arc::clone(&store));
            async move {
                playback_api::follow::run(log, store, topic, Partition(0), cancel).await;
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
    let health = tasks.health().register("outbox");
    tasks.spawn("outbox relay", move |cancel| {
        let (relay, health) = (Arc::clone(&relay), health.clone());
        async move {
            relay.run(health, cancel).await;
            Ok(())
        }
    });
}

/// The lake writer, the view counts, and the figures that follow from the lake.
async fn lake(config: &Config, seams: &Seams, tasks: &Tasks) -> Result<LakeHandle, Failure> {
    let mut writer = WriterConfig::new(&seams.owner);
    writer.commit_every = config.lake.commit_ms.to_duration();
    let state = seams.state("lake-writer")?;
    let writer = LakeWriter::new(
        writer,
        WriterDeps {
            log: Arc::clone(&seams.log),
            catalog: Arc::clone(&seams.catalog),
            lake: seams.lake.clone(),
            producer: Arc::clone(&seams.producer),
            clock: Arc::clone(&seams.clock),
            state,
        },
    );
    let handle = writer.handle();
    tasks.spawn("lake writer", move |cancel| {
        let writer = Arc::clone(&writer);
        async move { Ok(writer.run(cancel).await?) }
    });
    Ok(handle)
}

/// The search index, related and trending.
async fn recommend(_config: &Config, seams: &Seams, tasks: &Tasks) -> Result<(), Failure> {
    let index = seams.index.clone().ok_or("the role `recommend` needs the search index")?;
    reindex::if_needed(&seams.log, &seams.catalog, &index).await?;
    let partitions = seams.log.partitions(Stream::Main(Topic::Videos)).await?;
    for partition in (0..partitions).map(Partition) {
        let index = Arc::clone(&index);
        let health = tasks.health().register(format!("index {partition}"));
        let (log, producer, clock) = (Arc::clone(&seams.log), Arc::clone(&seams.producer), Arc::clone(&seams.clock));
        tasks.spawn(format!("index {partition}"), move |cancel| {
            let work = Consumption {
                log: Arc::clone(&log),
                producer: Arc::clone(&producer),
                clock: Arc::clone(&clock),
                topic: Topic::Videos,
                partition,
                limit: event_log::ReadLimit::default(),
                health: health.clone(),
                cancel,
            };
            let index = Arc::clone(&index);
            async move { Ok(index_stage::run_partition(index, work).await?) }
        });
    }
    Ok(())
}
