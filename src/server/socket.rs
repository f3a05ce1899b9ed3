//! An accepted socket: its options, and the deadline of every head that is read from it.
//!
//! hyper starts no timer while it finds out which protocol a peer speaks, and has one timer for both a slow head
//! and an idle connection. So the deadline of heads is kept here: from the accept, and on HTTP/1 from the first
//! byte of each further request, until the request is handed on. An HTTP/2 peer is watched by pings instead.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

use crate::service::limits::LimitOptions;

/// What every HTTP/2 connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sets the options of an accepted socket.
///
/// # Errors
/// The system's, where the peer has gone already.
pub fn configure(socket: &TcpStream, limits: &LimitOptions) -> io::Result<()> {
    // Without it a token waits 40 ms for the acknowledgement of the one before.
    socket.set_nodelay(true)?;
    if !limits.peer_timeout.is_zero() {
        let socket = SockRef::from(socket);
        socket.set_tcp_user_timeout(Some(limits.peer_timeout))?;
        let between = (limits.peer_timeout / 3).max(Duration::from_secs(1));
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(between).with_interval(between))?;
    }
    Ok(())
}

/// What is known of one connection, noted where its bytes come in and where its requests are handed on.
#[derive(Debug, Default)]
pub struct Requests {
    begun: AtomicUsize,
    open: AtomicUsize,
    /// Whether the bytes that come belong to a request's body.
    in_body: AtomicBool,
    /// Whether a head has begun to come and has not been handed on.
    in_head: AtomicBool,
    is_http2: AtomicBool,
    /// Set once the next answer is to be the connection's last.
    is_last: AtomicBool,
    /// HTTP/2 streams that were given up because their reader took nothing.
    stalled: AtomicUsize,
    /// Wakes the one who waits for too many of them.
    changed: Notify,
}

impl Requests {
    /// Counts a request, which has a body or not; it is open until the guard is dropped.
    pub fn begin(self: &Arc<Self>, has_body: bool) -> OpenRequest {
        self.in_head.store(false, Ordering::Relaxed);
        self.in_body.store(has_body, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenRequest(Arc::clone(self))
    }

    /// Notes that nothing more of a request's body comes.
    pub fn end_body(&self) {
        self.in_body.store(false, Ordering::Relaxed);
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether a request of an HTTP/1 connection is on its way in, and would be lost if the connection went.
    pub fn is_in_head(&self) -> bool {
        self.in_head.load(Ordering::Relaxed) && !self.is_http2()
    }

    /// Whether the peer speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    /// Makes the next answer the connection's last.
    pub fn close_after_next(&self) {
        self.is_last.store(true, Ordering::Relaxed);
    }

    /// Notes that a stream was given up because its reader took nothing.
    pub fn note_stall(&self) {
        self.stalled.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Waits until streams were given up and nothing else has been open for `patience`, or until too many were. What
    /// they had been given stays with h2 until their reader takes it, so the connection is all there is to end.
    pub async fn given_up(&self, patience: Duration) {
        const TOO_MANY: usize = 64;
        loop {
            let stalled = self.stalled.load(Ordering::Relaxed);
            if stalled >= TOO_MANY {
                return;
            }
            let changed = self.changed.notified();
            if stalled == 0 || self.open() > 0 {
                changed.await;
            } else if tokio::time::timeout(patience, changed).await.is_err() {
                return;
            }
        }
    }

    /// Whether this answer is the connection's last.
    pub fn is_last(&self) -> bool {
        self.is_last.load(Ordering::Relaxed)
    }
}

/// A request that has not been answered to its end.
#[derive(Debug)]
pub struct OpenRequest(Arc<Requests>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        if self.0.stalled.load(Ordering::Relaxed) > 0 {
            self.0.changed.notify_one();
        }
    }
}

/// A socket whose heads have a deadline.
pub struct Socket {
    socket: TcpStream,
    requests: Arc<Requests>,
    timeout: Duration,
    /// Runs while a head is awaited or read.
    deadline: Option<Pin<Box<Sleep>>>,
    /// How many requests had begun when the deadline was set.
    begun: usize,
    /// How much of the preface has come; `None` once it is known which protocol this is.
    preface: Option<usize>,
}

impl Socket {
    /// A socket that has just been accepted.
    pub fn new(socket: TcpStream, requests: Arc<Requests>, timeout: Duration) -> Self {
        let deadline = Some(Box::pin(sleep(timeout)));
        Self { socket, requests, timeout, deadline, begun: 0, preface: Some(0) }
    }

    /// Looks at bytes that have come.
    fn note(&mut self, bytes: &[u8]) {
        if let Some(seen) = self.preface {
            let compared = bytes.len().min(PREFACE.len() - seen);
            self.preface = match seen + compared {
                _ if bytes[..compared] != PREFACE[seen..seen + compared] => None,
                length if length < PREFACE.len() => Some(length),
                _ => {
                    self.requests.is_http2.store(true, Ordering::Relaxed);
                    self.deadline = None;
                    None
                }
            };
        }
        // Empty lines between two requests begin none (RFC 9112, 2.2).
        let is_body = self.requests.in_body.load(Ordering::Relaxed);
        if !is_body && !self.requests.is_http2() && !bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            self.requests.in_head.store(true, Ordering::Relaxed);
        }
    }

    /// Ready when a head has taken too long. It has its time from when nothing else is being answered.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let begun = self.requests.begun.load(Ordering::Relaxed);
        if begun != self.begun {
            self.begun = begun;
            self.deadline = None;
        }
        if self.deadline.is_none() && self.requests.is_in_head() && self.requests.open() == 0 {
            self.deadline = Some(Box::pin(sleep(self.timeout)));
        }
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Before the bytes, or a peer that sends one now and then would never be asked for the time.
        if this.poll_deadline(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buffer))?;
        this.note(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bytes)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn an_accepted_socket_waits_for_no_acknowledgement_and_notices_a_vanished_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let peer = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("a connection");

        configure(&peer, &Config::default().limits).expect("it is there");

        assert!(peer.nodelay().expect("an option"));
        let socket = SockRef::from(&peer);
        assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(Duration::from_secs(30)));
        assert!(socket.keepalive().expect("an option"));
        assert_eq!(socket.tcp_keepalive_time().expect("an option"), Duration::from_secs(10));
    }
}
