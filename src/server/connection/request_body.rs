//! A request's body as it arrives: bounded in size and time and by the memory budget; and never left half read, or
//! the answer that refused it would be lost with the connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::http::request::Parts;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::ops::lifecycle::Phase;
use crate::ops::memory::Reservation;
use crate::route::{Endpoint, Protocol, Route};
use crate::service::Service;

/// How long a body that is not wanted is read on, so that the answer to it arrives.
const LINGER: Duration = Duration::from_secs(5);
/// The same while the server closes, which waits for it.
const LINGER_CLOSING: Duration = Duration::from_millis(500);

/// What bounds a body, and what is notified of its end.
pub(super) struct Bounds<'a> {
    /// The request's row of the route table.
    pub route: Route,
    /// Its limits, and its phase.
    pub service: &'a Service,
    /// What the body holds of the memory budget.
    pub reservation: Reservation,
    /// Notified of its end.
    pub received: Received,
}

/// Bounds the body of the request with this head.
pub(super) fn bounded(head: &Parts, body: Incoming, bounds: Bounds<'_>) -> Body {
    let Bounds { route, service, reservation, received } = bounds;
    if body.is_end_stream() {
        received.notify();
        return Body::new(body);
    }
    let limit = service.limits().max_body_of(route);
    let is_grpc = route.protocol == Protocol::Grpc;
    // A reflection stream may stay open as long as its client likes, but not ask as much.
    let is_open_ended = route.endpoint == Endpoint::Reflection;
    // The message itself is bounded by tonic, which knows its length beforehand.
    let message_head = if is_grpc { MESSAGE_HEAD } else { 0 };
    let waits =
        head.headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(CONTINUE));
    Body::new(Bounded {
        body: Some(body),
        reservation: (!route.is_question()).then_some(reservation),
        received,
        limit,
        left: limit + message_head,
        is_open_ended,
        deadline: Instant::now() + service.limits().body_timeout,
        service: service.clone(),
        cut: None,
        is_coming: !waits,
    })
}

/// What a client waits for before it sends a body (RFC 9110, 10.1.1).
const CONTINUE: &[u8] = b"100-continue";

/// A gRPC message stands behind a flag and its length.
const MESSAGE_HEAD: u64 = 5;

/// What is notified when a body is complete, or no longer wanted.
#[derive(Clone)]
pub(super) enum Received {
    /// An HTTP/1 connection, whose next bytes are a head.
    Connection(Arc<dyn ReadsBody>),
    /// An HTTP/2 answer, which may end now.
    Answer(CancellationToken),
}

/// A connection that reads one body at a time.
pub(super) trait ReadsBody: Send + Sync {
    /// The body is complete.
    fn body_received(&self);
}

impl Received {
    fn notify(&self) {
        match self {
            Self::Connection(connection) => connection.body_received(),
            Self::Answer(answer) => answer.cancel(),
        }
    }
}

struct Bounded {
    body: Option<Incoming>,
    /// Its part of the memory budget; `None` where it takes none.
    reservation: Option<Reservation>,
    received: Received,
    /// The largest body, as the error reports it, and how much of that is left.
    limit: u64,
    left: u64,
    /// A stream of questions without a deadline.
    is_open_ended: bool,
    deadline: Instant,
    service: Service,
    /// The wait for the reason to stop; made when the body first has to be waited for.
    cut: Option<BoxFuture<'static, ApiError>>,
    /// Whether the client sends it: one that waits for `100 Continue` does so once the body is polled.
    is_coming: bool,
}

impl Bounded {
    fn admit(&mut self, data: &Bytes) -> Result<(), ApiError> {
        self.left =
            self.left.checked_sub(data.len() as u64).ok_or(ApiError::TooLarge { limit: self.limit })?;
        self.reservation.as_ref().map_or(Ok(()), |reservation| reservation.hold(data.len()))
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<ApiError> {
        if self.is_open_ended {
            return Poll::Pending;
        }
        let (deadline, service) = (self.deadline, &self.service);
        self.cut.get_or_insert_with(|| cut(deadline, service.clone()).boxed()).poll_unpin(cx)
    }
}

/// Waits for a reason to stop reading: the body has had its time, or the server takes no more requests.
async fn cut(deadline: Instant, service: Service) -> ApiError {
    tokio::select! {
        () = sleep_until(deadline) => ApiError::BodyTimeout { limit: service.limits().body_timeout },
        () = service.lifecycle().reached(Phase::Closing) => ApiError::Draining,
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
            let why = ready!(this.poll_cut(cx));
            // The answer to that does not wait for the rest.
            this.received.notify();
            return Poll::Ready(Some(Err(why.into())));
        };
        if !matches!(frame, Some(Ok(_))) {
            this.body = None;
            this.received.notify();
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
        let received = self.received.clone();
        let has_rest = self.is_coming && !self.is_open_ended;
        let Some(mut body) = self.body.take().filter(|body| has_rest && !body.is_end_stream()) else {
            return received.notify();
        };
        let lifecycle = self.service.lifecycle().clone();
        // Ends by itself: with the body, with the connection, or when the time is up.
        tokio::spawn(async move {
            let rest = async { while let Some(Ok(_)) = body.frame().await {} };
            let closing = async {
                lifecycle.reached(Phase::Closing).await;
                sleep(LINGER_CLOSING).await;
            };
            // What comes later than that is lost on the client, as all of it would have been.
            tokio::select! {
                () = rest => {}
                () = sleep(LINGER) => {}
                () = closing => {}
            }
            received.notify();
        });
    }
}
