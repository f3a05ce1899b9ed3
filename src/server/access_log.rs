//! The outermost layer of every listener: opens a request's exchange and closes it when the last byte of the answer has
//! left or the caller has; asks for the key; and renders every failure in the dialect of the request's route.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::{Body as _, Frame, SizeHint};
use tonic::{Code, Status};
use tracing::error;

use super::cors::Cors;
use super::host;
use super::routing::Routes;
use crate::auth::ApiKeys;
use crate::error::ApiError;
use crate::ops::RequestLog;
use crate::ops::exchange::{AnswerStatus, Exchange, Observer, REQUEST_ID, client_left};
use crate::ops::memory::Reservation;
use crate::route::{Dialect, Protocol};
use crate::service::{Call, Service};
use crate::{grpc, http};

const APPLIED: HeaderName = HeaderName::from_static("x-mock-applied");

/// What answers the requests of a listener; clones are the same.
#[derive(Clone)]
pub(super) struct AccessLog(Arc<Inner>);

struct Inner {
    routes: Routes,
    keys: ApiKeys,
    cors: Cors,
    service: Service,
    observers: Vec<Box<dyn Observer>>,
}

impl AccessLog {
    /// Answers by `routes`, to callers with one of `keys` and pages that `cors` allows.
    pub(super) fn new(routes: Routes, keys: ApiKeys, cors: Cors, service: Service) -> Self {
        let observers: Vec<Box<dyn Observer>> =
            vec![Box::new(RequestLog), Box::new(service.metrics().clone())];
        Self(Arc::new(Inner { routes, keys, cors, service, observers }))
    }

    /// Opens the exchange of the request with this head, which everything after it reads.
    pub(super) fn open(&self, head: &Parts) -> Exchange {
        Exchange::open(self.0.routes.classify(head), head)
    }

    /// Answers the request of `exchange`, whose body and answer `reservation` holds, and closes it.
    pub(super) async fn answer(
        &self,
        exchange: Exchange,
        reservation: Reservation,
        request: Request<Body>,
    ) -> Response<LoggedBody> {
        let route = exchange.route();
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut closing =
            Closing { exchange: exchange.clone(), log: self.clone(), status: None, has_ended: false };
        // A defect in one request ends that request alone.
        let serving = AssertUnwindSafe(self.serve(&exchange, reservation, request)).catch_unwind();
        let response = tokio::select! {
            biased;
            served = serving => served.unwrap_or_else(|panic| panicked(&exchange, &*panic).into_response()),
            // Open streams hear of it in their answer; this is for what has not been answered yet.
            () = self.0.service.lifecycle().ending() => ApiError::Draining.into_response(),
        };
        let mut response = rendered(&exchange, response);
        closing.note_head(&response);
        // A body that is empty, or not sent because the method is HEAD, is never polled.
        closing.has_ended = response.body().is_end_stream() || exchange.method() == Method::HEAD;
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, exchange.request_id().clone());
        if let Some(applied) = exchange.applied() {
            headers.insert(APPLIED, applied);
        }
        match route.protocol {
            Protocol::Http => self.0.cors.add_headers(origin.as_ref(), headers),
            Protocol::Grpc => grpc::add_headers(headers),
        }
        if route.dialect == Dialect::OpenAi && route.endpoint.is_api() {
            http::add_openai_headers(headers, exchange.started().elapsed());
        }
        response.map(|body| LoggedBody { body, closing })
    }

    async fn serve(
        &self,
        exchange: &Exchange,
        reservation: Reservation,
        request: Request<Body>,
    ) -> Response<Body> {
        let route = exchange.route();
        let (mut head, body) = request.into_parts();
        if let Err(invalid) = host::check(&head) {
            return ApiError::from(invalid).into_response();
        }
        // Before the key check: browsers send preflights without one.
        if let Some(response) = self.0.cors.preflight(&head) {
            return response;
        }
        let caller = match self.0.keys.admit(route.access, &head.headers) {
            Ok(caller) => caller,
            Err(error) => {
                let reason = if matches!(error, ApiError::MissingKey) { "missing" } else { "wrong" };
                self.0.service.metrics().auth_failure(reason);
                return error.into_response();
            }
        };
        exchange.note_caller(caller.0);
        if let Err(error) = refuse_other_grpc(route.protocol, &head.headers) {
            return error.into_response();
        }
        let call = Call::new(exchange.clone(), reservation, &head.headers);
        head.extensions.insert(call);
        self.0.routes.dispatch(route.protocol, Request::from_parts(head, body)).await
    }
}

