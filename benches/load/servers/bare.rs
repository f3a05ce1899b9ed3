//! What tokenecho is compared with: hyper and tonic with as little around them as possible.
//!
//! They answer with what tokenecho answered before, which they read from their standard input. `hyper` writes it as
//! one body; `paced` writes a piece every [`ITL`]; `tonic-unary` and `tonic-stream` send messages, encoded by tonic's own
//! codec.

use std::convert::Infallible;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::{process, thread};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, future};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokenecho::pb::{
    CreateChatCompletionRequest, CreateChatCompletionResponse, StreamChatCompletionResponse,
};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tonic::codegen::{BoxFuture, Context, Poll, Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic_prost::ProstCodec;

use super::ITL;
use crate::Outcome;

/// Serves until the process that started this one is gone.
pub async fn run(kind: &str, port: u16) -> Outcome<()> {
    let answers = read_answers()?;
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(0);
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match kind {
        "hyper" => {
            let answer = Bytes::from(answers.concat());
            serve(listen(address)?, move || Full::new(answer.clone())).await
        }
        "paced" => {
            let pieces: Arc<[Bytes]> = answers.into();
            serve(listen(address)?, move || paced(pieces.clone())).await
        }
        "tonic-unary" => serve_grpc(address, Chat::whole(&answers)?).await,
        "tonic-stream" => serve_grpc(address, Chat::streamed(&answers)?).await,
        _ => Err(format!("no bare server is called {kind}").into()),
    }
}

/// How answers travel to a bare server: their number, then each after its length.
pub fn framed(answers: &[Bytes]) -> Outcome<Vec<u8>> {
    let mut bytes = u32::try_from(answers.len())?.to_be_bytes().to_vec();
    for answer in answers {
        bytes.extend(u32::try_from(answer.len())?.to_be_bytes());
        bytes.extend(answer);
    }
    Ok(bytes)
}

fn read_answers() -> Outcome<Vec<Bytes>> {
    let mut stdin = io::stdin().lock();
    let mut answers = Vec::new();
    for _ in 0..read_number(&mut stdin)? {
        let mut answer = vec![0; read_number(&mut stdin)? as usize];
        stdin.read_exact(&mut answer)?;
        answers.push(answer.into());
    }
    Ok(answers)
}

fn read_number(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// hyper and nothing else: reads a request, answers with a body.
async fn serve<B>(listener: TcpListener, body: impl Fn() -> B + Clone + Send + 'static) -> Outcome<()>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let body = body.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let body = body.clone();
            async move {
                request.into_body().collect().await?;
                Ok::<_, hyper::Error>(Response::new(body()))
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

/// A body whose piece k is written at k times [`ITL`].
fn paced(pieces: Arc<[Bytes]>) -> impl Body<Data = Bytes, Error = Infallible> + Send {
    let start = Instant::now();
    StreamBody::new(stream::unfold(0, move |k: u32| {
        let pieces = pieces.clone();
        async move {
            let piece = pieces.get(k as usize)?.clone();
            sleep_until(start + ITL * k).await;
            Some((Ok(Frame::data(piece)), k + 1))
        }
    }))
}

async fn serve_grpc(address: SocketAddr, chat: Chat) -> Outcome<()> {
    Ok(tonic::transport::Server::builder().add_service(chat).serve(address).await?)
}

/// The chat service, with the codec that tonic's own build script would give it. It has one answer.
#[derive(Clone)]
enum Chat {
    Whole(Whole),
    Streamed(Streamed),
}

impl Chat {
    fn whole(answers: &[Bytes]) -> Outcome<Self> {
        let answer = answers.first().ok_or("tonic needs an answer")?;
        Ok(Self::Whole(Whole(CreateChatCompletionResponse::decode(&answer[..])?.into())))
    }

    fn streamed(answers: &[Bytes]) -> Outcome<Self> {
        let items = answers.iter().map(|item| StreamChatCompletionResponse::decode(&item[..]));
        Ok(Self::Streamed(Streamed(items.collect::<Result<_, _>>()?)))
    }
}

impl NamedService for Chat {
    const NAME: &'static str = "tokenecho.v1.ChatService";
}

impl Service<http::Request<tonic::body::Body>> for Chat {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let chat = self.clone();
        async move {
            Ok(match chat {
                Self::Whole(whole) => Grpc::new(ProstCodec::default()).unary(whole, request).await,
                Self::Streamed(items) => {
                    Grpc::new(ProstCodec::default()).server_streaming(items, request).await
                }
            })
        }
        .boxed()
    }
}

#[derive(Clone)]
struct Whole(Arc<CreateChatCompletionResponse>);

impl UnaryService<CreateChatCompletionRequest> for Whole {
    type Response = CreateChatCompletionResponse;
    type Future = future::Ready<Result<tonic::Response<Self::Response>, Status>>;

    fn call(&mut self, _: tonic::Request<CreateChatCompletionRequest>) -> Self::Future {
        future::ready(Ok(tonic::Response::new(self.0.as_ref().clone())))
    }
}

#[derive(Clone)]
struct Streamed(Arc<[StreamChatCompletionResponse]>);

impl ServerStreamingService<CreateChatCompletionRequest> for Streamed {
    type Response = StreamChatCompletionResponse;
    type ResponseStream = BoxStream<'static, Result<Self::Response, Status>>;
    type Future = future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: tonic::Request<CreateChatCompletionRequest>) -> Self::Future {
        let items = self.0.clone();
        let items = (0..items.len()).map(move |index| Ok(items[index].clone()));
        future::ready(Ok(tonic::Response::new(stream::iter(items).boxed())))
    }
}
