//! `tokenecho healthcheck`: checks whether a running server is ready, for images without a shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{ListenerOptions, Port};
use crate::pb::health::health_check_response::ServingStatus;
use crate::pb::health::{HealthCheckRequest, HealthCheckResponse};

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Checks the server that these options start: by `/readyz`, or by its gRPC health service with `grpc`.
///
/// # Errors
/// Why it is not ready, as a sentence.
pub(super) async fn healthcheck(listeners: &ListenerOptions, grpc: bool) -> Result<(), String> {
    let port = match listeners.grpc_port {
        Port::At(port) if grpc => port,
        Port::At(_) | Port::Off => listeners.port,
    };
    let host = reachable(&listeners.host);
    let ask = async {
        let socket = TcpStream::connect((host.as_str(), port)).await.map_err(|error| error.to_string())?;
        if grpc { ask_grpc(socket).await } else { ask_http(socket).await }
    };
    let answer = timeout(PATIENCE, ask).await.unwrap_or_else(|_| Err("no answer".into()));
    answer.map_err(|reason| format!("{host} port {port} is not ready: {reason}"))
}

/// The address to connect to: loopback in place of a wildcard, which is for listening only.
fn reachable(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.to_string(),
        _ => host.to_owned(),
    }
}

async fn ask_http(socket: TcpStream) -> Result<(), String> {
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/readyz").header(header::HOST, "tokenecho").body(Body::empty());
    let response = client.send_request(request.map_err(|error| error.to_string())?).await;
    connection.abort();
    match response {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("/readyz returned {}", response.status())),
        Err(error) => Err(error.to_string()),
    }
}

/// A health check written by hand, as one frame: a gRPC client stack would make the binary much larger.
async fn ask_grpc(socket: TcpStream) -> Result<(), String> {
    let executor = TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, TokioIo::new(socket))
        .await
        .map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let request = Request::post("http://tokenecho/grpc.health.v1.Health/Check")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(frame(&HealthCheckRequest::default())))
        .map_err(|error| error.to_string())?;
    let response = client.send_request(request).await.map_err(|error| error.to_string())?;
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    connection.abort();
    // The message follows the frame's flag and length.
    let answer =
        HealthCheckResponse::decode(body.get(5..).unwrap_or_default()).map_err(|error| error.to_string())?;
    match answer.status() {
        ServingStatus::Serving => Ok(()),
        status => Err(format!("grpc.health.v1.Health returned {}", status.as_str_name())),
    }
}

fn frame(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}
