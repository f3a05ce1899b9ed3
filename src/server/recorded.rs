//! The outermost layer: opens a request's record, closes it when the last byte or the caller has gone.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Request, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::{Body as _, Frame, SizeHint};
use tonic::{Code, Status};
use tower::Service as TowerService;

use crate::error::ApiError;
use crate::service::Service;
use crate::service::record::{Endpoint, Protocol, Record};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const APPLIED: HeaderName = HeaderName::from_static("x-mock-applied");

/// What a path is for.
type EndpointOf = Arc<dyn Fn(Protocol, &str) -> Endpoint + Send + Sync>;

/// A service whose every request is recorded.
#[derive(Clone)]
pub struct Recorded<S> {
    inner: S,
    service: Service,
    endpoint_of: EndpointOf,
}

impl<S> Recorded<S> {
    /// Records what `inner` answers.
    pub fn new(
        inner: S,
        service: Service,
        endpoint_of: impl Fn(Protocol, &str) -> Endpoint + Send + Sync + 'static,
    ) -> Self {
        Self { inner, service, endpoint_of: Arc::new(endpoint_of) }
    }
}

impl<S> TowerService<Request<Body>> for Recorded<S>
where
    S: TowerService<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let protocol = Protocol::of(&parts);
        let endpoint = (self.endpoint_of)(protocol, parts.uri.path());
        let record = Record::open(protocol, endpoint, &parts.headers);
        parts.extensions.insert(record.clone());
        let request = Request::from_parts(parts, body);
        let mut closing = Closing { record, service: self.service.clone(), status: None, has_ended: false };
        let answering = self.inner.call(request);
        Box::pin(async move {
            let mut response = answering.await?;
            closing.note_head(&response);
            // A body that is empty is never asked for.
            closing.has_ended = response.body().is_end_stream();
            let headers = response.headers_mut();
            headers.insert(REQUEST_ID, closing.record.request_id().clone());
            if let Some(applied) = closing.record.applied() {
                headers.insert(APPLIED, applied);
            }
            Ok(response.map(|body| Body::new(RecordedBody { body, closing })))
        })
    }
}

/// Closes the record when it is dropped.
struct Closing {
    record: Record,
    service: Service,
    status: Option<AnswerStatus>,
    has_ended: bool,
}

#[derive(Clone, Copy)]
enum AnswerStatus {
    Http(u16),
    Grpc(Code),
}

impl Closing {
    fn note_head(&mut self, response: &Response<Body>) {
        let extensions = response.extensions();
        let told = extensions.get::<Status>().and_then(std::error::Error::source);
        let error = extensions.get::<ApiError>().or_else(|| told.and_then(|source| source.downcast_ref()));
        if let Some(error) = error {
            self.record.note_error(error);
        }
        self.status = match self.record.protocol() {
            Protocol::Http => Some(AnswerStatus::Http(response.status().as_u16())),
            Protocol::Grpc => {
                Status::from_header_map(response.headers()).map(|told| AnswerStatus::Grpc(told.code()))
            }
        };
    }

    fn note_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(trailers) {
            self.status = Some(AnswerStatus::Grpc(status.code()));
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let status = match (self.status, self.record.protocol()) {
            (Some(AnswerStatus::Http(status)), _) => status.to_string(),
            (Some(AnswerStatus::Grpc(code)), _) => format!("{code:?}"),
            // The caller left before there was one.
            (None, Protocol::Http) => "499".into(),
            (None, Protocol::Grpc) => format!("{:?}", Code::Cancelled),
        };
        self.service.metrics().request(self.record.protocol(), self.record.endpoint(), &status);
        self.record.log(&status, !self.has_ended);
    }
}

/// A response body that tells the record how it ended. Dropping it drops the body first, whose own last notes
/// then are in the record when it is closed.
struct RecordedBody {
    body: Body,
    closing: Closing,
}

impl hyper::body::Body for RecordedBody {
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
        // A body whose length is known is not asked again after its last byte.
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
