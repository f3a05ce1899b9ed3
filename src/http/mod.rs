//! The OpenAI facade: its table of contents.
//!
//! Handlers take a request apart, ask the [`Service`], and put its answer together; whatever fails is an
//! [`ApiError`](crate::error::ApiError) in the API's shape, unknown paths and methods included.

mod body;
mod chat;
pub mod error;
mod json;
mod models;
mod operations;
mod sse;

#[cfg(any(test, fuzzing))]
pub use chat::read as read_chat_request;

use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};

use crate::error::{ApiError, shown};
use crate::service::record::Record;
use crate::service::{Call, Service};

/// Every route of the HTTP API. `api_metrics` adds `/metrics`, for scrapers that look for it here.
pub fn router(service: Service, api_metrics: bool) -> Router {
    let api = Router::new()
        .route("/v1/chat/completions", post(chat::create_chat_completion))
        .route("/v1/models", get(models::list_models))
        .route("/v1/models/{*model}", get(models::get_model))
        .layer(from_fn(openai_headers));
    let operations = operations::router();
    let operations = if api_metrics { operations.route("/metrics", get(metrics)) } else { operations };
    api.merge(operations)
        .fallback(unknown_url)
        .method_not_allowed_fallback(method_not_supported)
        .with_state(service)
}

/// The operators' routes, which every door has: probes, version.
pub use operations::{metrics, router as operations};

/// No such path.
pub async fn unknown_url(method: Method, uri: Uri) -> ApiError {
    ApiError::UnknownUrl { method: shown(method.as_str()), path: shown(uri.path()) }
}

/// No such method on this path; axum tells the allowed ones in the `allow` header.
pub async fn method_not_supported(method: Method, uri: Uri) -> ApiError {
    ApiError::MethodNotSupported { method: shown(method.as_str()), path: shown(uri.path()) }
}

/// The headers that OpenAI's API puts on its answers.
async fn openai_headers(request: Request, next: Next) -> Response {
    const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");
    const VERSION: HeaderName = HeaderName::from_static("openai-version");

    let record = request.extensions().get::<Record>().cloned();
    let mut response = next.run(request).await;
    let elapsed = record.map(|record| record.started().elapsed()).unwrap_or_default();
    let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    response.headers_mut().insert(PROCESSING_MS, HeaderValue::from(milliseconds));
    response.headers_mut().insert(VERSION, HeaderValue::from_static("2020-10-01"));
    response
}

/// What the layers before a handler know of its request.
impl FromRequestParts<Service> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Service) -> Result<Self, ApiError> {
        Self::of(&parts.extensions)
    }
}
