//! What operators and their tools ask, on every door and without a key: probes, version, metrics.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::service::Service;
use crate::service::metrics::CONTENT_TYPE;
use crate::version;

/// The probes and the version.
pub fn router() -> Router<Service> {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/health", get(readyz))
        .route("/version", get(version))
}

/// Metrics in Prometheus' text format.
pub async fn metrics(State(service): State<Service>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], service.metrics().render()).into_response()
}

/// 200 as long as the process can answer.
async fn livez() -> &'static str {
    "ok\n"
}

/// 200 while requests are to be sent here, 503 while starting or draining.
async fn readyz(State(service): State<Service>) -> (StatusCode, &'static str) {
    if service.lifecycle().is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    commit: &'static str,
    rustc: &'static str,
}

/// What is running here.
async fn version() -> impl IntoResponse {
    Json(Version { version: version::VERSION, commit: version::COMMIT, rustc: version::RUSTC })
}
