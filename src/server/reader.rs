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

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Instant, sleep};

use super::socket::OpenRequest;

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
}

impl Reader {
    /// A reader who waits.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { base: Instant::now(), given: AtomicU64::new(0) })
    }

    /// The reader of the current HTTP/2 stream; on HTTP/1 the connection's own.
    pub fn current(of_connection: &Arc<Self>) -> Arc<Self> {
        STREAM.try_with(Arc::clone).unwrap_or_else(|_| Arc::clone(of_connection))
    }

    /// Waits until the reader has taken nothing for `timeout`.
    pub async fn stalled(&self, timeout: Duration) {
        loop {
            let left = match self.given.load(Ordering::Relaxed) {
                0 => timeout,
                given => {
                    let idle = self.base.elapsed().saturating_sub(Duration::from_millis(given));
                    timeout.saturating_sub(idle)
                }
            };
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }

    fn gave(&self) {
        let now = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.given.store(now.max(1), Ordering::Relaxed);
    }

    fn waits(&self) {
        self.given.store(0, Ordering::Relaxed);
    }
}

/// Runs the tasks of HTTP/2 streams, and ends those whose reader takes nothing.
#[derive(Clone, Debug)]
pub struct StreamExecutor {
    /// How long a reader may take nothing.
    pub timeout: Duration,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let timeout = self.timeout;
        let reader = Reader::new();
        tokio::spawn(STREAM.scope(Arc::clone(&reader), async move {
            tokio::select! {
                biased;
                _ = stream => {}
                // Dropping the stream's task resets the stream.
                () = reader.stalled(timeout) => {}
            }
        }));
    }
}

/// A response body that tells how its reader does, in frames that a reader can take one at a time.
pub struct ReadBody {
    body: Body,
    /// What is left of a frame that was too large.
    rest: Bytes,
    reader: Arc<Reader>,
    _open: OpenRequest,
}

/// A larger frame would be held whole while its reader takes nothing.
const MAX_FRAME: usize = 64 * 1024;

impl ReadBody {
    /// The body of an answer to this request.
    pub fn new(body: Body, reader: Arc<Reader>, open: OpenRequest) -> Self {
        Self { body, rest: Bytes::new(), reader, _open: open }
    }

    fn split(&mut self, mut data: Bytes) -> Frame<Bytes> {
        self.rest = data.split_off(data.len().min(MAX_FRAME));
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
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            this.reader.gave();
            Ok(match frame?.into_data() {
                Ok(data) => this.split(data),
                Err(trailers) => trailers,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
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
