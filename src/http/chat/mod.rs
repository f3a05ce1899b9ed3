//! `POST /v1/chat/completions`: the handler. What comes in is read in `request`, what goes out is written in
//! `response`.

mod request;
mod response;

pub use request::read;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::body::JsonBody;
use super::sse;
use crate::error::ApiError;
use crate::service::{Call, Service};
use response::{ChatCompletion, ChunkRenderer};

/// Answers a conversation, at once or as a stream of chunks.
pub async fn create_chat_completion(
    State(service): State<Service>,
    call: Call,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (parameters, steering) = read(body.text()?, service.validation())?;
    drop(body);
    let streamed = parameters.stream.enabled;
    let answer = service.generate(&call, parameters, steering)?;
    if streamed {
        let renderer = ChunkRenderer::new(&answer.heading, answer.include_usage);
        return Ok(sse::response(answer, renderer));
    }
    let (heading, completion) = answer.complete().await?;
    Ok(Json(ChatCompletion::new(&heading, completion)).into_response())
}
