//! An HTTP/1 connection: one answer at a time, and a deadline for every head.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use axum::http::{Request, Response};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::request_body::{ReadsBody, Received};
use super::response_body::ResponseBody;
use super::stall::StallWatch;
use super::{Context, ServeError, close_after};
use crate::ops::lifecycle::Phase;

/// The largest request head, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// What may wait to be sent: hyper's 400 KiB would be 4 GB for ten thousand clients that read nothing.
const SEND_BUFFER: usize = 64 * 1024;

/// State shared by everything that serves one connection: is a head or a body in flight, how many requests have begun
/// and are open, has the client stalled, is the next answer the last.
pub(super) struct State {
    context: Arc<Context>,
    /// Requests whose head has been read.
    begun: AtomicUsize,
    /// Requests that have not been answered to the end.
    open: AtomicUsize,
    /// Whether the bytes that arrive belong to a request's body.
    in_body: AtomicBool,
    /// Whether a head has begun to arrive and has not been read whole.
    in_head: AtomicBool,
    is_last: AtomicBool,
    stall: Arc<StallWatch>,
}

/// Serves the connection until its peer, its age, a stalled client or the server ends it. `deadline` is that of the
/// first head.
///
/// # Errors
/// Why the connection did not end well.
pub(super) async fn serve<S>(
    socket: S,
    deadline: Pin<Box<Sleep>>,
    context: Arc<Context>,
) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let limits = context.limits.clone();
    let state = Arc::new(State {
        context,
        begun: AtomicUsize::new(0),
        open: AtomicUsize::new(0),
        in_body: AtomicBool::new(false),
        in_head: AtomicBool::new(false),
        is_last: AtomicBool::new(false),
        stall: StallWatch::new(),
    });
    let io = HeadDeadline {
        socket,
        state: Arc::clone(&state),
        timeout: limits.head_timeout,
        deadline: Some(deadline),
        begun: 0,
    };
    let answer = {
        let state = Arc::clone(&state);
        service_fn(move |request| answer(Arc::clone(&state), request))
    };
    // hyper's timer of a head also runs while the connection is idle (hyper#1628), so it gets the longer time, and the
    // shorter one of a head is kept by `HeadDeadline`. Tests: `an_idle_connection_outlives_the_head_timeout_and_not_its_own`,
    // `a_slow_second_head_is_gone_like_a_slow_first`. A timeout without a timer would panic.
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.idle_timeout);
    builder.max_header_size(MAX_HEAD).max_buf_size(SEND_BUFFER);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), answer));
    // Polled only when one of them is woken: a paced stream wakes its connection for every token.
    let mut watchers = FuturesUnordered::<BoxFuture<'_, Watched>>::new();
    watchers.push(state.stall.stalled(limits.reader_timeout).map(|()| Watched::Stalled).boxed());
    watchers.push(leaving(&state).map(|()| Watched::Leaving).boxed());
    loop {
        tokio::select! {
            // The connection first: it reads what has arrived, and `leaving` has to know of a head among that.
            biased;
            ended = connection.as_mut() => return Ok(ended?),
            Some(watched) = watchers.next() => match watched {
                Watched::Stalled => return Err("its client read nothing".into()),
                Watched::Leaving => connection.as_mut().graceful_shutdown(),
            },
        }
    }
}

/// What ends a connection from outside.
enum Watched {
    /// Its client has read nothing for too long.
    Stalled,
    /// It is old, or the server closes.
    Leaving,
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody<OpenRequest>>, Infallible> {
    let open = state.begin(!request.body().is_end_stream());
    let (mut response, reservation) =
        state.context.answer(request, Received::Connection(Arc::clone(&state) as Arc<_>)).await;
    if state.is_last.load(Ordering::Relaxed) || state.context.lifecycle.is_closing() {
        close_after(&mut response);
    }
    let stall = Arc::clone(&state.stall);
    Ok(response.map(|body| ResponseBody::http1(body, stall, (open, reservation))))
}

/// Waits until the connection has to be closed: it is old, or the server closes.
///
/// hyper closes an idle connection at once, over a request that may be on its way (hyper#3808). Where there is time,
/// the peer learns it from the next answer; where there is none, a head that has begun is answered. Tests:
/// `an_old_connection_leaves_no_request_without_an_answer`, `a_second_request_whose_head_had_begun_gets_its_503_too`.
async fn leaving(state: &State) {
    let mut closing = pin!(state.context.lifecycle.reached(Phase::Closing));
    tokio::select! {
        () = &mut closing => {}
        () = state.context.aged() => {
            state.is_last.store(true, Ordering::Relaxed);
            closing.await;
        }
    }
    if state.is_in_head() {
        // Its answer closes the connection.
        std::future::pending::<()>().await;
    }
}

impl State {
    /// Counts a request, which has a body or not; it is open until the guard is dropped.
    fn begin(self: &Arc<Self>, has_body: bool) -> OpenRequest {
        self.in_head.store(false, Ordering::Relaxed);
        self.in_body.store(has_body, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenRequest(Arc::clone(self))
    }

    fn is_in_head(&self) -> bool {
        self.in_head.load(Ordering::Relaxed)
    }

    /// Looks at bytes that have arrived.
    fn note(&self, bytes: &[u8]) {
        // Empty lines between two requests begin none (RFC 9112, 2.2).
        let is_blank = || bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        if !self.in_body.load(Ordering::Relaxed) && !is_blank() {
            self.in_head.store(true, Ordering::Relaxed);
        }
    }
}

impl ReadsBody for State {
    fn body_received(&self) {
        self.in_body.store(false, Ordering::Relaxed);
    }
}

/// A request that has not been answered to its end.
pub(super) struct OpenRequest(Arc<State>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket whose heads have a deadline: from the accept, and for each further request from its first byte, until the
/// request is handed on.
struct HeadDeadline<S> {
    socket: S,
    state: Arc<State>,
    timeout: Duration,
    /// Runs while a head is awaited or read.
    deadline: Option<Pin<Box<Sleep>>>,
    /// How many requests had begun when the deadline was set.
    begun: usize,
}

impl<S> HeadDeadline<S> {
    /// Ready when a head has taken too long. Its time begins when no other request is being answered.
    fn poll_deadline(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let begun = self.state.begun.load(Ordering::Relaxed);
        if begun != self.begun {
            self.begun = begun;
            self.deadline = None;
        }
        let is_idle = self.state.open.load(Ordering::Relaxed) == 0;
        if self.deadline.is_none() && self.state.is_in_head() && is_idle {
            self.deadline = Some(Box::pin(sleep(self.timeout)));
        }
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Before the bytes, or the timer of a peer that sends one now and then would never be polled.
        if this.poll_deadline(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buffer))?;
        this.state.note(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes));
        self.state.stall.progressed();
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bytes));
        self.state.stall.progressed();
        Poll::Ready(written)
    }
}
