//! Shutdown: readiness fails first; open streams run to their end, or get a proper error at the timeout.

use std::time::Duration;

use tokio::time::Instant;

use serde_json::json;
use tokenecho::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::http::{chat, events, say, with};
use crate::support::process::Process;
use crate::support::{Target, bare_echo, eventually, grpc, h2, metric, raw, start, with_admin};

/// A server that sends a token every 20 ms, with this shutdown delay and timeout in milliseconds.
async fn draining(delay: u64, timeout: u64) -> Server {
    let pacing = Duration::from_millis(20);
    start(with_admin(bare_echo()).pacing(pacing, pacing).configure(move |config| {
        config.listeners.shutdown_delay = Duration::from_millis(delay);
        config.listeners.shutdown_timeout = Duration::from_millis(timeout);
    }))
    .await
}

fn of_tokens(count: usize) -> serde_json::Value {
    with(say("word"), &json!({"stream": true, "max_tokens": count, "ignore_eos": true}))
}

#[tokio::test]
async fn open_streams_run_to_their_end() {
    let server = draining(0, 10_000).await;
    let mut grpc_chat = grpc::chat(&server).await;
    let stream = chat(&server, &of_tokens(20)).await;
    let mut message = grpc::request(&say("word"));
    message.max_tokens = Some(20);
    message.ignore_eos = Some(true);
    let mut items = grpc_chat.stream_chat_completion(message).await.expect("a stream").into_inner();

    let drain = tokio::spawn(server.drain());
    let (chunks, is_done) = events(stream).await;
    let mut count = 0;
    while items.message().await.expect("no failure").is_some() {
        count += 1;
    }

    assert!(is_done);
    assert_eq!((chunks.len(), count), (22, 22));
    drop(grpc_chat);
    drain.await.expect("drained");
}

#[tokio::test]
async fn streams_beyond_the_timeout_end_with_a_proper_error_on_both_protocols() {
    let server = draining(0, 200).await;
    let mut grpc_chat = grpc::chat(&server).await;
    let stream = chat(&server, &of_tokens(100_000)).await;
    let unary = with(say("word"), &json!({"max_tokens": 100_000, "ignore_eos": true}));
    let message = grpc::request(&unary);
    let mut items = grpc_chat.stream_chat_completion(message).await.expect("a stream").into_inner();
    let begun = Instant::now();
    let waiting = {
        let url = format!("{}/chat/completions", server.base_url());
        tokio::spawn(reqwest::Client::new().post(url).json(&unary).send())
    };
    eventually("three streams", async || {
        metric(&server, "tokenecho_streams_open{protocol=\"http\"}").await > 1
    })
    .await;

    let drain = tokio::spawn(server.drain());
    let (chunks, is_done) = events(stream).await;
    let status = loop {
        match items.message().await {
            Ok(item) => assert!(item.is_some(), "ended without its status"),
            Err(status) => break status,
        }
    };
    let waited = waiting.await.expect("no panic").expect("an answer");
    drop(grpc_chat);
    drain.await.expect("drained");

    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(!is_done);
    assert_eq!(chunks.last().expect("an error")["error"]["code"], "shutting_down");
    assert!(chunks.len() > 3, "it ran until the timeout");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(grpc::failure(&status).1["code"], "shutting_down");
    assert_eq!(waited.status(), 503);
}

#[tokio::test]
async fn readiness_fails_at_once_and_requests_are_still_served_during_the_delay() {
    let server = draining(1_000, 1_000).await;
    let (api, admin) = (server.base_url(), server.admin_url().expect("an admin listener"));
    let ready = format!("{admin}/readyz");
    assert_eq!(reqwest::get(&ready).await.expect("an answer").status(), 200);

    let drain = tokio::spawn(server.drain());
    eventually("not ready", async || reqwest::get(&ready).await.expect("still there").status() == 503).await;
    let served = reqwest::Client::new().post(format!("{api}/chat/completions")).json(&say("Hi")).send().await;
    let live = reqwest::get(format!("{admin}/livez")).await.expect("an answer");

    assert_eq!(served.expect("still served").status(), 200);
    assert_eq!(live.status(), 200);
    drain.await.expect("drained");
    assert!(reqwest::get(&ready).await.is_err(), "the admin listener is closed");
}