/// Refuses the kinds of gRPC that are not served, such as gRPC-Web, in HTTP's own terms.
fn refuse_other_grpc(protocol: Protocol, headers: &HeaderMap) -> Result<(), ApiError> {
    let is_kind_of_grpc = |value: &HeaderValue| {
        let start = value.as_bytes().get(..GRPC.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(GRPC)) && !grpc::is_grpc(value.as_bytes())
    };
    if protocol == Protocol::Http && headers.get(header::CONTENT_TYPE).is_some_and(is_kind_of_grpc) {
        let message =
            "Unsupported content type: gRPC is application/grpc or application/grpc+proto, over HTTP/2";
        return Err(ApiError::UnsupportedMediaType(message.into()));
    }
    Ok(())
}

const GRPC: &[u8] = b"application/grpc";

/// The response, or where a failure was left in it that failure in the route's dialect.
fn rendered(exchange: &Exchange, mut response: Response<Body>) -> Response<Body> {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else { return response };
    exchange.note_error(&error);
    let rendered = match exchange.route().dialect {
        Dialect::OpenAi => {
            let mut rendered = http::error::response(&error);
            // Set by the router, which knows the allowed methods.
            if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
                rendered.headers_mut().insert(header::ALLOW, allow);
            }
            rendered
        }
        Dialect::Grpc => grpc::status::response(error),
    };
    if exchange.method() == Method::HEAD { without_body(rendered) } else { rendered }
}

/// The answer to a HEAD request. axum empties its own; on HTTP/2 hyper sends what is left, which is a protocol error.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(head, Body::empty())
}

/// A panic that was caught around a call.
fn panicked(exchange: &Exchange, panic: &(dyn std::any::Any + Send)) -> ApiError {
    let reason = panic.downcast_ref::<String>().map(String::as_str);
    let reason = reason.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
    error!(
        request_id = exchange.id(),
        reason,
        "{} {} panicked: this is a defect of the server or its engine",
        exchange.method(),
        exchange.path()
    );
    ApiError::Internal
}

/// Closes the exchange when it is dropped.
struct Closing {
    exchange: Exchange,
    log: AccessLog,
    /// `None` until there is one: the caller may leave before.
    status: Option<AnswerStatus>,
    has_ended: bool,
}

impl Closing {
    fn note_head(&mut self, response: &Response<Body>) {
        // tonic leaves the status of a failure there, and ours carries its error as the source.
        let status = response.extensions().get::<Status>().and_then(std::error::Error::source);
        if let Some(error) = status.and_then(|source| source.downcast_ref()) {
            self.exchange.note_error(error);
        }
        self.status = match self.exchange.route().protocol {
            Protocol::Http => Some(AnswerStatus::Http(response.status())),
            Protocol::Grpc => {
                Status::from_header_map(response.headers()).map(|status| grpc_status(status.code()))
            }
        };
    }

    fn note_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(trailers) {
            self.status = Some(grpc_status(status.code()));
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let status = self.status.unwrap_or_else(|| match self.exchange.route().protocol {
            Protocol::Http => AnswerStatus::Http(client_left()),
            Protocol::Grpc => grpc_status(Code::Cancelled),
        });
        self.exchange.close(status, !self.has_ended, &self.log.0.observers);
    }
}

fn grpc_status(code: Code) -> AnswerStatus {
    let (code, status) = grpc::status::facts_of(code);
    AnswerStatus::Grpc { code, status }
}

/// A response body that notes how it ended. Dropping it drops the body first, whose own last notes are then in the
/// exchange when it is closed.
pub(super) struct LoggedBody {
    body: Body,
    closing: Closing,
}

impl LoggedBody {
    /// Notes that its client read nothing for longer than the server waits.
    pub(super) fn note_stalled(&self) {
        self.closing.exchange.note_stalled();
    }
}

impl hyper::body::Body for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.closing.note_trailers(trailers);
        }
        // A body whose length is known is not polled again after its last byte.
        self.closing.has_ended = frame.is_none() || self.body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
