//! The clients. They share the processors with the server they measure, so they do little: a request is bytes that
//! are made once, and of an answer they read as much as shows that it is whole.

mod grpc;
mod http1;

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokenecho::pb::chat_message::Content;
use tokenecho::pb::{ChatMessage, CreateChatCompletionRequest, Role};

use crate::Outcome;
use crate::servers::KEY;

pub use grpc::Grpc;
pub use http1::Http1;

/// The gRPC connections of a load. One connection is one core's work, so there are several.
const GRPC_CONNECTIONS: u32 = 4;

/// A request for a chat completion, as the bytes of its protocol.
#[derive(Clone)]
pub enum Call {
    Http(Bytes),
    Grpc(Box<Request<Full<Bytes>>>),
}

/// What answers: a short reply at once, or a stream of so many tokens.
#[derive(Clone, Copy)]
pub enum Reply {
    Whole,
    Stream { tokens: u32 },
}

impl Reply {
    /// A message whose echo has at least as many tokens as the reply.
    fn message(self) -> String {
        match self {
            Self::Whole => "Hello there".into(),
            Self::Stream { tokens } => {
                "The quick brown fox jumps over the lazy dog. ".repeat(tokens as usize / 9 + 1)
            }
        }
    }
}

/// The request over HTTP.
pub fn http(reply: Reply) -> Call {
    let stream = match reply {
        Reply::Whole => String::new(),
        Reply::Stream { tokens } => format!(r#""stream":true,"max_tokens":{tokens},"#),
    };
    let body = format!(r#"{{{stream}"messages":[{{"role":"user","content":"{}"}}]}}"#, reply.message());
    let head = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: localhost",
        &format!("authorization: Bearer {KEY}"),
        "content-type: application/json",
        &format!("content-length: {}", body.len()),
    ];
    Call::Http(format!("{}\r\n\r\n{body}", head.join("\r\n")).into())
}

/// The same request over gRPC.
pub fn grpc(reply: Reply) -> Outcome<Call> {
    let message = ChatMessage {
        role: Role::User.into(),
        content: Some(Content::Text(reply.message())),
        ..ChatMessage::default()
    };
    let (method, max_tokens) = match reply {
        Reply::Whole => ("CreateChatCompletion", None),
        Reply::Stream { tokens } => ("StreamChatCompletion", Some(i32::try_from(tokens)?)),
    };
    let request = CreateChatCompletionRequest { messages: vec![message], max_tokens, ..Default::default() };
    Ok(Call::Grpc(grpc::request(method, &request)?.into()))
}

impl Call {
    /// The answer of that server, taken apart: a body, the events of a stream, or gRPC messages.
    pub async fn record(&self, server: SocketAddr) -> Outcome<Vec<Bytes>> {
        match self {
            Self::Http(request) => Http1::open(server).await?.record(request).await,
            Self::Grpc(request) => {
                let body = Grpc::open(server).await?.call(request).await?;
                Ok(grpc::messages(&body).map(Bytes::copy_from_slice).collect())
            }
        }
    }

    /// So many callers, who each wait for an answer before they send the next request: a connection each over HTTP,
    /// streams on a few connections over gRPC.
    pub async fn callers(&self, server: SocketAddr, count: u32) -> Outcome<Vec<Caller>> {
        let mut callers: Vec<Caller> = Vec::new();
        for index in 0..count {
            callers.push(match (self, callers.get((index % GRPC_CONNECTIONS) as usize)) {
                (Self::Http(_), _) => Caller::Http(Http1::open(server).await?),
                (_, Some(Caller::Grpc(connection))) => Caller::Grpc(connection.clone()),
                _ => Caller::Grpc(Grpc::open(server).await?),
            });
        }
        Ok(callers)
    }
}

/// A connection, or its part of one.
pub enum Caller {
    Http(Http1),
    Grpc(Grpc),
}

impl Caller {
    /// Sends a request and reads its whole answer, which has to be a success.
    pub async fn call(&mut self, call: &Call) -> Outcome<()> {
        match (self, call) {
            (Self::Http(connection), Call::Http(request)) => {
                connection.call(request).await?;
            }
            (Self::Grpc(connection), Call::Grpc(request)) => {
                connection.call(request).await?;
            }
            _ => return Err("a request of the other protocol".into()),
        }
        Ok(())
    }
}
