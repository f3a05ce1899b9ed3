//! `POST /v1/chat/completions`: the handler. `response` writes what goes out.

mod response;

use axum::extract::State;
use axum::response::Response;

use crate::api::chat::{ChatHead, ChatRequest};
use crate::error::ApiError;
use crate::http::body::{JsonBody, json};
use crate::http::sse;
use crate::service::{Call, Service};
use response::{ChatCompletion, ChunkRenderer};

/// Answers a conversation, at once or as a stream of chunks.
pub(crate) async fn create(
    State(service): State<Service>,
    call: Call,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let request: ChatRequest = body.read(&service, &call).await?;
    let delivery = request.delivery();
    let answer = service.generate(&call, request).await?;
    let (streamed, include_usage) = (delivery.streamed, delivery.include_usage);
    let head = ChatHead::new(answer.head().clone(), delivery);
    if streamed {
        return Ok(sse::response(answer, ChunkRenderer::new(head, include_usage)));
    }
    let completion = answer.complete().await?;
    let text = completion.text_bytes();
    json(&service, &call, text, ChatCompletion::new(head, completion)).await
}
