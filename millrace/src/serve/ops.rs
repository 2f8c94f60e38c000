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
use lake_sql::{Format, SqlEngine, SqlError};
use lake_writer::LakeHandle;
use metrics_exporter_prometheus::PrometheusHandle;
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

/// What a process needs, and how each part of it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// True if this process can do all its roles.
    pub ready: bool,
    /// Each dependency and failing task: `ok`, or what stands in the way.
    pub checks: BTreeMap<String, String>,
}

#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness, description = "Something is missing")))]
async fn readyz(State(ops): State<Ops>) -> impl IntoResponse {
    fn told<E: std::fmt::Display>(result: Result<(), E>) -> String {
        result.err().map_or_else(|| "ok".to_owned(), |error| error.to_string())
    }
    let mut checks = BTreeMap::from([
        ("catalog".to_owned(), told(ops.access.catalog.check().await)),
        ("log".to_owned(), told(ops.log.check().await)),
        ("serving store".to_owned(), told(ops.store.check().await)),
    ]);
    if let Some(index) = &ops.index {
        checks.insert("search index".to_owned(), told(index.check().await));
    }
    for (name, health) in ops.health.failing() {
        if let Health::Failing { since, error } = health {
            checks.insert(name, format!("failing since {}: {error}", since.to_rfc3339()));
        }
    }
    let ready = checks.values().all(|check| check == "ok");
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(Readiness { ready, checks }))
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
