//! For operators and machines: health, readiness, metrics, the API's description, and the
//! operator's commands. Mounted by every role.
//!
//! The operator's routes need the operator's token from the data directory, or the API token of
//! an administrator.

use std::{collections::BTreeMap, sync::Arc};

use access::{Access, Caller, Problem, routes::Body};
use axum::{
    Json,
    extract::{FromRef, FromRequestParts, Path, State},
    http::{StatusCode, header, request::Parts},
    response::IntoResponse,
};
use event_log::EventLog;
use event_schemas::{Fault, Faulty as _, Offset, Topic};
use futures::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use lake_sql::{Format, SqlEngine, SqlError};
use lake_writer::LakeHandle;
use metrics_exporter_prometheus::PrometheusHandle;
use object_store::{ObjectStore, ObjectStoreExt as _};
use runtime::{HealthBoard, Producer, health::Health};
use search_index::SearchIndex;
use serde::Serialize;
use serving_store::ServingStore;
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::commands::{
    dead_letters::{DeadLetterList, DeadLetterView},
    lake::Flushed,
};

/// What these routes look at.
#[derive(Clone)]
pub struct Ops {
    /// Who is asking; and the catalog.
    pub access: Arc<Access>,
    /// The checks of `/readyz` without which this process can't answer what it is asked.
    pub essential: &'static [&'static str],
    /// Uploads, media, the lake.
    pub objects: Arc<dyn ObjectStore>,
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Puts dead letters back.
    pub producer: Arc<Producer>,
    /// The serving store.
    pub store: Arc<dyn ServingStore>,
    /// The index, if this process has it.
    pub index: Option<Arc<dyn SearchIndex>>,
    /// The lake writer, if this process runs it.
    pub lake: Option<LakeHandle>,
    /// How tasks and stages are.
    pub health: HealthBoard,
    /// SQL over the lake, if this process has the role `sql`.
    pub sql: Option<Arc<SqlEngine>>,
    /// The metrics.
    pub metrics: PrometheusHandle,
    /// The operator's token.
    pub operator_token: Arc<str>,
}

impl FromRef<Ops> for Arc<Access> {
    fn from_ref(ops: &Ops) -> Self {
        Self::clone(&ops.access)
    }
}

/// Proof that the operator is asking.
pub struct Operator;

impl FromRequestParts<Ops> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ops: &Ops) -> Result<Self, Problem> {
        let given = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.strip_prefix("Bearer "))
            .unwrap_or_default();
        if bool::from(given.as_bytes().ct_eq(ops.operator_token.as_bytes())) {
            return Ok(Self);
        }
        let caller = Caller::from_request_parts(parts, ops).await?;
        if caller.required()?.is_admin { Ok(Self) } else { Err(Problem::forbidden("this is for the operator")) }
    }
}

#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, description = "The process is alive")))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// All is well.
    Ready,
    /// It answers requests, and something that it needs for more is missing: see `checks`.
    Degraded,
    /// It can't do what it is there for; requests are better sent to another process.
    Unready,
}

/// What a process needs, and how each part of it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// All in all.
    pub status: Condition,
    /// Each dependency and failing task: `ok`, or what stands in the way.
    pub checks: BTreeMap<String, String>,
}

/// The longest a dependency may take to say that it is there.
const CHECK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// What is asked under the name by which it is shown.
type Check<'a> = (&'static str, BoxFuture<'a, Result<(), String>>);

fn check<'a, E: std::fmt::Display>(
    name: &'static str,
    asked: impl Future<Output = Result<(), E>> + Send + 'a,
) -> Check<'a> {
    let asked = async move {
        match tokio::time::timeout(CHECK_PATIENCE, asked).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer within two seconds".to_owned()),
        }
    };
    (name, asked.boxed())
}

/// Objects are there if one that does not exist is known not to.
async fn objects_answer(objects: &dyn ObjectStore) -> Result<(), object_store::Error> {
    match objects.head(&object_store::path::Path::from("readiness")).await {
        Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses((status = 200, body = Readiness, description = "Ready, or degraded"), (status = 503, body = Readiness, description = "Unready")))]
async fn readyz(State(ops): State<Ops>) -> impl IntoResponse {
    let mut asked = vec![
        check("catalog", ops.access.catalog.check()),
        check("storage", objects_answer(ops.objects.as_ref())),
        check("log", ops.log.check()),
        check("serving store", ops.store.check()),
    ];
    if let Some(index) = &ops.index {
        asked.push(check("search index", index.check()));
    }
    let answers = join_all(asked.into_iter().map(|(name, asked)| async move { (name, asked.await) })).await;
    let mut checks: BTreeMap<String, String> = answers
        .into_iter()
        .map(|(name, answer)| (name.to_owned(), answer.err().unwrap_or_else(|| "ok".to_owned())))
        .collect();
    let is_down = |name: &&str| checks.get(*name).is_some_and(|check| check != "ok");
    let lacks = ops.essential.iter().any(is_down);
    for (name, health) in ops.health.failing() {
        if let Health::Failing { since, error } = health {
            checks.insert(name, format!("failing since {}: {error}", since.to_rfc3339()));
        }
    }
    let status = match (lacks, checks.values().all(|check| check == "ok")) {
        (true, _) => Condition::Unready,
        (false, false) => Condition::Degraded,
        (false, true) => Condition::Ready,
    };
    let code = if lacks { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(Readiness { status, checks }))
}

