//! Request framing: one answer or a close, never two answers to one intended request.

use crate::support::http::{completion, say};
use crate::support::{bare_echo, raw, start};

/// The number of answers in what the server sent.
fn answers(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count()
}

#[tokio::test]
async fn conflicting_or_malformed_framing_gets_one_answer_or_a_close() {
    let server = start(bare_echo().api_key("123").expect("a key")).await;
    let smuggled = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    let post = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer 123\r\ncontent-type: application/json\r\n";
    for framing in [
        "content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "content-length: 5, 6\r\n\r\nhello",
        "content-length: +5\r\n\r\nhello",
        "content-length: -1\r\n\r\n",
        "content-length: 0x5\r\n\r\nhello",
        "content-length: 99999999999999999999\r\n\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding: gzip\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n5;a=\nb\r\nhello\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "transfer-encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n5 5\r\nhello\r\n0\r\n\r\n",
        "content-length : 5\r\n\r\nhello",
        "x: a\r\n b\r\ncontent-length: 5\r\n\r\nhello",
        "x: a\rb\r\ncontent-length: 5\r\n\r\nhello",
        "x: a\0b\r\ncontent-length: 5\r\n\r\nhello",
        " content-length: 5\r\n\r\nhello",
    ] {
        let text =
            raw::exchange(server.addresses().api, format!("{post}{framing}{smuggled}").as_bytes()).await;
        assert!(answers(&text) <= 1, "{framing:?} got two answers: {text}");
        assert!(!text.contains("HTTP/1.1 5"), "{framing:?}: {text}");
    }
    completion(&server, &say("everybody else")).await;
}

#[tokio::test]
async fn pipelined_requests_are_all_answered() {
    let server = start(bare_echo()).await;
    let get = |more: &str| format!("GET /livez HTTP/1.1\r\nhost: x\r\n{more}\r\n");

    let text = raw::exchange(
        server.addresses().api,
        [get(""), get(""), get("connection: close\r\n")].concat().as_bytes(),
    )
    .await;

    assert_eq!(text.matches("HTTP/1.1 200").count(), 3, "{text}");
}

#[tokio::test]
async fn bytes_that_are_not_a_request_get_a_400_or_a_close() {
    let server = start(bare_echo()).await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET /li vez HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        let text = raw::exchange(server.addresses().api, bytes).await;
        let is_refused = text.starts_with("HTTP/1.1 400")
            || text.starts_with("HTTP/1.1 505")
            || !text.starts_with("HTTP/1.1");
        assert!(is_refused, "{:?}: {text}", String::from_utf8_lossy(bytes));
    }
    completion(&server, &say("everybody else")).await;
}

#[tokio::test]
async fn a_body_with_two_transfer_codings_is_a_415() {
    let server = start(bare_echo()).await;
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer 123\r\nconnection: close\r\n";

    let answer = raw::exchange(
        server.addresses().api,
        format!("{head}transfer-encoding: gzip, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n").as_bytes(),
    )
    .await;

    assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
}

#[tokio::test]
async fn http_1_1_needs_one_valid_host_before_it_needs_a_key() {
    let server = start(bare_echo().api_key("123").expect("a key")).await;
    let ask = async |lines: &str| {
        let head = format!("GET /v1/models HTTP/1.1\r\n{lines}connection: close\r\n\r\n");
        let answer = raw::exchange(server.addresses().api, head.as_bytes()).await;
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };

    for lines in
        ["", "host: x\r\nhost: x\r\n", "host: a b\r\n", "host: user@x\r\n", "host: x/y\r\n", "host: x:y\r\n"]
    {
        assert_eq!(ask(lines).await, "400", "{lines:?}");
    }
    for lines in ["host: x\r\n", "host:\r\n", "host: a_b:8000\r\n", "host: [::1]:8000\r\n"] {
        assert_eq!(ask(lines).await, "401", "{lines:?}");
    }
    let absolute = b"GET http://x/livez HTTP/1.1\r\nconnection: close\r\n\r\n";
    assert!(raw::exchange(server.addresses().api, absolute).await.starts_with("HTTP/1.1 400"));
    let older = b"GET /livez HTTP/1.0\r\n\r\n";
    assert!(raw::exchange(server.addresses().api, older).await.starts_with("HTTP/1.0 200"));
}
