//! An HTTP/2 connection: a task for each stream, and an end for streams and connections whose client reads nothing.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{Request, Response};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::request_body::Received;
use super::response_body::ResponseBody;
use super::stall::StallWatch;
use super::{Context, ServeError};
use crate::ops::lifecycle::{Deadline, Phase};

/// The largest request head, in bytes.
const MAX_HEAD: u32 = 16 * 1024;

/// What one stream may have waiting to be sent: hyper's 400 KiB would be 4 GB for ten thousand stalled streams.
const SEND_BUFFER: usize = 64 * 1024;

/// So many stalled streams are enough: the connection gets no more of them.
const MAX_STALLED: usize = 64;

tokio::task_local! {
    /// The watch over the stream whose task this is. hyper runs a stream's service and its body in one task, which is
    /// the only thing that ties the body to what watches it from outside.
    static STREAM: Arc<StallWatch>;
}

/// State shared by everything that serves one connection: how many requests are open, and how many streams were reset
/// because their client read nothing.
struct State {
    context: Arc<Context>,
    open: AtomicUsize,
    stalled: AtomicUsize,
    /// Wakes the waits for both counts.
    changed: Notify,
    too_many_stalled: Notify,
}

/// Serves the connection until its peer, its age, its stalled streams or the server ends it.
///
/// # Errors
/// Why the connection did not end well.
pub(super) async fn serve<S>(socket: S, context: Arc<Context>) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let timeout = context.limits.reader_timeout;
    let state = Arc::new(State {
        context,
        open: AtomicUsize::new(0),
        stalled: AtomicUsize::new(0),
        changed: Notify::new(),
        too_many_stalled: Notify::new(),
    });
    let answer = {
        let state = Arc::clone(&state);
        service_fn(move |request| answer(Arc::clone(&state), request))
    };
    let mut connection = pin!(builder(&state).serve_connection(TokioIo::new(socket), answer));
    let mut leaving = pin!(leaving(&state).fuse());
    loop {
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            () = state.only_stalled(timeout) => return Err("its client read nothing".into()),
            () = &mut leaving => connection.as_mut().graceful_shutdown(),
        }
    }
}

/// The limits of the protocol. hyper's and h2's bounds on resets that a peer causes, in number and at once, stay at
/// their defaults: they end a rapid reset with GOAWAY. A timeout without a timer would panic.
fn builder(state: &Arc<State>) -> Builder<StreamExecutor> {
    let limits = &state.context.limits;
    let pings = (!limits.ping_interval.is_zero()).then_some(limits.ping_interval);
    let mut builder = Builder::new(StreamExecutor { state: Arc::clone(state) });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::try_from(limits.max_streams_per_connection).unwrap_or(u32::MAX))
        .max_header_list_size(MAX_HEAD)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(pings)
        .keep_alive_timeout(limits.ping_timeout);
    builder
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody<OpenRequest>>, Infallible> {
    let stall = STREAM.try_with(Arc::clone).unwrap_or_else(|_| StallWatch::new());
    let open = OpenRequest::count(Arc::clone(&state));
    let received = CancellationToken::new();
    let (response, reservation) = state.context.answer(request, Received::Answer(received.clone())).await;
    if let Some(Deadline(deadline)) = response.extensions().get() {
        stall.ends_at(*deadline);
    }
    Ok(response.map(|body| ResponseBody::http2(body, stall, received, (open, reservation))))
}

/// Waits until the connection is to be closed once its streams have ended: it is old, too many of its streams have
/// stalled, or the server closes.
async fn leaving(state: &State) {
    tokio::select! {
        () = state.context.lifecycle.reached(Phase::Closing) => {}
        () = state.too_many_stalled() => {}
        () = state.context.aged() => {}
    }
}

impl State {
    /// Notes that a stream was reset because its client read nothing.
    fn note_stall(&self) {
        self.stalled.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        self.too_many_stalled.notify_one();
    }

    /// Waits until streams have stalled and nothing else has been open for `timeout`. What those streams were given
    /// stays with h2 until the client takes it, so the connection is all that is left to end. Test:
    /// `a_reader_that_leaves_the_tail_of_an_answer_loses_its_connection`.
    async fn only_stalled(&self, timeout: Duration) {
        loop {
            let changed = self.changed.notified();
            if self.stalled.load(Ordering::Relaxed) == 0 || self.open.load(Ordering::Relaxed) > 0 {
                changed.await;
            } else if tokio::time::timeout(timeout, changed).await.is_err() {
                return;
            }
        }
    }

    async fn too_many_stalled(&self) {
        while self.stalled.load(Ordering::Relaxed) < MAX_STALLED {
            // A change since the last look has left its permit behind.
            self.too_many_stalled.notified().await;
        }
    }
}

/// A request that has not been answered to its end.
pub(super) struct OpenRequest(Arc<State>);

impl OpenRequest {
    fn count(state: Arc<State>) -> Self {
        let open = state.open.fetch_add(1, Ordering::Relaxed) + 1;
        if open == state.context.limits.max_streams_per_connection {
            state.context.service.metrics().connections_at_stream_limit.inc();
        }
        Self(state)
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        if self.0.stalled.load(Ordering::Relaxed) > 0 {
            self.0.changed.notify_one();
        }
    }
}

/// Runs the tasks of the streams, and ends those whose client reads nothing.
#[derive(Clone)]
struct StreamExecutor {
    state: Arc<State>,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let state = Arc::clone(&self.state);
        let stall = StallWatch::new();
        tokio::spawn(STREAM.scope(Arc::clone(&stall), async move {
            let is_stalled = tokio::select! {
                biased;
                _ = stream => false,
                // Ends the stream's task, and with it the stream, once h2 has sent what it was given.
                () = stall.stalled(state.context.limits.reader_timeout) => true,
            };
            if is_stalled {
                state.note_stall();
            }
        }));
    }
}
