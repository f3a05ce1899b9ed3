//! Size limits: a request that is too large always gets an answer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http::{completion, say};
use crate::support::{bare_echo, h2, raw, start};

const HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";

/// Sends a head and then a body at full speed, and reads the answer to its end.
async fn upload(server: &tokenecho::Server, head: &str, body: Vec<u8>) -> String {
    let mut socket = TcpStream::connect(server.addresses().api).await.expect("a connection");
    socket.write_all(head.as_bytes()).await.expect("the server reads");
    let (mut reading, mut writing) = socket.split();
    let send = async {
        // The server may close before everything is sent; what counts is its answer.
        let _ = writing.write_all(&body).await;
    };
    let read = async {
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = reading.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..length]);
            if String::from_utf8_lossy(&answer).ends_with("}}") {
                break;
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::join!(send, read).1
}

/// A body of one chunk.
fn one_chunk(size: usize) -> Vec<u8> {
    [format!("{size:x}\r\n").into_bytes(), vec![b' '; size], b"\r\n".to_vec()].concat()
}

#[tokio::test]
async fn fifty_megabytes_at_full_speed_get_a_413() {
    let server = start(bare_echo()).await;
    let body = vec![b' '; 50 << 20];

    for _ in 0..3 {
        let declared =
            upload(&server, &format!("{HEAD}content-length: {}\r\n\r\n", body.len()), body.clone()).await;
        assert!(declared.starts_with("HTTP/1.1 413") && declared.contains("request_too_large"), "{declared}");
        assert!(declared.contains("connection: close"), "{declared}");
        let chunked =
            upload(&server, &format!("{HEAD}transfer-encoding: chunked\r\n\r\n"), one_chunk(50 << 20)).await;
        assert!(chunked.starts_with("HTTP/1.1 413") && chunked.contains("request_too_large"), "{chunked}");
    }
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending_its_body() {
    let server = start(bare_echo().api_key("123").expect("a key")).await;
    let body = vec![b' '; 30 << 20];

    let answer = upload(&server, &format!("{HEAD}content-length: {}\r\n\r\n", body.len()), body).await;

    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn a_body_that_will_be_refused_gets_no_100_continue() {
    let server = start(bare_echo().api_key("123").expect("a key")).await;
    let expect = "expect: 100-continue\r\nconnection: close\r\n";
    let ask = async |more: &str| {
        raw::exchange(server.addresses().api, format!("{HEAD}{expect}{more}\r\n").as_bytes()).await
    };

    let keyless = ask("content-length: 10\r\n").await;
    let large = ask("authorization: Bearer 123\r\ncontent-length: 40000000\r\n").await;
    let encoded = ask("authorization: Bearer 123\r\ncontent-encoding: gzip\r\ncontent-length: 10\r\n").await;
    let wanted = ask("authorization: Bearer 123\r\ncontent-length: 10\r\n").await;

    assert!(keyless.starts_with("HTTP/1.1 401"), "{keyless}");
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    assert!(encoded.starts_with("HTTP/1.1 415"), "{encoded}");
    assert!(wanted.starts_with("HTTP/1.1 100"), "{wanted}");
}

#[tokio::test]
async fn a_body_that_is_too_large_after_100_continue_is_a_413() {
    let server = start(bare_echo()).await;
    let head = format!("{HEAD}expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut socket = TcpStream::connect(server.addresses().api).await.expect("a connection");
    socket.write_all(head.as_bytes()).await.expect("the server reads");
    let mut asked = [0; 25];
    socket.read_exact(&mut asked).await.expect("an interim answer");
    // A client that reads only after sending everything would lose the answer if the connection were reset.
    socket.write_all(&one_chunk(50 << 20)).await.expect("the server reads on");
    let answer = raw::read(&mut socket).await;

    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("request_too_large"), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_a_431() {
    let server = start(bare_echo()).await;
    let address = server.addresses().api;
    let long = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(70 * 1024));
    let many = format!("GET /livez HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(200));
    let fits = format!(
        "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: {}\r\n\r\n",
        "y".repeat(30 * 1024)
    );

    for head in [long, many] {
        let answer = raw::exchange(address, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let answer = raw::exchange(address, fits.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_large_on_http2_is_refused_and_the_server_keeps_serving() {
    let server = start(bare_echo()).await;
    let mut peer = h2::Peer::connect(server.addresses().api, &[]).await;
    let many: Vec<_> = (0..200)
        .map(|_| ("x-more", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"))
        .collect();
    let fields = [h2::chat_head(), h2::fields(&many)].concat();
    let (first, rest) = fields.split_at(fields.len() / 2);

    peer.send(
        &[h2::frame(h2::HEADERS, 0, 1, first), h2::frame(h2::CONTINUATION, h2::END_HEADERS, 1, rest)]
            .concat(),
    )
    .await;
    let answer = peer.next_of(&[h2::HEADERS, h2::RST_STREAM, h2::GOAWAY]).await;

    // HPACK's static table has no 431: it is sent as a literal, plain or Huffman-coded, and is not decoded here.
    assert_ne!(answer.kind, h2::DATA);
    completion(&server, &say("everybody else")).await;
}

#[tokio::test]
async fn a_compressed_body_is_refused_before_it_is_unpacked() {
    let server = start(bare_echo()).await;
    let bomb = b"\x1f\x8b\x08\0\0\0\0\0".repeat(1000);

    for encoding in ["gzip", "br", "zstd", "deflate", "identity, gzip"] {
        let head = format!("{HEAD}content-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n", bomb.len());
        let answer = upload(&server, &head, bomb.clone()).await;
        assert!(answer.starts_with("HTTP/1.1 415"), "{encoding}: {answer}");
    }
}

#[tokio::test]
async fn a_refusal_during_an_upload_over_http2_lets_the_client_come_to_its_end() {
    let server = start(bare_echo().api_key("other").expect("a key")).await;
    let mut peer = h2::Peer::connect(server.addresses().api, &[]).await;
    peer.send(&h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::chat_head())).await;
    peer.send(&h2::frame(h2::DATA, 0, 1, &vec![b' '; 16_384])).await;

    let answer = peer.next_of(&[h2::DATA, h2::RST_STREAM]).await;
    for _ in 0..30 {
        peer.send(&h2::frame(h2::DATA, 0, 1, &vec![b' '; 16_384])).await;
    }
    peer.send(&h2::frame(h2::DATA, h2::END_STREAM, 1, b" ")).await;
    let end = peer.next_of(&[h2::DATA, h2::RST_STREAM]).await;

    assert!(String::from_utf8_lossy(&answer.payload).contains("invalid_api_key"));
    assert_eq!(answer.flags & h2::END_STREAM, 0, "it ends when the request body has");
    assert_eq!((end.kind, end.flags & h2::END_STREAM), (h2::DATA, h2::END_STREAM));
}
