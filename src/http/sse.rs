//! Server-sent events: a stream of events as a body.

use std::convert::Infallible;
use std::io;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

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
pub(super) fn write_json(frames: &mut Vec<u8>, value: &impl Serialize) {
    frames.extend_from_slice(b"data: ");
    write_value(frames, value);
    frames.extend_from_slice(b"\n\n");
}

/// Appends `value` as JSON that is one line to every client.
#[inline]
pub(super) fn write_value(frames: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    value
        .serialize(&mut Serializer::with_formatter(frames, OneLine))
        .expect("strings, numbers and our own types are JSON, and a Vec takes all bytes");
}

/// Appends `text` as a JSON string that is one line to every client.
#[inline]
pub(super) fn write_text(frames: &mut Vec<u8>, text: &str) {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
    if is_plain {
        frames.push(b'"');
        frames.extend_from_slice(text.as_bytes());
        frames.push(b'"');
    } else {
        write_value(frames, text);
    }
}

/// Compact JSON without the line ends of Unicode: clients that split lines as Unicode does would cut an event in two.
struct OneLine;

impl Formatter for OneLine {
    #[inline]
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        if text.is_ascii() {
            writer.write_all(text.as_bytes())
        } else {
            write_without_line_ends(writer, text)
        }
    }
}

fn write_without_line_ends<W: io::Write + ?Sized>(writer: &mut W, mut text: &str) -> io::Result<()> {
    const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];
    while let Some((at, end)) = text.char_indices().find(|(_, c)| LINE_ENDS.contains(c)) {
        writer.write_all(&text.as_bytes()[..at])?;
        write!(writer, "\\u{:04x}", u32::from(end))?;
        text = &text[at + end.len_utf8()..];
    }
    writer.write_all(text.as_bytes())
}
