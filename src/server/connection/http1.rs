//! An accepted socket: its options, and the deadline of every head that is read from it.
//!
//! hyper starts no timer while it finds out which protocol a peer speaks, and has one timer for both a slow head
//! and an idle connection. So the deadline of heads is kept here: from the accept, and on HTTP/1 from the first
//! byte of each further request, until the request is handed on. An HTTP/2 peer is watched by pings instead.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::reader::Reader;
use super::requests::Requests;
use crate::service::limits::LimitOptions;

/// What every HTTP/2 connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much may wait in a socket that has not been sent.
const UNSENT: u32 = 128 * 1024;

/// Sets the options of an accepted socket.
///
/// # Errors
/// The system's, where the peer has gone already.
pub fn configure(socket: &TcpStream, limits: &LimitOptions) -> io::Result<()> {
    // Without it a token waits 40 ms for the acknowledgement of the one before.
    socket.set_nodelay(true)?;
    // Room for more is told as soon as the peer has taken some of it, and not first when a third of what the system
    // would buffer is free: a reader that is slow is told from one that takes nothing.
    let socket = SockRef::from(socket);
    socket.set_tcp_notsent_lowat(UNSENT)?;
    if !limits.peer_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(limits.peer_timeout))?;
        let between = (limits.peer_timeout / 3).max(Duration::from_secs(1));
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(between).with_interval(between))?;
    }
    Ok(())
}

/// A socket whose heads have a deadline.
pub struct Socket {
    socket: TcpStream,
    requests: Arc<Requests>,
    reader: Arc<Reader>,
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
    pub fn new(socket: TcpStream, requests: Arc<Requests>, reader: Arc<Reader>, timeout: Duration) -> Self {
        let deadline = Some(Box::pin(sleep(timeout)));
        Self { socket, requests, reader, timeout, deadline, begun: 0, preface: Some(0) }
    }

    /// Looks at bytes that have come.
    fn note(&mut self, bytes: &[u8]) {
        if let Some(seen) = self.preface {
            let compared = bytes.len().min(PREFACE.len() - seen);
            self.preface = match seen + compared {
                _ if bytes[..compared] != PREFACE[seen..seen + compared] => None,
                length if length < PREFACE.len() => Some(length),
                _ => {
                    self.requests.note_http2();
                    self.deadline = None;
                    None
                }
            };
        }
        // Empty lines between two requests begin none (RFC 9112, 2.2).
        if !self.requests.is_in_body()
            && !self.requests.is_http2()
            && !bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
        {
            self.requests.begin_head();
        }
    }

    /// Ready when a head has taken too long. It has its time from when nothing else is being answered.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let begun = self.requests.begun();
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
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes));
        self.reader.took();
        Poll::Ready(written)
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
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bytes));
        self.reader.took();
        Poll::Ready(written)
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
