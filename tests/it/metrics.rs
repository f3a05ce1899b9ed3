//! The metrics: they count what happened.

use serde_json::json;
use std::time::Duration;

use crate::support::http::{chunks, completion, say, with};
use crate::support::{bare_echo, grpc, metric, start, with_admin};

#[tokio::test]
async fn requests_tokens_and_times_are_counted() {
    let server =
        start(with_admin(bare_echo()).pacing(Duration::from_millis(2), Duration::from_millis(2))).await;

    completion(&server, &with(say("one two three"), &json!({"n": 2}))).await;
    chunks(&server, &say("one two three")).await;
    grpc::chat(&server).await.create_chat_completion(grpc::request(&say("one"))).await.expect("an answer");
    reqwest::get(format!("{}/models", server.base_url())).await.expect("an answer");

    for (series, value) in [
        ("tokenecho_requests_total{endpoint=\"chat_completions\",protocol=\"http\",status=\"200\"}", 2),
        ("tokenecho_requests_total{endpoint=\"chat_completions\",protocol=\"grpc\",status=\"OK\"}", 1),
        ("tokenecho_requests_total{endpoint=\"models\",protocol=\"http\",status=\"200\"}", 1),
        ("tokenecho_tokens_total{direction=\"completion\"}", 10),
        ("tokenecho_tokens_total{direction=\"prompt\"}", 25),
        ("tokenecho_ttft_seconds_count", 3),
        ("tokenecho_itl_seconds_count", 4),
        ("tokenecho_lateness_seconds_count", 10),
    ] {
        assert_eq!(metric(&server, series).await, value, "{series}");
    }
    let at_once = metric(&server, "tokenecho_ttft_seconds_bucket{le=\"0.001\"}").await;
    assert_eq!(at_once, 0, "all of them waited 2 ms");
}

#[tokio::test]
async fn failed_keys_are_counted_by_their_reason() {
    let server = start(with_admin(bare_echo().api_key("123").expect("a key"))).await;
    let url = format!("{}/models", server.base_url());

    reqwest::get(&url).await.expect("an answer");
    reqwest::Client::new().get(&url).bearer_auth("124").send().await.expect("an answer");

    assert_eq!(metric(&server, "tokenecho_auth_failures_total{reason=\"missing\"}").await, 1);
    assert_eq!(metric(&server, "tokenecho_auth_failures_total{reason=\"wrong\"}").await, 1);
}
