//! HTTP/2 frames written by hand, for input that no real client sends.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A received frame.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A frame to send (RFC 9113, 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Header fields without compression (RFC 7541, 6.2.2).
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("short");
        [&[length], text.as_bytes()].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// The head of a chat request.
pub fn chat_head() -> Vec<u8> {
    fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/v1/chat/completions"),
        (":authority", "x"),
        ("authorization", "Bearer 123"),
        ("content-type", "application/json"),
    ])
}

/// The head of a unary gRPC call.
pub fn grpc_head() -> Vec<u8> {
    call_head("/tokenecho.v1.ChatService/CreateChatCompletion")
}

/// The head of a streaming gRPC call.
pub fn grpc_stream_head() -> Vec<u8> {
    call_head("/tokenecho.v1.ChatService/StreamChatCompletion")
}

/// The head of the gRPC call of this path.
pub fn call_head(path: &str) -> Vec<u8> {
    fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ])
}

/// A client connection that has sent the HTTP/2 preface and its settings.
pub struct Peer {
    pub socket: TcpStream,
}

impl Peer {
    pub async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &settings)[..]].concat();
        socket.write_all(&hello).await.expect("the server reads");
        Self { socket }
    }

    /// Sends frames; false if the server has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(Duration::from_secs(10), self.socket.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Asks for a chat completion on this stream.
    pub async fn chat(&mut self, stream: u32, body: &str) -> bool {
        let head = frame(HEADERS, END_HEADERS, stream, &chat_head());
        self.send(&[head, frame(DATA, END_STREAM, stream, body.as_bytes())].concat()).await
    }

    /// The next frame, pings and settings acknowledged; `None` when the server has closed.
    pub async fn next(&mut self) -> Option<Frame> {
        let frame = self.next_unanswered().await?;
        match (frame.kind, frame.flags & ACK) {
            (PING, 0) => drop(self.send(&self::frame(PING, ACK, 0, &frame.payload)).await),
            (SETTINGS, 0) => drop(self.send(&self::frame(SETTINGS, ACK, 0, &[])).await),
            _ => {}
        }
        Some(frame)
    }

    /// The next frame, without acknowledging it.
    pub async fn next_unanswered(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.socket.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.socket.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        timeout(Duration::from_secs(10), read).await.expect("a frame or the end within ten seconds")
    }

    /// Reads on until a frame of this kind; `None` when the server closes without one.
    pub async fn until(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// The next frame of one of these kinds.
    pub async fn next_of(&mut self, kinds: &[u8]) -> Frame {
        loop {
            let frame = self.next().await.expect("a frame before the end");
            if kinds.contains(&frame.kind) {
                return frame;
            }
        }
    }

    /// Whether the server ends the connection, with or without GOAWAY.
    pub async fn is_ended(&mut self) -> bool {
        loop {
            match timeout(Duration::from_secs(10), self.next_unanswered()).await {
                Ok(None) => return true,
                Ok(Some(frame)) if frame.kind == GOAWAY => return true,
                Ok(Some(_)) => {}
                Err(_) => return false,
            }
        }
    }
}
