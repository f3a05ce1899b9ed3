//! A response body as it leaves: watched for a client that reads nothing, in frames that a client can take one at a
//! time, and on HTTP/2 never ended before the request's body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::stall::StallWatch;
use crate::ops::memory::Reservation;
use crate::server::access_log::LoggedBody;

/// The largest frame: what h2 is given while the client reads nothing stays there, so it is given as much as fits into
/// one of its own frames.
const MAX_FRAME: usize = 16 * 1024;

/// A body that reports to its [`StallWatch`]. The request is open (`O`), and its memory reserved, until it is dropped.
pub(super) struct ResponseBody<O> {
    body: LoggedBody,
    /// What is left of a frame that was too large.
    rest: Bytes,
    stall: Arc<StallWatch>,
    is_http2: bool,
    /// Until the request's body has been received, on HTTP/2.
    received: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _held: (O, Reservation),
}

impl<O> ResponseBody<O> {
    /// The body of an HTTP/1 answer.
    pub(super) fn http1(body: LoggedBody, stall: Arc<StallWatch>, held: (O, Reservation)) -> Self {
        Self { body, rest: Bytes::new(), stall, is_http2: false, received: None, _held: held }
    }

    /// The body of an HTTP/2 answer to a request that has been received once the token is cancelled.
    ///
    /// An answer that ends before its request resets the stream, and some clients lose the answer with it
    /// (hyper#2872). Test: `a_refusal_during_an_upload_over_http2_lets_the_client_come_to_its_end`.
    pub(super) fn http2(
        body: LoggedBody,
        stall: Arc<StallWatch>,
        received: CancellationToken,
        held: (O, Reservation),
    ) -> Self {
        // An empty answer is one frame, its head, and ends with it: gRPC clients miss the status otherwise.
        let waits = !received.is_cancelled() && !body.is_end_stream();
        let received = waits.then(|| Box::pin(received.cancelled_owned()));
        Self { body, rest: Bytes::new(), stall, is_http2: true, received, _held: held }
    }

    /// The first part of `data`, as much as is given at once.
    ///
    /// hyper gives a frame to h2 whole as soon as there is room for any of it (h2#821), and polls for the next before
    /// it waits for room. So on HTTP/2 the last byte goes alone: a client that does not take what is before it never
    /// gets that far, and is found out. Test: `a_reader_that_takes_nothing_loses_its_stream_on_http2`.
    fn split(&mut self, mut data: Bytes) -> Frame<Bytes> {
        const WORTH_IT: usize = 1024;
        let length = data.len();
        let first =
            if self.is_http2 && (WORTH_IT..=MAX_FRAME).contains(&length) { length - 1 } else { length };
        self.rest = data.split_off(first.min(MAX_FRAME));
        Frame::data(data)
    }
}

impl<O: Unpin> hyper::body::Body for ResponseBody<O> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.stall.taken();
        if !this.rest.is_empty() {
            this.stall.gave();
            let rest = std::mem::take(&mut this.rest);
            return Poll::Ready(Some(Ok(this.split(rest))));
        }
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)) else {
            if let Some(received) = &mut this.received {
                ready!(received.as_mut().poll(cx));
                this.received = None;
            }
            return Poll::Ready(None);
        };
        this.stall.gave();
        Poll::Ready(Some(Ok(match frame?.into_data() {
            Ok(data) => this.split(data),
            Err(trailers) => trailers,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream() && self.received.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest + body.lower());
        if let Some(upper) = body.upper() {
            hint.set_upper(rest + upper);
        }
        hint
    }
}

impl<O> Drop for ResponseBody<O> {
    fn drop(&mut self) {
        if self.stall.has_stalled() {
            self.body.note_stalled();
        }
        // What is still on its way is the socket's to bound, not this answer's.
        self.stall.taken();
    }
}
