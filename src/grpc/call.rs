//! What every call has beside its method: the form of its request, and its deadline.
//!
//! tonic takes a GET and a nonsense `grpc-timeout`, enforces no deadline on a stream behind an accept loop of
//! ours, and tells some failures in words without our details. This one layer mends that for every service.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::{Code, Status};

use super::codec;
use crate::error::{ApiError, InvalidRequest, shown};
use crate::ops::lifecycle::{Deadline, Phase};
use crate::route::Endpoint;
use crate::service::{Call, Service};

/// Serves one call within its deadline.
pub(super) async fn serve(State(service): State<Service>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let limit = service.limits().max_body;
    let deadline = match check(&request) {
        Ok(timeout) => timeout.map(|timeout| Instant::now() + timeout),
        Err(error) => return Status::from(error).into_http(),
    };
    let call = match Call::of(request.extensions()) {
        Ok(call) => call,
        Err(error) => return Status::from(error).into_http(),
    };
    let endpoint = call.exchange.route().endpoint;
    let is_reflection = endpoint == Endpoint::Reflection;
    let request = if is_reflection { end_when_draining(request, &service) } else { request };
    let request = request.map(|body| Body::new(body.map_err(told_as_status)));
    // They have no deadline but the client's, and are not asked for a key.
    let is_open_call = is_reflection || endpoint == Endpoint::HealthWatch;
    let place = match is_open_call.then(|| service.open_call()).transpose() {
        Ok(place) => place,
        Err(error) => return Status::from(error).into_http(),
    };
    let response =
        serve_within(deadline, codec::RESERVATION.scope(call.reservation, next.run(request)), &path, limit)
            .await;
    match place {
        None => response,
        Some(place) => response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                // The place goes with the answer.
                let _ = &place;
                frame
            }))
        }),
    }
}

/// Waits for the answer until the deadline, and lets it end there.
async fn serve_within(
    deadline: Option<Instant>,
    serving: impl Future<Output = Response>,
    path: &str,
    limit: u64,
) -> Response {
    let Some(deadline) = deadline else { return retell(serving.await, path, limit) };
    match timeout_at(deadline, serving).await {
        Ok(response) => {
            let mut response = retell(response, path, limit);
            response.extensions_mut().insert(Deadline(deadline));
            response.map(|body| {
                Body::new(Deadlined { body, deadline: Box::pin(sleep_until(deadline)), is_over: false })
            })
        }
        Err(_) => Status::from(ApiError::DeadlineExceeded).into_http(),
    }
}

/// Checks what tonic does not; gives the call's timeout.
fn check(request: &Request) -> Result<Option<Duration>, ApiError> {
    if request.method() != Method::POST {
        let (method, path) = (shown(request.method().as_str()), shown(request.uri().path()));
        return Err(ApiError::MethodNotSupported { method, path });
    }
    for name in ["grpc-encoding", "content-encoding"] {
        if request.headers().get(name).is_some_and(|encoding| encoding != "identity") {
            return Err(ApiError::UnsupportedMediaType(format!("Unsupported {name}")));
        }
    }
    Ok(timeout(request.headers())?)
}

/// The one `grpc-timeout`: up to eight digits and a unit (the gRPC protocol over HTTP/2, "Timeout").
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, InvalidRequest> {
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
    let fault =
        || InvalidRequest::value("grpc-timeout", "Invalid 'grpc-timeout': expected digits and a unit.");
    timeout.map(Some).ok_or_else(fault)
}

/// Tells in our words what tonic tells in its own: unknown methods, too large messages, and messages that are none.
fn retell(response: Response, path: &str, limit: u64) -> Response {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    if !status.details().is_empty() {
        return response;
    }
    let error = match status.code() {
        Code::Unimplemented => ApiError::UnknownUrl { method: "POST".into(), path: shown(path) },
        Code::OutOfRange => ApiError::TooLarge { limit },
        Code::Internal => codec::no_message(status.message()),
        _ => return response,
    };
    Status::from(error).into_http()
}

/// Why a message did not come whole, as tonic passes it on.
fn told_as_status(error: axum::Error) -> axum::BoxError {
    match error.into_inner().downcast::<ApiError>() {
        Ok(refusal) => Status::from(*refusal).into(),
        Err(error) => error,
    }
}

/// Ends a client's open request stream when the server drains, so that its reflection ends with it.
fn end_when_draining(request: Request, service: &Service) -> Request {
    let lifecycle = service.lifecycle().clone();
    let draining = Box::pin(async move { lifecycle.reached(Phase::Draining).await });
    request.map(|body| Body::new(UntilDraining { body, draining }))
}

/// A body that ends early when the server drains.
struct UntilDraining {
    body: Body,
    draining: BoxFuture<'static, ()>,
}

impl hyper::body::Body for UntilDraining {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        self.draining.as_mut().poll(cx).map(|()| None)
    }
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

    /// A failure before the first message is one frame of headers: told otherwise, clients miss its status.
    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }
}

fn trailers(error: ApiError) -> HeaderMap {
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
