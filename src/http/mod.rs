//! The OpenAI facade: its table of contents.
//!
//! Handlers take a request apart, ask the [`Service`], and put its answer together; whatever fails is an
//! [`ApiError`] in the API's shape, unknown paths and methods included.

mod body;
pub(crate) mod error;
mod index;
mod openai;
mod sse;

use std::time::Duration;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::routing::{MethodRouter, get, post};

use crate::error::{ApiError, shown};
use crate::route::{Access, Endpoint, Route, Row};
use crate::service::{Call, Service};

/// What makes a route's handlers, a method each.
pub(crate) type Handler = fn() -> MethodRouter<Service>;

/// Every route of the OpenAI API, and the index.
pub(crate) const ROUTES: &[Row<Handler>] = &[
    Row { path: "/", route: INDEX, handler: || get(index::index) },
    Row { path: "/v1/chat/completions", route: CHAT, handler: || post(openai::chat::create) },
    Row { path: "/v1/models", route: MODELS, handler: || get(openai::models::list) },
    Row { path: "/v1/models/{*model}", route: MODELS, handler: || get(openai::models::get) },
];

// Logged and counted as a probe: browsers and balancers ask for it, and it answers no API request.
const INDEX: Route = Route::http(Endpoint::Probe, Access::Open);
const CHAT: Route = Route::http(Endpoint::ChatCompletions, Access::Key);
const MODELS: Route = Route::http(Endpoint::Models, Access::Key);

/// What answers `rows`, and every other path and method with the API's error.
pub(crate) fn router<'a>(rows: impl IntoIterator<Item = &'a Row<Handler>>, service: Service) -> Router {
    rows.into_iter()
        .fold(Router::new(), |router, row| router.route(row.path, (row.handler)()))
        .fallback(unknown_url)
        .method_not_allowed_fallback(method_not_supported)
        .with_state(service)
}

/// No such path.
async fn unknown_url(method: Method, uri: Uri) -> ApiError {
    ApiError::UnknownUrl { method: shown(method.as_str()), path: shown(uri.path()) }
}

/// No such method on this path; axum lists the allowed ones in the `allow` header.
async fn method_not_supported(method: Method, uri: Uri) -> ApiError {
    ApiError::MethodNotSupported { method: shown(method.as_str()), path: shown(uri.path()) }
}

/// Adds the headers that the OpenAI API puts on its answers; `elapsed` is the time since the request arrived.
pub(crate) fn add_openai_headers(headers: &mut HeaderMap, elapsed: Duration) {
    const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");
    const VERSION: HeaderName = HeaderName::from_static("openai-version");

    let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    headers.insert(PROCESSING_MS, HeaderValue::from(milliseconds));
    headers.insert(VERSION, HeaderValue::from_static("2020-10-01"));
}

/// What the layers before a handler know of its request.
impl FromRequestParts<Service> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Service) -> Result<Self, ApiError> {
        Self::of(&parts.extensions)
    }
}
