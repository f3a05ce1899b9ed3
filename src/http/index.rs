//! `GET /`: what this server is, what it serves, and where its documentation is.

use axum::Json;
use serde::Serialize;

use super::ROUTES;
use crate::admin;
use crate::pb;

/// The answer to a browser that opens the server's address.
#[derive(Serialize)]
pub(crate) struct Index {
    name: &'static str,
    version: &'static str,
    documentation: &'static str,
    openai_api: Vec<&'static str>,
    grpc_services: &'static [&'static str],
    probes: Vec<&'static str>,
}

/// The index. It needs no key, and is the same for every configuration.
pub(super) async fn index() -> Json<Index> {
    Json(contents())
}

fn contents() -> Index {
    Index {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        documentation: concat!("https://docs.rs/tokenecho/", env!("CARGO_PKG_VERSION")),
        openai_api: ROUTES.iter().filter(|row| row.route.endpoint.is_api()).map(|row| row.path).collect(),
        grpc_services: &pb::SERVICES,
        probes: admin::PROBES.iter().map(|row| row.path).collect(),
    }
}
