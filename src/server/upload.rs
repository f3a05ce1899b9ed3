//! A request's body on its way in: within its size, its time, and the budget of all bodies; and never left half
//! read, or the answer that refused it would be lost with the connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::socket::Requests;
use crate::error::ApiError;
use crate::grpc;
use crate::service::Service;
use crate::service::record::Protocol;
use crate::service::uploads::Upload;

/// How long an upload that nobody wants is read on.
const LINGER: Duration = Duration::from_secs(5);

/// Bounds the request's body. Its part of the budget is put into the extensions, for whoever keeps what is read.
pub fn bounded(request: Request<Incoming>, service: &Service, upload: Upload, end: BodyEnd) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(upload.clone());
    if body.is_end_stream() {
        end.reached();
        return Request::from_parts(parts, Body::new(body));
    }
    let limits = service.limits();
    let mut body = Bounded {
        body: Some(body),
        upload,
        end,
        limit: limits.max_body,
        left: Some(limits.max_body),
        timeout: limits.body_timeout,
        deadline: Some(Instant::now() + limits.body_timeout),
        timer: None,
        is_coming: !parts.headers.contains_key(header::EXPECT),
    };
    if Protocol::of(&parts) == Protocol::Grpc {
        // The message is bounded by tonic, which knows its length beforehand. Reflection asks as long as it likes.
        let is_open_ended = grpc::REFLECTION.iter().any(|name| grpc::is_of(parts.uri.path(), name));
        body.left = (!is_open_ended).then_some(limits.max_body + MESSAGE_HEAD);
        body.deadline = body.deadline.filter(|_| !is_open_ended);
    }
    Request::from_parts(parts, Body::new(body))
}

/// A gRPC message stands behind a flag and its length.
const MESSAGE_HEAD: u64 = 5;

/// Whom to tell that nothing more of a body comes.
#[derive(Clone)]
pub struct BodyEnd {
    /// The connection, whose next bytes are a head.
    pub requests: Arc<Requests>,
    /// The answer, which may end now.
    pub uploaded: CancellationToken,
}

impl BodyEnd {
    fn reached(&self) {
        self.requests.end_body();
        self.uploaded.cancel();
    }
}

struct Bounded {
    body: Option<Incoming>,
    upload: Upload,
    end: BodyEnd,
    /// The largest body, and how much of that is left; `None` for a stream without an end.
    limit: u64,
    left: Option<u64>,
    timeout: Duration,
    deadline: Option<Instant>,
    /// Made when the body first has to be waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the caller sends it: one that waits for `100 Continue` does so once it is asked for.
    is_coming: bool,
}

impl Bounded {
    fn admit(&mut self, data: &Bytes) -> Result<(), ApiError> {
        let Some(left) = &mut self.left else { return Ok(()) };
        *left = left.checked_sub(data.len() as u64).ok_or(ApiError::TooLarge { limit: self.limit })?;
        self.upload.hold(data.len())
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline))).as_mut().poll(cx)
    }
}

impl hyper::body::Body for Bounded {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        this.is_coming = true;
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            ready!(this.poll_deadline(cx));
            // The answer to that does not wait for the rest.
            this.end.reached();
            return Poll::Ready(Some(Err(ApiError::BodyTimeout { limit: this.timeout }.into())));
        };
        if !matches!(frame, Some(Ok(_))) {
            this.body = None;
            this.end.reached();
        }
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            if let Some(data) = frame.data_ref() {
                this.admit(data)?;
            }
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        let end = self.end.clone();
        let has_rest = self.is_coming && self.left.is_some();
        let Some(mut body) = self.body.take().filter(|body| has_rest && !body.is_end_stream()) else {
            return end.reached();
        };
        // Ends by itself: with the body, with the connection, or when the time is up.
        tokio::spawn(async move {
            let rest = async { while let Some(Ok(_)) = body.frame().await {} };
            // What comes later than that is lost on the client, as all of it would have been.
            let _ = tokio::time::timeout(LINGER, rest).await;
            end.reached();
        });
    }
}
