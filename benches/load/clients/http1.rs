//! One keep-alive HTTP/1 connection.
//!
//! It knows what both servers answer with, and no more of HTTP: a body of a given length, or one in chunks, which is
//! at its end when the last bytes read are those of the empty chunk.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::Outcome;

const END_OF_CHUNKS: &[u8] = b"\r\n0\r\n\r\n";

pub struct Http1 {
    socket: TcpStream,
    received: Vec<u8>,
}

/// How the end of a body is found.
#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    Chunks,
}

impl Http1 {
    pub async fn open(server: SocketAddr) -> Outcome<Self> {
        let socket = TcpStream::connect(server).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, received: Vec::new() })
    }

    /// Sends a request and reads its whole answer: the body as it was framed. Anything but 200 is a failure.
    pub async fn call(&mut self, request: &[u8]) -> Outcome<&[u8]> {
        let (head, _) = self.exchange(request).await?;
        Ok(&self.received[head..])
    }

    /// The answer without its framing: a body, or the events of a stream.
    pub async fn record(&mut self, request: &[u8]) -> Outcome<Vec<Bytes>> {
        let (head, framing) = self.exchange(request).await?;
        let body = &self.received[head..];
        Ok(match framing {
            Framing::Length(_) => vec![Bytes::copy_from_slice(body)],
            Framing::Chunks => events(&unchunked(body)?),
        })
    }

    /// Leaves the answer in `received`; returns where its body begins.
    async fn exchange(&mut self, request: &[u8]) -> Outcome<(usize, Framing)> {
        self.socket.write_all(request).await?;
        self.received.clear();
        let head = loop {
            self.read().await?;
            if let Some(end) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let framing = framing(&self.received[..head])?;
        while !framing.is_whole(&self.received[head - 2..]) {
            self.read().await?;
        }
        Ok((head, framing))
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.socket.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sends a request and returns when each of so many events came. The connection cannot be used again: what
    /// follows the events is not read.
    pub async fn arrivals(self, request: &[u8], events: usize) -> Outcome<Vec<Instant>> {
        let Self { mut socket, .. } = self;
        socket.write_all(request).await?;
        let mut counter = EventCounter::default();
        let mut arrivals = Vec::with_capacity(events);
        while arrivals.len() < events {
            socket.readable().await?;
            let mut piece = [0; 4096];
            match socket.try_read(&mut piece) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(length) => arrivals.resize(counter.count(&piece[..length]), Instant::now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(arrivals)
    }
}

impl Framing {
    /// `body` begins with the two bytes before it, which end the head: the first chunk may be the empty one.
    fn is_whole(self, body: &[u8]) -> bool {
        match self {
            Self::Length(length) => body.len() - 2 >= length,
            Self::Chunks => body.ends_with(END_OF_CHUNKS),
        }
    }
}

fn framing(head: &[u8]) -> Outcome<Framing> {
    let head = std::str::from_utf8(head)?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("answered with {}", head.lines().next().unwrap_or_default()).into());
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    Ok(match length {
        Some(length) => Framing::Length(length.parse()?),
        None => Framing::Chunks,
    })
}

/// The bytes of a body that came in chunks.
fn unchunked(mut body: &[u8]) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let line = body.iter().position(|byte| *byte == b'\r').ok_or("a chunk without a length")?;
        let length = usize::from_str_radix(std::str::from_utf8(&body[..line])?, 16)?;
        if length == 0 {
            return Ok(bytes);
        }
        bytes.extend(&body[line + 2..][..length]);
        body = &body[line + 2 + length + 2..];
    }
}

/// The events of a stream, each with the empty line at its end.
fn events(stream: &[u8]) -> Vec<Bytes> {
    let mut events = Vec::new();
    let mut rest = stream;
    while let Some(end) = rest.windows(2).position(|bytes| bytes == b"\n\n") {
        events.push(Bytes::copy_from_slice(&rest[..end + 2]));
        rest = &rest[end + 2..];
    }
    events
}

/// Counts the events of a stream that comes in chunks, cut anywhere: an event is two line feeds without a carriage
/// return, which only heads and chunks have. Line ends in an event's data are escaped.
#[derive(Default)]
struct EventCounter {
    line_feeds: usize,
    last: u8,
}

impl EventCounter {
    /// Returns how many events have ended so far.
    fn count(&mut self, piece: &[u8]) -> usize {
        for byte in piece {
            self.line_feeds += usize::from(*byte == b'\n' && self.last != b'\r');
            self.last = *byte;
        }
        self.line_feeds / 2
    }
}
