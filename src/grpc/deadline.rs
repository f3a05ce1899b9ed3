//! The deadline of a call. tonic enforces none on a stream behind an accept loop of ours, so unary and streaming calls
//! are both ended here.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::Status;

use crate::error::{ApiError, InvalidRequest};
use crate::ops::lifecycle::Deadline;

/// The one `grpc-timeout`: up to eight digits and a unit (the gRPC protocol over HTTP/2, "Timeout").
///
/// # Errors
/// A malformed value, or more than one.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, InvalidRequest> {
    let parse = |value: &HeaderValue| {
        let (digits, unit) = value.to_str().ok()?.split_at_checked(value.len().checked_sub(1)?)?;
        if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let number: u64 = digits.parse().ok()?;
        Some(match unit {
            "H" => Duration::from_secs(number * 3600),
            "M" => Duration::from_secs(number * 60),
            "S" => Duration::from_secs(number),
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => return None,
        })
    };
    let mut values = headers.get_all("grpc-timeout").iter();
    let timeout = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => parse(value),
        (Some(_), Some(_)) => None,
    };
    let invalid =
        || InvalidRequest::value("grpc-timeout", "Invalid 'grpc-timeout': expected digits and a unit.");
    timeout.map(Some).ok_or_else(invalid)
}

/// Waits for the answer until the deadline, if there is one, and ends its body there.
pub(super) async fn within(deadline: Option<Instant>, serving: impl Future<Output = Response>) -> Response {
    let Some(deadline) = deadline else { return serving.await };
    let Ok(mut response) = timeout_at(deadline, serving).await else {
        return ApiError::DeadlineExceeded.into_response();
    };
    response.extensions_mut().insert(Deadline(deadline));
    response
        .map(|body| Body::new(Deadlined { body, deadline: Box::pin(sleep_until(deadline)), is_over: false }))
}

/// A body that ends with DEADLINE_EXCEEDED once its call's deadline has passed.
struct Deadlined {
    body: Body,
    deadline: Pin<Box<Sleep>>,
    is_over: bool,
}

impl hyper::body::Body for Deadlined {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if self.deadline.as_mut().poll(cx).is_pending() {
            return Pin::new(&mut self.body).poll_frame(cx);
        }
        // The stream goes now, not when the client has read its end.
        self.body = Body::empty();
        self.is_over = true;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(ApiError::DeadlineExceeded)))))
    }

    /// A failure before the first message is one frame of headers: reported as anything else, clients miss its status.
    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }
}

/// A failure as the trailers of a stream.
pub(super) fn trailers(error: ApiError) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Our own messages and details are well-formed header values: tonic encodes both.
    let _ = Status::from(error).add_header(&mut trailers);
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_up_to_eight_digits_and_a_unit() {
        let parse = |text| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_static(text));
            timeout(&headers).ok().flatten()
        };

        assert_eq!(parse("1S"), Some(Duration::from_secs(1)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        let mut twice = HeaderMap::new();
        twice.append("grpc-timeout", HeaderValue::from_static("1S"));
        twice.append("grpc-timeout", HeaderValue::from_static("1S"));
        assert!(timeout(&twice).is_err());
        for nonsense in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", " 1S"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }
}
