//! Callers who leave: the server notices at once and keeps nothing of their requests.

use serde_json::json;
use std::time::Duration;

use crate::support::http::{chat, completion, say, with};
use crate::support::{bare_echo, eventually, grpc, metric, start, with_admin};

#[tokio::test]
async fn a_caller_who_leaves_is_noticed_and_frees_its_slots() {
    let pacing = Duration::from_millis(20);
    let server = start(
        with_admin(bare_echo())
            .pacing(pacing, pacing)
            .configure(|config| config.limits.requests.max_generations = 2),
    )
    .await;
    let endless = with(say("word"), &json!({"stream": true, "max_tokens": 100_000, "ignore_eos": true}));
    let open = async |protocol: &str| {
        metric(&server, &format!("tokenecho_streams_open{{protocol=\"{protocol}\"}}")).await
    };

    let stream = chat(&server, &endless).await;
    let mut client = grpc::chat(&server).await;
    let items =
        client.stream_chat_completion(grpc::request(&without_stream(&endless))).await.expect("a stream");
    assert_eq!((open("http").await, open("grpc").await), (1, 1));
    assert_eq!(chat(&server, &say("one too many")).await.status(), 429);

    drop((stream, items));

    eventually("no stream is open", async || (open("http").await, open("grpc").await) == (0, 0)).await;
    completion(&server, &say("there is room again")).await;
}

#[tokio::test]
async fn a_caller_who_leaves_a_unary_call_is_noticed_too() {
    let server = start(with_admin(bare_echo()).pacing(Duration::from_secs(60), Duration::ZERO)).await;
    let url = format!("{}/chat/completions", server.base_url());
    let open = async || metric(&server, "tokenecho_streams_open{protocol=\"http\"}").await;

    let waiting = tokio::spawn(reqwest::Client::new().post(url).json(&say("Hi")).send());
    eventually("it is open", async || open().await == 1).await;
    waiting.abort();

    eventually("it is not", async || open().await == 0).await;
    let left = "tokenecho_requests_total{endpoint=\"chat_completions\",protocol=\"http\",status=\"499\"}";
    eventually("it is counted", async || metric(&server, left).await == 1).await;
}

fn without_stream(request: &serde_json::Value) -> serde_json::Value {
    let mut request = request.clone();
    request.as_object_mut().expect("an object").remove("stream");
    request
}
