//! Which version of HTTP a peer speaks, by its first bytes.
//!
//! hyper-util's own detection has no timer and hides its result; here it is a value, and each version is then served
//! by its own builder.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What every HTTP/2 connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

/// Reads until the version is known: HTTP/1 at the first byte that differs from HTTP/2's preface, HTTP/2 at its end.
/// `None` where the peer, or the server that is `closing`, ends the connection before the first byte.
///
/// # Errors
/// The socket's; `TimedOut` at the deadline; `UnexpectedEof` where the peer leaves in the middle of a preface.
pub(super) async fn detect<S: AsyncRead + Unpin>(
    mut socket: S,
    closing: impl Future<Output = ()>,
    mut deadline: Pin<&mut Sleep>,
) -> io::Result<Option<(Version, Prefixed<S>)>> {
    let mut closing = pin!(closing);
    let (mut bytes, mut length) = ([0; PREFACE.len()], 0);
    loop {
        let read = tokio::select! {
            biased;
            read = socket.read(&mut bytes[length..]) => read?,
            () = deadline.as_mut() => return Err(io::ErrorKind::TimedOut.into()),
            () = closing.as_mut(), if length == 0 => return Ok(None),
        };
        match (read, length) {
            (0, 0) => return Ok(None),
            (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (read, _) => length += read,
        }
        let version = match bytes[..length] == PREFACE[..length] {
            false => Version::Http1,
            true if length == PREFACE.len() => Version::Http2,
            true => continue,
        };
        return Ok(Some((version, Prefixed { bytes, start: 0, end: length, socket })));
    }
}

/// A socket whose first bytes have been read already, and are read again.
pub(super) struct Prefixed<S> {
    bytes: [u8; PREFACE.len()],
    start: usize,
    end: usize,
    socket: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.start == this.end {
            return Pin::new(&mut this.socket).poll_read(cx, buffer);
        }
        let length = buffer.remaining().min(this.end - this.start);
        buffer.put_slice(&this.bytes[this.start..this.start + length]);
        this.start += length;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    // Forwarded, or every chunk of a body would be copied into one buffer with its head.
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
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::time::sleep;

    use super::*;

    /// What is detected of a peer that sends these pieces, one after the other, and what is read afterwards.
    async fn detected(pieces: &[&[u8]]) -> io::Result<Option<(Version, Vec<u8>)>> {
        let (mut peer, socket) = tokio::io::duplex(1024);
        let send = async {
            for piece in pieces {
                peer.write_all(piece).await?;
                tokio::task::yield_now().await;
            }
            drop(peer);
            Ok::<_, io::Error>(())
        };
        let deadline = pin!(sleep(Duration::from_secs(1)));
        let (sent, detected) = tokio::join!(send, detect(socket, std::future::pending(), deadline));
        sent?;
        let Some((version, mut io)) = detected? else { return Ok(None) };
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await?;
        Ok(Some((version, rest)))
    }

    #[tokio::test]
    async fn the_version_is_known_at_the_first_byte_that_differs_and_no_byte_is_lost() {
        for (pieces, version) in [
            (&[&b"GET / HTTP/1.1\r\n\r\n"[..]][..], Version::Http1),
            (&[b"P", b"OST / HTTP/1.1\r\n\r\n"], Version::Http1),
            (&[b"PRI * HTTP/1.1\r\n\r\n"], Version::Http1),
            (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"], Version::Http2),
            (&[b"PRI * HTT", b"P/2.0\r\n\r\nS", b"M\r\n\r\n"], Version::Http2),
        ] {
            let (found, rest) = detected(pieces).await.expect("it is detected").expect("it sends something");

            assert_eq!((found, rest), (version, pieces.concat()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_sends_nothing_is_let_go_and_one_that_stops_in_a_preface_is_an_error() {
        assert!(detected(&[]).await.expect("no error").is_none());
        assert!(detected(&[b"PRI"]).await.is_err());
        let (_peer, socket) = tokio::io::duplex(64);
        let deadline = pin!(sleep(Duration::from_secs(1)));
        let late = detect(socket, std::future::pending(), deadline).await.map(|_| ());
        assert_eq!(late.expect_err("it is late").kind(), io::ErrorKind::TimedOut);
    }
}
