//! Server-sent events: a stream of events as a body.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::StreamBody;
use hyper::body::Frame;

use crate::service::{Answer, Output, Render, Rendered};

/// Events that are ready together leave in one write, up to this size.
pub(super) const MAX_WRITE: usize = 16 * 1024;

impl Output for Vec<u8> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn is_full(&self) -> bool {
        self.len() >= MAX_WRITE
    }
}

/// The response that streams `answer` as `renderer` writes it: each event as zero or more frames, `data: …` and an
/// empty line.
pub(super) fn response(answer: Answer, renderer: impl Render<Output = Vec<u8>>) -> Response {
    let frames = Rendered::new(answer, renderer);
    let frames = frames.map(|mut frames| {
        // What waits for its client is not to keep the room that was meant for more.
        if frames.capacity() / 2 > frames.len() {
            frames.shrink_to_fit();
        }
        Ok::<_, Infallible>(Frame::data(Bytes::from(frames)))
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Appends a frame with `value` as its data.
pub(super) fn write_json(frames: &mut Vec<u8>, value: &impl serde::Serialize) {
    frames.extend_from_slice(b"data: ");
    serde_json::to_writer(&mut *frames, value)
        .expect("our own types have string keys, and a Vec takes all bytes");
    frames.extend_from_slice(b"\n\n");
}
