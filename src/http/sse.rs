//! Server-sent events: a stream of events as a body, ended by `data: [DONE]` or by the error that cut it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;
use http_body_util::StreamBody;
use hyper::body::Frame;

use super::error::ErrorBody;
use crate::error::ApiError;

/// Events that are ready together leave in one write, up to this size.
const MAX_WRITE: usize = 16 * 1024;

/// How an endpoint writes its events.
pub trait Render<E>: Send + Unpin + 'static {
    /// Appends what `event` says as zero or more frames (`data: …` and an empty line).
    fn render(&mut self, event: E, frames: &mut Vec<u8>);
}

/// The response that streams `events` as `renderer` writes them.
pub fn response<E, S>(events: S, renderer: impl Render<E>) -> Response
where
    E: 'static,
    S: Stream<Item = Result<E, ApiError>> + Send + Unpin + 'static,
{
    let frames = Frames { events, renderer, is_over: false, _event: std::marker::PhantomData };
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

struct Frames<E, S, R> {
    events: S,
    renderer: R,
    is_over: bool,
    _event: std::marker::PhantomData<fn() -> E>,
}

impl<E, S, R> Stream for Frames<E, S, R>
where
    S: Stream<Item = Result<E, ApiError>> + Unpin,
    R: Render<E>,
{
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut frames = Vec::new();
        while !this.is_over && frames.len() < MAX_WRITE {
            match Pin::new(&mut this.events).poll_next(cx) {
                Poll::Ready(Some(Ok(event))) => this.renderer.render(event, &mut frames),
                Poll::Ready(Some(Err(error))) => {
                    write_json(&mut frames, &ErrorBody::from(&error));
                    this.is_over = true;
                }
                Poll::Ready(None) => {
                    frames.extend_from_slice(b"data: [DONE]\n\n");
                    this.is_over = true;
                }
                Poll::Pending if frames.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready((!frames.is_empty()).then(|| Ok(Frame::data(Bytes::from(frames)))))
    }
}

/// Appends a frame with `value` as its data.
pub fn write_json(frames: &mut Vec<u8>, value: &impl serde::Serialize) {
    frames.extend_from_slice(b"data: ");
    serde_json::to_writer(&mut *frames, value)
        .expect("our own types have string keys, and a Vec takes all bytes");
    frames.extend_from_slice(b"\n\n");
}
