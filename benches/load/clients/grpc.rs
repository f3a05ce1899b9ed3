//! gRPC over one HTTP/2 connection, by hyper alone: a message is not decoded, and its end is found by its length.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;

use crate::Outcome;
use crate::servers::KEY;

/// A connection; its clones share it.
#[derive(Clone)]
pub struct Grpc(SendRequest<Full<Bytes>>);

impl Grpc {
    /// Connects, with room for what comes while the client is busy with other streams.
    pub async fn open(server: SocketAddr) -> Outcome<Self> {
        const CONNECTION_WINDOW: u32 = 64 << 20;
        let socket = TcpStream::connect(server).await?;
        socket.set_nodelay(true)?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = builder.handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Sends a request, and returns the body of its answer. Any status but OK is a failure.
    pub async fn call(&mut self, request: &Request<Full<Bytes>>) -> Outcome<Bytes> {
        self.0.ready().await?;
        let (head, body) = self.0.send_request(request.clone()).await?.into_parts();
        let body = body.collect().await?;
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
        match status {
            Some(status) if status == "0" => Ok(body.to_bytes()),
            _ => Err(format!("a call ended with {status:?} after {:?}", head.headers).into()),
        }
    }
}

/// A call of a method of the chat service.
pub fn request(method: &str, message: &impl Message) -> Outcome<Request<Full<Bytes>>> {
    let message = message.encode_to_vec();
    // In front of a message: that it is not compressed, and its length.
    let length = u32::try_from(message.len())?.to_be_bytes();
    let body = Bytes::from([&[0][..], &length, &message].concat());
    Ok(Request::post(format!("http://localhost/tokenecho.v1.ChatService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {KEY}"))
        .body(Full::new(body))?)
}

/// The messages of a body.
pub fn messages(mut body: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (head, rest) = body.split_first_chunk::<5>()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let (message, rest) = rest.split_at_checked(length as usize)?;
        body = rest;
        Some(message)
    })
}