#[tokio::test]
async fn a_health_watch_reports_the_drain_and_ends_without_delaying_it() {
    let server = draining(0, 10_000).await;
    let channel = grpc::channel(&server).await;
    let mut health = HealthClient::new(channel.clone());
    let mut known = health.watch(HealthCheckRequest::default()).await.expect("a watch").into_inner();
    let unknown = HealthCheckRequest { service: "no.such.Service".into() };
    let mut unknown = health.watch(unknown).await.expect("a watch").into_inner();
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let mut reflected =
        reflection.server_reflection_info(tokio_stream::pending()).await.expect("a stream").into_inner();
    let mut next = async || known.message().await.expect("no failure").map(|answer| answer.status());
    assert_eq!(next().await, Some(ServingStatus::Serving));
    let first = unknown.message().await.expect("no failure").map(|answer| answer.status());
    assert_eq!(first, Some(ServingStatus::ServiceUnknown));

    let begun = Instant::now();
    let drain = tokio::spawn(server.drain());

    assert_eq!(next().await, Some(ServingStatus::NotServing));
    assert_eq!(next().await, None);
    assert!(unknown.message().await.expect("no failure").is_none());
    assert!(reflected.message().await.expect("no failure").is_none());
    drain.await.expect("drained");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_drain() {
    let server = draining(0, 10_000).await;
    let client = reqwest::Client::new();
    client
        .get(format!("{}/models", server.base_url()))
        .send()
        .await
        .expect("an answer")
        .bytes()
        .await
        .expect("a body");
    let _silent = tokio::net::TcpStream::connect(server.addresses().api).await.expect("a connection");
    let begun = Instant::now();

    server.drain().await;

    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_request_whose_head_had_begun_gets_a_503_and_new_connections_are_refused() {
    let server = draining(0, 2_000).await;
    let address = server.addresses().api;
    let mut begun = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let request = raw::chat(say("Hi").to_string().as_bytes());
    begun.write_all(&request[..20]).await.expect("the server reads");
    // A peer that has not seen the GOAWAY yet: it does not answer pings and keeps sending requests.
    let mut unaware = h2::Peer::connect(address, &[]).await;
    unaware.chat(1, &of_tokens(50).to_string()).await;
    assert!(unaware.until(h2::DATA).await.is_some());

    let drain = tokio::spawn(server.drain());
    eventually("the port is closed", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    begun.write_all(&request[20..]).await.expect("the server still reads");
    let answer = raw::read(&mut begun).await;
    unaware.send(&h2::frame(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, 3, &h2::grpc_head())).await;
    let late = loop {
        let frame = unaware.next_unanswered().await.expect("the connection stays");
        if frame.kind == h2::HEADERS && frame.stream == 3 {
            break frame;
        }
    };
    let mut body = Vec::new();
    while let Some(frame) = unaware.next().await {
        if frame.kind == h2::DATA {
            body.extend(frame.payload);
        }
    }
    drain.await.expect("drained");

    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("shutting_down"), "{answer}");
    assert_eq!(late.flags & h2::END_STREAM, h2::END_STREAM, "a status and nothing else");
    assert!(String::from_utf8_lossy(&body).ends_with("data: [DONE]\n\n"), "the open stream ran to its end");
}

#[tokio::test]
async fn a_second_request_whose_head_had_begun_gets_its_503_too() {
    let server = draining(0, 5_000).await;
    let address = server.addresses().api;
    let mut begun = tokio::net::TcpStream::connect(address).await.expect("a connection");
    begun.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("the server reads");
    let mut first = [0; 12];
    begun.read_exact(&mut first).await.expect("an answer");
    begun.write_all(b"GET /v1/models HTT").await.expect("the server reads");
    // A request on another connection, so that the half head has surely arrived.
    reqwest::get(format!("{}/models", server.base_url())).await.expect("an answer");

    let drain = tokio::spawn(server.drain());
    eventually("the port is closed", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    begun.write_all(b"P/1.1\r\nhost: x\r\n\r\n").await.expect("the server still reads");
    let answer = raw::read(&mut begun).await;

    assert!(answer.contains("HTTP/1.1 503") && answer.contains("connection: close"), "{answer}");
    drain.await.expect("drained");
}

#[tokio::test]
async fn an_old_idle_connection_does_not_delay_the_drain() {
    let age = Duration::from_millis(50);
    let server =
        start(bare_echo().configure(|config| config.limits.connections.max_connection_age = age)).await;
    let mut idle = tokio::net::TcpStream::connect(server.addresses().api).await.expect("a connection");
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("the server reads");
    idle.read_exact(&mut [0; 12]).await.expect("an answer");
    tokio::time::sleep(2 * age).await;
    let begun = Instant::now();

    server.drain().await;

    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_stream_without_delays_ends_with_a_proper_error_too() {
    let server =
        start(bare_echo().configure(|config| config.listeners.shutdown_timeout = Duration::from_millis(200)))
            .await;
    let mut socket = tokio::net::TcpStream::connect(server.addresses().api).await.expect("a connection");
    let endless = with(say("word"), &json!({"stream": true, "max_tokens": 100_000, "ignore_eos": true}));
    socket.write_all(&raw::chat(endless.to_string().as_bytes())).await.expect("the server reads");
    let mut answer = vec![0; 1000];
    socket.read_exact(&mut answer).await.expect("it has begun");

    let drain = tokio::spawn(server.drain());
    // A client that reads more slowly than the server sends, but never stops.
    let mut part = vec![0; 100 * 1024];
    while let Ok(length @ 1..) = socket.read(&mut part).await {
        answer.extend_from_slice(&part[..length]);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drain.await.expect("drained");

    let text = String::from_utf8_lossy(&answer);
    let end = &text[text.len().saturating_sub(300)..];
    assert!(end.contains("shutting_down") && end.ends_with("\r\n0\r\n\r\n"), "{end}");
}

#[tokio::test]
async fn a_request_body_that_is_still_arriving_gets_the_shutting_down_error() {
    let server = draining(0, 5_000).await;
    let address = server.addresses().api;
    let mut http1 = tokio::net::TcpStream::connect(address).await.expect("a connection");
    http1.write_all(&raw::chat(&[b' '; 1000])[..900]).await.expect("the server reads");
    let mut http2 = h2::Peer::connect(address, &[]).await;
    http2.send(&h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::chat_head())).await;
    http2.send(&h2::frame(h2::HEADERS, h2::END_HEADERS, 3, &h2::grpc_head())).await;
    // Its answer shows that the server has seen the two before it.
    http2.chat(5, &say("Hi").to_string()).await;
    while http2.until(h2::DATA).await.expect("an answer").stream != 5 {}
    let begun = Instant::now();

    let drain = tokio::spawn(server.drain());
    let over_http1 = raw::read(&mut http1).await;
    let (mut over_http2, mut status) = (String::new(), None);
    while over_http2.is_empty() || status.is_none() {
        let frame = http2.next_of(&[h2::DATA, h2::HEADERS]).await;
        match (frame.kind, frame.stream) {
            (h2::DATA, 1) => over_http2 = String::from_utf8_lossy(&frame.payload).into_owned(),
            (h2::HEADERS, 3) => status = Some(frame.flags & h2::END_STREAM),
            _ => {}
        }
    }

    assert!(over_http1.starts_with("HTTP/1.1 503") && over_http1.contains("shutting_down"), "{over_http1}");
    assert!(over_http1.contains("connection: close"), "{over_http1}");
    assert!(over_http2.contains("shutting_down"), "{over_http2}");
    assert_eq!(status, Some(h2::END_STREAM), "a status and nothing else");
    assert!(begun.elapsed() < Duration::from_secs(4), "long before the timeout: {:?}", begun.elapsed());
    drop((http1, http2));
    drain.await.expect("drained");
}

#[tokio::test]
async fn half_a_preface_does_not_delay_the_drain() {
    let server = draining(0, 20_000).await;
    let mut peer = tokio::net::TcpStream::connect(server.addresses().api).await.expect("a connection");
    peer.write_all(b"PRI * HTTP/2.0\r\n").await.expect("the server reads");
    // A request on another connection, so that the half preface has surely arrived.
    reqwest::get(format!("{}/models", server.base_url())).await.expect("an answer");
    let address = server.addresses().api;
    let begun = Instant::now();

    let drain = tokio::spawn(server.drain());
    eventually("the port is closed", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    peer.write_all(b"\r\nSM\r\n\r\n").await.expect("the server still reads");
    let mut peer = h2::Peer { socket: peer };
    peer.send(&h2::frame(h2::SETTINGS, 0, 0, &[])).await;
    assert!(peer.until(h2::GOAWAY).await.is_some());
    while peer.next().await.is_some() {}

    drain.await.expect("drained");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_large_request_that_is_still_being_parsed_is_answered_at_shutdown() {
    let server = Process::bare_echo(&["--shutdown-timeout", "500ms"]).await;
    let large = with(say(&"\u{7f}\u{301}".repeat(1_000_000)), &json!({"max_tokens": 1})).to_string();
    let request = raw::chat(large.as_bytes());
    let mut asking = Vec::new();
    for _ in 0..4 {
        let mut socket = tokio::net::TcpStream::connect(server.addresses().api).await.expect("a connection");
        socket.write_all(&request).await.expect("the server reads");
        asking.push(socket);
    }

    server.signal("-TERM").await;
    for socket in &mut asking {
        let answer = raw::read(socket).await;
        // Requests that were parsed in time get a 200.
        assert!(answer.starts_with("HTTP/1.1 503") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    drop(asking);
    assert_eq!(server.end().await.1, Some(0));
}
