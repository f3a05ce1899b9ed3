//! Slow, silent and half-broken peers: each is closed within its timeout, and all other clients are served meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use serde_json::json;
use tokenecho::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http::{chat, completion, say, with};
use crate::support::{bare_echo, eventually, h2, metric, raw, start, with_admin};

const SHORT: Duration = Duration::from_millis(300);

/// A server with short timeouts.
async fn impatient() -> Server {
    start(with_admin(bare_echo()).configure(|config| {
        config.limits.connections.head_timeout = SHORT;
        config.limits.requests.body_timeout = SHORT;
        config.limits.connections.idle_timeout = 2 * SHORT;
        config.limits.connections.reader_timeout = SHORT;
    }))
    .await
}

/// Sends `bytes`, then `drip` repeatedly until the server closes; returns how long that took.
async fn closed_after(address: SocketAddr, bytes: &[u8], drip: &[u8]) -> Duration {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let begun = Instant::now();
    socket.write_all(bytes).await.expect("the server reads");
    let mut buffer = [0; 1024];
    while begun.elapsed() < Duration::from_secs(10) {
        match tokio::time::timeout(SHORT / 6, socket.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return begun.elapsed(),
            Ok(Ok(_)) => {}
            Err(_) => drop(socket.write_all(drip).await),
        }
    }
    panic!("never closed: {:?}", String::from_utf8_lossy(bytes));
}

#[tokio::test]
async fn a_peer_that_does_not_come_to_the_point_is_gone_in_its_time() {
    let server = impatient().await;
    let address = server.addresses().api;

    for (bytes, drip) in [
        (&b""[..], &b""[..]),
        (b"P", b""),
        (b"PRI * HTTP/2.0\r\n\r\n", b""),
        (b"GET /livez HTTP/1.1\r\n", b""),
        (b"GET /livez HTTP/1.1\r\nx: ", b"y"),
        (b"", b"\r\n"),
    ] {
        let took = closed_after(address, bytes, drip).await;
        assert!(took >= SHORT / 2 && took < 5 * SHORT, "{took:?}: {:?}", String::from_utf8_lossy(bytes));
        completion(&server, &say("everybody else")).await;
    }
}

