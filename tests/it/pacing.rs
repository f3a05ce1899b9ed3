//! Pacing over a real socket: the head at once, the role with the first token, no 40 ms of Nagle's algorithm. The
//! schedule itself is tested on a paused clock, beside the engine.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::http::{chat, say, with};
use crate::support::{bare_echo, start};

#[tokio::test]
async fn the_head_leaves_at_once_and_the_role_with_the_first_token() {
    let server = start(bare_echo().pacing(Duration::from_millis(300), Duration::ZERO)).await;
    let begun = Instant::now();

    let response = chat(&server, &with(say("Hi"), &json!({"stream": true}))).await;
    let head = begun.elapsed();
    let body = response.text().await.expect("a body");

    assert!(head < Duration::from_millis(200), "{head:?}");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(body.starts_with("data: ") && body.contains("\"role\":\"assistant\""));
}

/// Without TCP_NODELAY each token waits for the acknowledgement of the one before, 40 ms: 20 tokens at 2 ms would
/// take most of a second.
#[tokio::test]
async fn tokens_are_not_held_back_by_nagles_algorithm() {
    let server = start(bare_echo().pacing(Duration::from_millis(2), Duration::from_millis(2))).await;
    let request = with(say("word"), &json!({"stream": true, "max_tokens": 20, "ignore_eos": true}));
    let mut best = Duration::MAX;

    for _ in 0..5 {
        let begun = Instant::now();
        chat(&server, &request).await.text().await.expect("a body");
        best = best.min(begun.elapsed());
    }

    assert!(best < Duration::from_millis(400), "{best:?}");
}
