//! Probes, the version and the metrics.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde::Serialize;

use crate::ops::metrics::CONTENT_TYPE;
use crate::route::{Access, Endpoint, Route, Row};
use crate::service::Service;
use crate::version;

type Handler = fn() -> MethodRouter<Service>;

const PROBE: Route = Route::http(Endpoint::Probe, Access::Open);

/// The probes and the version, which every listener serves.
pub(crate) const PROBES: &[Row<Handler>] = &[
    Row { path: "/livez", route: PROBE, handler: || get(livez) },
    Row { path: "/readyz", route: PROBE, handler: || get(readyz) },
    Row { path: "/health", route: PROBE, handler: || get(readyz) },
    Row { path: "/version", route: PROBE, handler: || get(version) },
];

/// The metrics.
pub(crate) const METRICS: &[Row<Handler>] = &[Row {
    path: "/metrics",
    route: Route::http(Endpoint::Metrics, Access::Open),
    handler: || get(metrics),
}];

/// Metrics in Prometheus' text format.
async fn metrics(State(service): State<Service>) -> Response {
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
