//! `POST /v1/chat/completions`: the handler. What comes in is read in `request`, what goes out is written in
//! `response`.

mod request;
mod response;

pub use request::read;

use axum::extract::State;
use axum::response::Response;

use super::body::{JsonBody, held_json};
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
    let admit = move |service: &Service, call: &Call| {
        let (parameters, steering) = read(body.text()?, service.validation())?;
        drop(body);
        let streamed = parameters.stream.enabled;
        Ok((service.generate(call, parameters, steering)?, streamed))
    };
    let (answer, streamed) = service.admit(&call, admit).await?;
    if streamed {
        let renderer = ChunkRenderer::new(&answer.heading, answer.include_usage);
        return Ok(sse::response(answer, renderer));
    }
    let (heading, completion) = answer.complete().await?;
    let render = move |_: &Service, call: &Call| {
        let said = completion.choices.iter().map(|choice| choice.text.len()).sum();
        held_json(&ChatCompletion::new(&heading, completion), said, &call.upload)
    };
    service.compute(&call, render).await
}