#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, content_type = "text/plain; version=0.0.4", body = String)))]
async fn metrics(State(ops): State<Ops>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], ops.metrics.render())
}

#[utoipa::path(post, path = "/api/v1/operator/lake/flush", tag = "operations",
    responses((status = 200, body = Flushed, description = "The lake holds all that was acknowledged before"),
              (status = 401, body = Problem), (status = 403, body = Problem), (status = 503, body = Problem)))]
async fn flush(_: Operator, State(ops): State<Ops>) -> Result<Json<Flushed>, Problem> {
    let lake = ops.lake.as_ref().ok_or_else(|| Problem::unavailable("this process has not the role `lake`"))?;
    let status = tokio::time::timeout(FLUSH_PATIENCE, lake.flush(None))
        .await
        .map_err(|_| Problem::unavailable("the lake writer does not get there; see /readyz and the log"))?
        .map_err(|error| Problem::from_seam(&error))?;
    Ok(Json(Flushed {
        offsets: status.committed.0.iter().map(|(partition, next)| (partition.to_string(), next.0)).collect(),
        table_version: status.version,
    }))
}

fn topic(name: &str) -> Result<Topic, Problem> {
    name.parse().map_err(|error: event_schemas::topics::UnknownTopic| {
        let mut problem = Problem::not_found("topic");
        problem.detail = error.to_string();
        problem
    })
}

/// How long a flush may take before its caller is told to come back.
const FLUSH_PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// The most dead letters of one answer.
const MAX_LETTERS: usize = 1000;

#[utoipa::path(get, path = "/api/v1/operator/dead-letters/{topic}", tag = "operations", params(("topic" = String, Path)),
    responses((status = 200, body = DeadLetterList), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn dead_letters(
    _: Operator,
    State(ops): State<Ops>,
    Path(name): Path<String>,
) -> Result<Json<DeadLetterList>, Problem> {
    let topic = topic(&name)?;
    let letters = runtime::list_dead_letters(ops.log.as_ref(), topic, Offset(0), MAX_LETTERS)
        .await
        .map_err(|error| Problem::from_seam(&error))?;
    let items = letters
        .into_iter()
        .map(|listed| DeadLetterView {
            topic: topic.to_string(),
            offset: listed.offset.0,
            stage: listed.letter.stage,
            reason: listed.letter.reason,
            attempts: listed.letter.attempts,
            source_partition: listed.letter.partition,
            source_offset: listed.letter.offset,
            at: listed.letter.at.to_rfc3339(),
        })
        .collect();
    Ok(Json(DeadLetterList { items }))
}

#[utoipa::path(post, path = "/api/v1/operator/dead-letters/{topic}/{offset}/replay", tag = "operations",
    params(("topic" = String, Path), ("offset" = u64, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
async fn replay(
    _: Operator,
    State(ops): State<Ops>,
    Path((name, offset)): Path<(String, u64)>,
) -> Result<StatusCode, Problem> {
    let topic = topic(&name)?;
    runtime::replay_dead_letter(ops.log.as_ref(), &ops.producer, topic, Offset(offset)).await.map_err(|error| {
        match &error {
            runtime::ReplayError::NotFound { .. } => {
                let mut problem = Problem::not_found("dead letter");
                problem.detail = error.to_string();
                problem
            }
            _ => Problem::from_seam(&error),
        }
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// A query.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlForm {
    /// One `select`.
    query: String,
}

#[utoipa::path(post, path = "/api/v1/operator/sql", tag = "operations", request_body = SqlForm,
    responses((status = 200, content_type = "application/x-ndjson", body = String, description = "A JSON object a row; `Millrace-Truncated: true` if there were more rows than one answer holds"),
              (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
async fn sql(_: Operator, State(ops): State<Ops>, Body(form): Body<SqlForm>) -> Result<impl IntoResponse, Problem> {
    let engine = ops.sql.as_ref().ok_or_else(|| Problem::unavailable("this process has not the role `sql`"))?;
    let refused = |error: SqlError| match error.fault() {
        Fault::Caller => Problem::invalid_field("query", runtime::describe(&error)),
        _ => Problem::from_seam(&error),
    };
    let result = engine.query(&form.query).await.map_err(refused)?;
    let mut body = Vec::new();
    result.write(Format::JsonLines, &mut body).map_err(refused)?;
    let truncated = if result.truncated { "true" } else { "false" };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson"), (TRUNCATED, truncated)], body))
}

/// Whether an answer holds all rows.
const TRUNCATED: header::HeaderName = header::HeaderName::from_static("millrace-truncated");

/// The routes of this module.
pub fn router(ops: Ops) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(sql))
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(flush))
        .routes(routes!(dead_letters))
        .routes(routes!(replay))
        .with_state(ops)
}
