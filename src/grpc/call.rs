//! What every call has beside its method: a well-formed request, a deadline, and errors with our details.
//!
//! tonic takes a GET, and reports some failures without details; this one layer mends that for every service.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{codec, deadline};
use crate::error::{ApiError, shown};
use crate::ops::lifecycle::Phase;
use crate::route::Endpoint;
use crate::service::{Call, Service};

/// Serves one call.
pub(super) async fn serve(State(service): State<Service>, request: Request, next: Next) -> Response {
    // Whatever fails here is left to the access log, which renders it as a status.
    let served = serve_checked(&service, request, next).await;
    served.unwrap_or_else(IntoResponse::into_response)
}

/// The encodings of messages that calls may name, separated by commas; answers are always `identity`.
pub(super) const ENCODINGS: &str = "identity,gzip";

async fn serve_checked(service: &Service, request: Request, next: Next) -> Result<Response, ApiError> {
    check(&request)?;
    let timeout = deadline::timeout(request.headers())?;
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let call = Call::of(request.extensions())?;
    let path = request.uri().path().to_owned();
    let endpoint = call.exchange.route().endpoint;
    let request = request.map(|body| Body::new(body.map_err(refusal_as_status)));
    let request = match endpoint {
        Endpoint::Reflection => end_when_draining(request, service),
        _ => request,
    };
    // These need no key, and have no deadline but the client's.
    let is_open_call = matches!(endpoint, Endpoint::Reflection | Endpoint::HealthWatch);
    let slot = is_open_call.then(|| service.open_call()).transpose()?;
    let route = call.exchange.route();
    let limit = service.limits().max_body_of(route);
    let reservation = (!route.is_question()).then_some(call.reservation);
    let serving = async {
        let response = codec::RESERVATION.scope(reservation, next.run(request)).await;
        with_our_error(response, &path, limit)
    };
    let response = deadline::within(deadline, serving).await;
    let Some(slot) = slot else { return Ok(response) };
    Ok(response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            // The slot goes with the answer.
            let _ = &slot;
            with_our_trailers(frame, limit)
        }))
    }))
}

/// Refuses what tonic would take.
fn check(request: &Request) -> Result<(), ApiError> {
    if request.method() != Method::POST {
        let (method, path) = (shown(request.method().as_str()), shown(request.uri().path()));
        return Err(ApiError::MethodNotSupported { method, path });
    }
    check_encoding(request.headers(), "grpc-encoding", ENCODINGS)?;
    check_encoding(request.headers(), "content-encoding", "identity")
}

fn check_encoding(headers: &HeaderMap, name: &str, known: &str) -> Result<(), ApiError> {
    let is_unknown =
        |encoding: &&HeaderValue| !known.split(',').any(|known| encoding.as_bytes() == known.as_bytes());
    let Some(unknown) = headers.get_all(name).iter().find(is_unknown) else { return Ok(()) };
    let unknown = String::from_utf8_lossy(unknown.as_bytes());
    let message =
        format!("Unsupported '{name}': '{}'. Supported: {}.", shown(&unknown), known.replace(',', ", "));
    Err(ApiError::UnsupportedMediaType(message))
}

/// Puts our error in the place of tonic's own: for unknown methods, and for bytes that are too large or not a message.
/// tonic
/// reports a caller's malformed bytes as internal too, and only the start of the message distinguishes them from a defect.
fn with_our_error(response: Response, path: &str, limit: u64) -> Response {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    let error = match status.code() {
        Code::Unimplemented if status.details().is_empty() => {
            Some(ApiError::UnknownUrl { method: "POST".into(), path: shown(path) })
        }
        _ => error_about_bytes(&status, limit),
    };
    error.map_or(response, IntoResponse::into_response)
}

/// The same for a stream, whose status comes in its trailers.
fn with_our_trailers(frame: Frame<Bytes>, limit: u64) -> Frame<Bytes> {
    let status = frame.trailers_ref().and_then(Status::from_header_map);
    match status.and_then(|status| error_about_bytes(&status, limit)) {
        Some(error) => Frame::trailers(deadline::trailers(error)),
        None => frame,
    }
}

fn error_about_bytes(status: &Status, limit: u64) -> Option<ApiError> {
    if !status.details().is_empty() {
        return None;
    }
    Some(match status.code() {
        // tonic's OutOfRange is the size on the wire, its ResourceExhausted the inflated size.
        Code::OutOfRange | Code::ResourceExhausted => ApiError::TooLarge { limit },
        Code::Internal if status.message().starts_with(UNNAMED_ENCODING) => ApiError::UnnamedEncoding,
        Code::Internal if NOT_A_MESSAGE.iter().any(|start| status.message().starts_with(start)) => {
            codec::not_a_message(status.message())
        }
        Code::Internal => ApiError::Internal,
        _ => return None,
    })
}

/// How tonic's errors about a caller's bytes begin. Test: `a_message_that_is_not_well_formed_is_the_callers_error`.
const UNNAMED_ENCODING: &str = "protocol error: received message with compressed-flag but no grpc-encoding";
const NOT_A_MESSAGE: [&str; 5] = [
    "failed to decode Protobuf message",
    "Missing request message",
    "Unexpected EOF decoding stream",
    "Error decompressing",
    "protocol error: received message with invalid compression flag",
];

/// Why a message did not arrive whole, as tonic passes it on.
fn refusal_as_status(error: axum::Error) -> axum::BoxError {
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
