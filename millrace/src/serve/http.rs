//! The HTTP side of a process: the roles' routes, what stands around every request, and its end.

use std::{future::IntoFuture as _, net::SocketAddr, sync::Arc, time::Duration};

use access::{Access, Problem};
use axum::{
    Json, Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use runtime::Tasks;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{DefaultPredicate, NotForContentType, Predicate as _},
    },
};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

#[derive(OpenApi)]
#[openapi(info(
    title = "Millrace",
    description = "Uploads, playback, telemetry and figures. Errors are `application/problem+json` (RFC 9457).",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Description;

/// The API's description with nothing in it yet.
#[must_use]
pub fn description() -> OpenApiRouter {
    OpenApiRouter::with_openapi(Description::openapi())
}

async fn measured(State(tasks): State<Tasks>, request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let path = request.extensions().get::<MatchedPath>().map_or("(web app)", MatchedPath::as_str).to_owned();
    let Some(_activity) = tasks.enter(format!("{method} {path}")) else {
        return Problem::unavailable("the server is shutting down").into_response();
    };
    let started = std::time::Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("millrace_http_requests_total", "method" => method.clone(), "path" => path.clone(), "status" => status)
        .increment(1);
    metrics::histogram!("millrace_http_request_seconds", "method" => method, "path" => path)
        .record(started.elapsed().as_secs_f64());
    response
}

/// Bodies that the framework refuses before a handler sees them are told as problems too.
async fn plain_refusals_as_problems(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_plain =
        response.headers().get(header::CONTENT_TYPE).is_none_or(|value| value.as_bytes().starts_with(b"text/plain"));
    if !is_plain || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (slug, title) = match status {
        StatusCode::METHOD_NOT_ALLOWED => ("method", "Another method"),
        StatusCode::NOT_FOUND => ("not-found", "Not found"),
        _ => ("bad-request", "The request can't be read"),
    };
    let allow = response.headers().get(header::ALLOW).cloned();
    let body = axum::body::to_bytes(response.into_body(), 8192).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let detail = if text.is_empty() { title.to_lowercase() } else { text.into_owned() };
    let mut response = Problem::new(status, slug, title, detail).into_response();
    if let Some(allow) = allow {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

fn on_panic(_: Box<dyn std::any::Any + Send>) -> Response {
    // The panic itself is logged by the hook, with its place.
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Something went wrong here",
        "the cause is in the server's log",
    )
    .into_response()
}

/// The whole application of a process; with the web app if there is a policy for its pages.
pub fn application(routes: OpenApiRouter, access: Arc<Access>, tasks: Tasks, web: Option<HeaderValue>) -> Router {
    let (router, api) = routes.split_for_parts();
    let api = Arc::new(api);
    let router = router.route(
        "/api/openapi.json",
        get(move || {
            let api = Arc::clone(&api);
            async move { Json(utoipa::openapi::OpenApi::clone(&api)) }
        }),
    );
    let router = match web {
        Some(policy) => router.fallback(move |uri, headers| playback_api::web::fallback(uri, headers, policy.clone())),
        None => router.fallback(|| async { Problem::not_found("address in this process").into_response() }),
    };
    // Media is compressed already, and its ranges must stay as they are.
    let compressible = DefaultPredicate::new()
        .and(NotForContentType::new("video/"))
        .and(NotForContentType::new("audio/"))
        .and(NotForContentType::new("application/octet-stream"));
    router
        .layer(middleware::from_fn_with_state(access, access::csrf::protect))
        .layer(middleware::from_fn(plain_refusals_as_problems))
        .layer(CompressionLayer::new().compress_when(compressible))
        .layer(middleware::from_fn_with_state(tasks, measured))
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(middleware::map_response(|mut response: Response| async move {
            response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        }))
}

/// Serves until `stop` is cancelled, then lets requests under way end, at most for `patience`.
///
/// # Errors
/// The listener failed.
pub async fn run(
    listener: TcpListener,
    application: Router,
    stop: CancellationToken,
    patience: Duration,
) -> std::io::Result<()> {
    let service = application.into_make_service_with_connect_info::<SocketAddr>();
    let drained = stop.clone();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move { drained.cancelled().await });
    let server = server.into_future();
    tokio::pin!(server);
    tokio::select! {
        result = &mut server => result,
        () = async { stop.cancelled().await; tokio::time::sleep(patience).await } => Ok(()),
    }
}