#[tokio::test]
async fn a_slow_second_head_is_gone_like_a_slow_first() {
    let server = impatient().await;

    let took =
        closed_after(server.addresses().api, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nGET /li", b"v").await;

    assert!(took < 5 * SHORT, "{took:?}");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_head_timeout_and_not_its_own() {
    let server = impatient().await;

    let took = closed_after(server.addresses().api, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", b"").await;

    assert!(took >= SHORT * 7 / 4 && took < 6 * SHORT, "{took:?}");
}

#[tokio::test]
async fn an_idle_http2_connection_stays() {
    let server = impatient().await;
    let mut peer = h2::Peer::connect(server.addresses().api, &[]).await;

    tokio::time::sleep(4 * SHORT).await;
    peer.chat(1, &say("still here").to_string()).await;

    assert!(peer.until(h2::DATA).await.is_some());
}

#[tokio::test]
async fn a_connection_that_waits_for_a_slow_answer_is_not_closed() {
    let server = impatient().await;
    let slow = with(say("word"), &json!({"simulation": {"ttft": "1200ms"}}));

    completion(&server, &slow).await;
    assert_eq!(
        chat(&server, &with(slow, &json!({"stream": true})))
            .await
            .text()
            .await
            .expect("whole")
            .matches("data:")
            .count(),
        4
    );
}

#[tokio::test]
async fn a_body_that_drips_is_a_408_on_http1_and_http2() {
    let server = impatient().await;
    let address = server.addresses().api;
    let head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";

    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let (mut reading, mut writing) = socket.split();
    let drip = async {
        writing.write_all(head).await.expect("the server reads");
        loop {
            tokio::time::sleep(SHORT / 6).await;
            if writing.write_all(b" ").await.is_err() {
                return;
            }
        }
    };
    let mut answer = [0; 12];
    tokio::select! {
        () = drip => {}
        _ = reading.read_exact(&mut answer) => {}
    }
    assert_eq!(&answer, b"HTTP/1.1 408");

    let mut peer = h2::Peer::connect(address, &[]).await;
    peer.send(&h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::chat_head())).await;
    let over_http2 = peer.until(h2::DATA).await.expect("an answer");
    assert!(String::from_utf8_lossy(&over_http2.payload).contains("request_timeout"));
}

#[tokio::test]
async fn a_grpc_message_that_drips_is_a_deadline_exceeded() {
    let server = impatient().await;
    let mut peer = h2::Peer::connect(server.addresses().api, &[]).await;

    peer.send(&h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::grpc_head())).await;
    peer.send(&h2::frame(h2::DATA, 0, 1, b"\0\0\0")).await;

    assert!(peer.until(h2::HEADERS).await.is_some());
    let ended = "tokenecho_requests_total{endpoint=\"chat_completions\",protocol=\"grpc\",status=\"DEADLINE_EXCEEDED\"}";
    eventually("the status is counted", async || metric(&server, ended).await == 1).await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_loses_its_stream_on_http2() {
    let server = impatient().await;
    // An empty window: the server cannot send any data.
    let mut peer = h2::Peer::connect(server.addresses().api, &[(4, 0)]).await;
    let endless = with(say("word"), &json!({"stream": true, "max_tokens": 100_000, "ignore_eos": true}));

    let waiting = with(say("the connection lives"), &json!({"simulation": {"ttft": "2s"}}));

    peer.chat(1, &endless.to_string()).await;
    peer.chat(3, &waiting.to_string()).await;

    let reset = peer.until(h2::RST_STREAM).await.expect("the stream is reset, the connection stays");
    assert_eq!(reset.stream, 1);
    peer.send(&h2::frame(h2::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])).await;
    assert_eq!(peer.until(h2::DATA).await.expect("an answer").stream, 3);
}

#[tokio::test]
async fn a_client_that_reads_nothing_loses_its_connection_on_http1() {
    let server = impatient().await;
    let endless =
        with(say(&"word".repeat(200)), &json!({"stream": true, "max_tokens": 100_000, "ignore_eos": true}));
    let mut socket = TcpStream::connect(server.addresses().api).await.expect("a connection");

    socket.write_all(&raw::chat(endless.to_string().as_bytes())).await.expect("the server reads");

    let open = async || metric(&server, "tokenecho_streams_open{protocol=\"http\"}").await;
    eventually("it is open", async || open().await == 1).await;
    eventually("it is not", async || open().await == 0).await;
}

/// A server that pings a silent HTTP/2 peer after 100 ms and gives it 200 ms.
async fn pinging() -> Server {
    start(bare_echo().configure(|config| {
        config.limits.connections.ping_interval = Duration::from_millis(100);
        config.limits.connections.ping_timeout = Duration::from_millis(200);
    }))
    .await
}

#[tokio::test]
async fn a_peer_that_falls_silent_after_the_preface_is_pinged_and_closed() {
    let server = pinging().await;
    let begun = Instant::now();
    let mut silent = TcpStream::connect(server.addresses().api).await.expect("a connection");

    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("the server reads");
    raw::read(&mut silent).await;

    let elapsed = begun.elapsed();
    assert!((Duration::from_millis(250)..Duration::from_millis(1500)).contains(&elapsed), "{elapsed:?}");
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_closed() {
    let server = pinging().await;
    let begun = Instant::now();
    let mut silent = h2::Peer::connect(server.addresses().api, &[]).await;

    while silent.next_unanswered().await.is_some() {}

    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_thousand_idle_and_two_thousand_short_connections_leave_nothing_behind() {
    let server = start(with_admin(bare_echo())).await;
    let address = server.addresses().api;
    let open = async || metric(&server, "tokenecho_connections_open").await;

    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(TcpStream::connect(address).await.expect("a connection"));
    }
    for _ in 0..2000 {
        drop(TcpStream::connect(address).await.expect("a connection"));
    }

    completion(&server, &say("everybody else")).await;
    drop(idle);
    // Reading the metrics keeps one connection open.
    eventually("all are gone", async || open().await <= 2).await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_a_free_slot() {
    let server = start(bare_echo().configure(|config| config.limits.connections.max_connections = 2)).await;
    let address = server.addresses().api;
    let first = TcpStream::connect(address).await.expect("a connection");
    let _second = TcpStream::connect(address).await.expect("a connection");
    let mut third = TcpStream::connect(address).await.expect("the backlog takes it");
    third.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("sent");

    let mut buffer = [0; 1];
    let waits = tokio::time::timeout(Duration::from_millis(200), third.read(&mut buffer)).await;
    drop(first);
    let answer = raw::read(&mut third).await;

    assert!(waits.is_err(), "it was served beyond the limit");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn an_old_connection_is_asked_to_leave_and_its_open_streams_run_to_their_end() {
    let pacing = Duration::from_millis(20);
    let server = start(bare_echo().pacing(pacing, pacing).configure(|config| {
        config.limits.connections.max_connection_age = Duration::from_millis(200);
    }))
    .await;
    let long = with(say("word"), &json!({"stream": true, "max_tokens": 30, "ignore_eos": true}));

    let mut peer = h2::Peer::connect(server.addresses().api, &[]).await;
    peer.chat(1, &long.to_string()).await;
    assert!(peer.until(h2::GOAWAY).await.is_some());
    let mut text = Vec::new();
    while let Some(frame) = peer.next().await {
        if frame.kind == h2::DATA {
            text.extend(frame.payload);
        }
    }
    let over_http1 = raw::exchange(server.addresses().api, &raw::chat(long.to_string().as_bytes())).await;

    assert!(String::from_utf8_lossy(&text).ends_with("data: [DONE]\n\n"), "cut off by the age limit");
    assert!(over_http1.contains("data: [DONE]"), "cut off by the age limit");
}

#[tokio::test]
async fn a_reader_that_leaves_the_tail_of_an_answer_loses_its_connection() {
    let server = impatient().await;
    let mut peer = h2::Peer::connect(server.addresses().api, &[(4, 1)]).await;

    peer.chat(1, &say(&"word".repeat(1000)).to_string()).await;

    assert!(peer.until(h2::RST_STREAM).await.is_some());
    assert!(peer.is_ended().await, "nothing else is open on the connection");
}

#[tokio::test]
async fn a_deadline_ends_a_call_whose_client_reads_nothing() {
    let server = start(with_admin(bare_echo())).await;
    let mut peer = h2::Peer::connect(server.addresses().api, &[(4, 100)]).await;
    let head = [h2::grpc_stream_head(), h2::fields(&[("grpc-timeout", "300m")])].concat();
    let endless = with(say("word"), &json!({"max_tokens": 100_000, "ignore_eos": true}));
    let begun = Instant::now();

    peer.send(&h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &head)).await;
    peer.send(&h2::frame(h2::DATA, h2::END_STREAM, 1, &crate::support::grpc::framed(&endless))).await;
    assert!(peer.until(h2::RST_STREAM).await.is_some());

    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    eventually("nothing is open", async || {
        metric(&server, "tokenecho_streams_open{protocol=\"grpc\"}").await == 0
    })
    .await;
}

#[tokio::test]
async fn an_old_connection_leaves_no_request_without_an_answer() {
    let server = start(bare_echo().configure(|config| {
        config.limits.connections.max_connection_age = Duration::from_millis(100);
    }))
    .await;

    for _ in 0..3 {
        let mut socket = TcpStream::connect(server.addresses().api).await.expect("a connection");
        let mut is_closing = false;
        while !is_closing {
            socket.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("the server reads");
            let mut answer = String::new();
            while !answer.ends_with("ok\n") {
                let mut buffer = [0; 1024];
                let length = socket.read(&mut buffer).await.expect("bytes");
                assert!(length > 0, "closed without an answer");
                answer.push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
            is_closing = answer.contains("connection: close");
        }
    }
}

#[tokio::test]
async fn an_ignored_body_does_not_count_as_a_slow_head() {
    let server = impatient().await;
    let mut socket = TcpStream::connect(server.addresses().api).await.expect("a connection");
    socket.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\n\r\n").await.expect("sent");

    for _ in 0..12 {
        tokio::time::sleep(SHORT / 6).await;
        socket.write_all(b"x").await.expect("the server reads on");
    }

    assert!(raw::read(&mut socket).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_reads_slowly_keeps_its_stream() {
    let server = start(with_admin(bare_echo()).configure(|config| {
        config.limits.connections.reader_timeout = Duration::from_secs(1);
    }))
    .await;
    let endless = with(say("word"), &json!({"stream": true, "max_tokens": 100_000, "ignore_eos": true}));
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(64 * 1024).expect("an option");
    let mut socket = socket.connect(server.addresses().api).await.expect("a connection");
    socket.write_all(&raw::chat(endless.to_string().as_bytes())).await.expect("the server reads");

    let begun = Instant::now();
    let mut part = vec![0; 64 * 1024];
    while begun.elapsed() < Duration::from_secs(4) {
        let length = socket.read(&mut part).await.expect("it goes on");
        assert!(length > 0, "closed after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    assert_eq!(metric(&server, "tokenecho_streams_open{protocol=\"http\"}").await, 1);
}

#[tokio::test]
async fn streams_that_stall_repeatedly_end_no_other_stream_of_their_connection() {
    let server = start(with_admin(bare_echo()).pacing(Duration::ZERO, Duration::from_millis(100)).configure(
        |config| {
            config.limits.connections.reader_timeout = SHORT;
        },
    ))
    .await;
    // Empty windows, except for the stream that lives.
    let mut peer = h2::Peer::connect(server.addresses().api, &[(4, 0)]).await;
    let lives = with(say("word"), &json!({"stream": true, "max_tokens": 40, "ignore_eos": true}));
    peer.chat(1, &lives.to_string()).await;
    peer.send(&h2::frame(h2::WINDOW_UPDATE, 0, 1, &1_000_000_u32.to_be_bytes())).await;
    let stalls = with(say("word"), &json!({"stream": true, "simulation": {"itl": "0s"}})).to_string();
    for stream in 1..=70 {
        peer.chat(2 * stream + 1, &stalls).await;
    }

    let (mut resets, mut is_asked_to_leave, mut body) = (0, false, Vec::new());
    while let Some(frame) = peer.next().await {
        match (frame.kind, frame.stream) {
            (h2::RST_STREAM, _) => resets += 1,
            (h2::GOAWAY, _) => is_asked_to_leave = true,
            (h2::DATA, 1) => body.extend(frame.payload),
            _ => {}
        }
    }

    assert_eq!(resets, 70);
    assert!(is_asked_to_leave);
    assert!(String::from_utf8_lossy(&body).ends_with("data: [DONE]\n\n"), "it ran to its end");
}
