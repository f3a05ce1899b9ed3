//! Readers of answers: one that takes nothing for too long loses its stream.
//!
//! hyper does not ask a body for more while its reader takes nothing, so the body cannot notice. What it can do is
//! note when it last gave something away that nobody has come back from; the task around the stream looks at that.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::access_log::LoggedBody;
use super::requests::{OpenRequest, Requests};
use crate::service::uploads::Upload;

tokio::task_local! {
    /// The reader of the HTTP/2 stream whose task this is.
    static STREAM: Arc<Reader>;
}

/// What is known of the one who reads an answer.
#[derive(Debug)]
pub struct Reader {
    base: Instant,
    /// Milliseconds from the base to when the reader was last given something and has not asked for more; 0
    /// while it is the reader who waits.
    given: AtomicU64,
    /// Milliseconds from the base to when the answer has to end anyway; 0 for never.
    ends: AtomicU64,
    /// Wakes the one who waits for a stall when that is set.
    changed: Notify,
}

impl Reader {
    /// A reader who waits.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            given: AtomicU64::new(0),
            ends: AtomicU64::new(0),
            changed: Notify::new(),
        })
    }

    /// The reader of the current HTTP/2 stream; on HTTP/1 the connection's own.
    pub fn current(of_connection: &Arc<Self>) -> Arc<Self> {
        STREAM.try_with(Arc::clone).unwrap_or_else(|_| Arc::clone(of_connection))
    }

    /// Gives an answer whose reader takes nothing no longer than until `deadline`, and a moment for its last words.
    pub fn ends_at(&self, deadline: Instant) {
        const LAST_WORDS: Duration = Duration::from_millis(500);
        self.ends.store(self.since_base(deadline + LAST_WORDS), Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Waits until the reader has taken nothing for `timeout`, or of what has to end by now.
    pub async fn stalled(&self, timeout: Duration) {
        loop {
            let now = self.since_base(Instant::now());
            let ends = self.ends.load(Ordering::Relaxed);
            let (is_given, stalls) = match self.given.load(Ordering::Relaxed) {
                0 => (false, now + milliseconds(timeout)),
                given => (true, given + milliseconds(timeout)),
            };
            let until = if is_given && ends > 0 { stalls.min(ends) } else { stalls };
            if until <= now {
                return;
            }
            // While the reader waits, an end that has passed is looked at again now and then.
            let until = if ends > 0 { until.min(ends.max(now + 500)) } else { until };
            tokio::select! {
                () = sleep(Duration::from_millis(until - now)) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    fn since_base(&self, at: Instant) -> u64 {
        milliseconds(at.saturating_duration_since(self.base)).max(1)
    }

    fn gave(&self) {
        self.given.store(self.since_base(Instant::now()), Ordering::Relaxed);
    }

    /// Notes that something of what was given has gone on its way.
    pub fn took(&self) {
        if self.given.load(Ordering::Relaxed) != 0 {
            self.gave();
        }
    }

    fn waits(&self) {
        self.given.store(0, Ordering::Relaxed);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Runs the tasks of HTTP/2 streams, and ends those whose reader takes nothing.
#[derive(Clone, Debug)]
pub struct StreamExecutor {
    /// How long a reader may take nothing.
    pub timeout: Duration,
    /// The connection they belong to.
    pub requests: Arc<Requests>,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let (timeout, requests) = (self.timeout, Arc::clone(&self.requests));
        let reader = Reader::new();
        tokio::spawn(STREAM.scope(Arc::clone(&reader), async move {
            let is_stalled = tokio::select! {
                biased;
                _ = stream => false,
                // Ends the stream's task, and with it the stream, once h2 has sent what it was given.
                () = reader.stalled(timeout) => true,
            };
            if is_stalled {
                requests.note_stall();
            }
        }));
    }
}

/// A response body that tells how its reader does, in frames that a reader can take one at a time.
pub struct ReadBody {
    body: LoggedBody,
    /// What is left of a frame that was too large.
    rest: Bytes,
    reader: Arc<Reader>,
    is_http2: bool,
    /// Until the request's body has come to its end, on HTTP/2: an answer that ends before it resets the stream, and
    /// some clients lose the answer over that.
    uploaded: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// The request is open, and what it holds is held, until its answer has been read.
    _held: (OpenRequest, Upload),
}

/// What is given to h2 while the reader takes nothing stays there, so it is given in frames of HTTP/2's own size.
const MAX_FRAME: usize = 16 * 1024;

impl ReadBody {
    /// The body of an answer to this request.
    pub fn new(
        body: LoggedBody,
        reader: Arc<Reader>,
        uploaded: Option<CancellationToken>,
        held: (OpenRequest, Upload),
    ) -> Self {
        let is_http2 = uploaded.is_some();
        // An empty answer is one frame, its head, and ends with it: gRPC clients miss the status otherwise.
        let uploaded = uploaded.filter(|token| !token.is_cancelled() && !body.is_end_stream());
        let uploaded = uploaded.map(|token| Box::pin(token.cancelled_owned()));
        Self { body, rest: Bytes::new(), reader, is_http2, uploaded, _held: held }
    }

    fn is_awaiting_upload(&self) -> bool {
        self.uploaded.is_some()
    }

    /// The first part of `data`, as much as is given at once.
    ///
    /// hyper gives a frame away whole once there is room for any of it, and asks for the next before it waits for
    /// room. So on HTTP/2 the last byte goes alone: whoever does not take what is before it never gets that far, and
    /// is found out.
    fn split(&mut self, mut data: Bytes) -> Frame<Bytes> {
        const WORTH_IT: usize = 1024;
        let length = data.len();
        let first =
            if self.is_http2 && (WORTH_IT..=MAX_FRAME).contains(&length) { length - 1 } else { length };
        self.rest = data.split_off(first.min(MAX_FRAME));
        Frame::data(data)
    }
}

impl hyper::body::Body for ReadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.reader.waits();
        if !this.rest.is_empty() {
            this.reader.gave();
            let rest = std::mem::take(&mut this.rest);
            return Poll::Ready(Some(Ok(this.split(rest))));
        }
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)) else {
            if let Some(uploaded) = &mut this.uploaded {
                ready!(uploaded.as_mut().poll(cx));
                this.uploaded = None;
            }
            return Poll::Ready(None);
        };
        this.reader.gave();
        Poll::Ready(Some(Ok(match frame?.into_data() {
            Ok(data) => this.split(data),
            Err(trailers) => trailers,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream() && !self.is_awaiting_upload()
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

impl Drop for ReadBody {
    fn drop(&mut self) {
        // What is still on its way is the socket's to bound, not this answer's.
        self.reader.waits();
    }
}
