//! HTTP/2 floods: each is absorbed or ends with GOAWAY, and all other clients are served.

use std::time::Duration;

use serde_json::json;

use crate::support::h2::{self, Peer, frame};
use crate::support::http::{completion, say, with};
use crate::support::process::Process;
use crate::support::{Target, bare_echo, eventually, metric, start, with_admin};

const FLOOD: usize = 20_000;
/// How many bytes of memory a flood may leave behind.
const FLAT: u64 = 4 << 20;

/// Sends the frames of a flood until all are sent or the server has closed; then checks that the server is as before.
async fn flood(server: &Process, frames: impl Fn(u32) -> Vec<u8>) -> Peer {
    completion(server, &say("warm")).await;
    let before = server.resident();
    let mut peer = Peer::connect(server.addresses().api, &[]).await;
    let mut batch = Vec::new();
    for index in 0..FLOOD {
        batch.extend(frames(u32::try_from(index).expect("small")));
        if batch.len() > 16 * 1024 && !peer.send(&std::mem::take(&mut batch)).await {
            break;
        }
    }
    peer.send(&batch).await;
    completion(server, &say("everybody else")).await;
    eventually("the processor is idle", async || {
        let used = server.processor_time();
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.processor_time() <= used + Duration::from_millis(10)
    })
    .await;
    let grown = server.resident().saturating_sub(before);
    assert!(grown < FLAT, "{} KiB more", grown >> 10);
    peer
}

#[tokio::test]
async fn a_rapid_reset_ends_its_connection() {
    let server = Process::bare_echo(&[]).await;
    let request = |index: u32| {
        let stream = 2 * index + 1;
        let head = frame(h2::HEADERS, h2::END_HEADERS, stream, &h2::chat_head());
        [head, frame(h2::RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };

    let mut peer = flood(&server, request).await;

    assert!(peer.is_ended().await);
    eventually("nothing is open", async || {
        metric(&server, "tokenecho_streams_open{protocol=\"http\"}").await == 0
    })
    .await;
}

#[tokio::test]
async fn resets_that_the_server_is_made_to_send_are_bounded() {
    let server = Process::bare_echo(&[]).await;
    // A window update of zero is an error of the stream, which the server must reset (MadeYouReset).
    let request = |index: u32| {
        let stream = 2 * index + 1;
        let head = frame(h2::HEADERS, h2::END_HEADERS, stream, &h2::chat_head());
        [head, frame(h2::WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes())].concat()
    };

    let mut peer = flood(&server, request).await;

    assert!(peer.is_ended().await);
}

#[tokio::test]
async fn floods_of_control_frames_are_absorbed_or_end_their_connection() {
    let server = Process::bare_echo(&[]).await;

    flood(&server, |_| frame(h2::PING, 0, 0, &[0; 8])).await;
    flood(&server, |_| frame(h2::SETTINGS, 0, 0, &[])).await;
    flood(&server, |_| frame(h2::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())).await;
    flood(&server, |index| frame(h2::PRIORITY, 0, 2 * index + 1, &[0, 0, 0, 0, 1])).await;
}

#[tokio::test]
async fn a_flood_of_continuations_ends_its_connection() {
    let server = Process::bare_echo(&[]).await;
    let head = |index: u32| match index {
        0 => frame(h2::HEADERS, 0, 1, &h2::chat_head()),
        _ => frame(h2::CONTINUATION, 0, 1, &h2::fields(&[("x-more", "and more")])),
    };

    let mut peer = flood(&server, head).await;

    assert!(peer.is_ended().await);
}

#[tokio::test]
async fn a_flood_of_empty_data_is_absorbed_or_ends_its_connection() {
    let server = Process::bare_echo(&[]).await;
    let request = |index: u32| match index {
        0 => frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::chat_head()),
        _ => frame(h2::DATA, 0, 1, &[]),
    };

    flood(&server, request).await;
}

#[tokio::test]
async fn a_header_bomb_is_refused() {
    let server = Process::bare_echo(&[]).await;
    let mut peer = Peer::connect(server.addresses().api, &[]).await;
    // One field of 100 bytes is added to the table, then referenced ten thousand times with one byte each.
    let entry = [&[0x40, 1, b'x', 100][..], &[b'y'; 100]].concat();
    let bomb = [h2::chat_head(), entry, vec![0xbe; 10_000]].concat();

    peer.send(&frame(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, 1, &bomb)).await;
    let answer = peer.next_of(&[h2::HEADERS, h2::RST_STREAM, h2::GOAWAY]).await;

    if answer.kind == h2::HEADERS {
        assert!(
            answer.payload.windows(3).any(|bytes| bytes == b"431") || answer.payload.contains(&0x08),
            "{answer:?}"
        );
    }
    completion(&server, &say("everybody else")).await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_and_counted() {
    let server = start(
        with_admin(bare_echo()).configure(|config| config.limits.connections.max_streams_per_connection = 10),
    )
    .await;
    let mut peer = Peer::connect(server.addresses().api, &[]).await;
    let waiting = with(say("word"), &json!({"simulation": {"ttft": "10s"}})).to_string();

    for index in 0..20 {
        peer.chat(2 * index + 1, &waiting).await;
    }
    let reset = peer.until(h2::RST_STREAM).await.expect("a refusal");

    assert_eq!(reset.payload, 7_u32.to_be_bytes(), "REFUSED_STREAM");
    assert_eq!(metric(&server, "tokenecho_connections_at_stream_limit_total").await, 1);
}

#[tokio::test]
async fn ten_thousand_streams_of_one_connection_are_answered() {
    let server = Process::bare_echo(&[]).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let url = format!("{}/chat/completions", server.url("/v1"));

    let mut calls = tokio::task::JoinSet::new();
    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(1000));
    for _ in 0..10_000 {
        let (client, url, slots) = (client.clone(), url.clone(), std::sync::Arc::clone(&slots));
        calls.spawn(async move {
            let _slot = slots.acquire().await.expect("open");
            let response = client.post(url).json(&say("Hi")).send().await.expect("an answer");
            let status = response.status().as_u16();
            response.bytes().await.expect("a body");
            status
        });
    }

    assert!(calls.join_all().await.iter().all(|status| *status == 200));
}
