//! `GET /`: what this server is, what it serves, and where its documentation is.

use axum::Json;
use serde::Serialize;

use super::ROUTES;
use crate::admin;
use crate::pb;

/// What a person finds who opens the server's address in a browser.
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
    let paths = |rows: &'static [crate::route::Row<super::Handler>]| rows.iter().map(|row| row.path);
    Json(Index {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        documentation: concat!("https://docs.rs/tokenecho/", env!("CARGO_PKG_VERSION")),
        openai_api: paths(ROUTES).filter(|path| path.starts_with("/v1/")).collect(),
        grpc_services: &pb::SERVICES,
        probes: paths(admin::PROBES).collect(),
    })
}
