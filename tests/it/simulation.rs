//! What a request asks of its own simulation: delays within bounds, failures in their time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokenecho::Server;
use tonic::Code;

use crate::support::http::{chat, failure, say, with};
use crate::support::{bare_echo, grpc, metric, start, with_admin};

/// How long `work` takes, by a clock that is not the product's.
#[expect(
    clippy::disallowed_methods,
    reason = "the product waits by tokio's clock, which is what is measured"
)]
async fn timed<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let begun = Instant::now();
    let done = work.await;
    (begun.elapsed(), done)
}

async fn grpc_failure(server: &Server, request: &Value, streamed: bool) -> tonic::Status {
    let (mut client, request) = (grpc::chat(server).await, grpc::request(request));
    if streamed {
        client.stream_chat_completion(request).await.map(drop).expect_err("a failure")
    } else {
        client.create_chat_completion(request).await.map(drop).expect_err("a failure")
    }
}

#[tokio::test]
async fn a_failure_that_is_asked_for_waits_its_ttft_on_both_protocols() {
    let server = start(bare_echo()).await;
    let (least, most) = (Duration::from_millis(200), Duration::from_secs(2));
    for streamed in [false, true] {
        let request = with(say("Hi"), &json!({"simulation": {"status": 503, "ttft": "200ms"}}));
        let http_request = with(request.clone(), &json!({"stream": streamed}));

        let (over_http, response) = timed(chat(&server, &http_request)).await;
        let (over_grpc, status) = timed(grpc_failure(&server, &request, streamed)).await;

        assert_eq!(response.headers()["x-mock-applied"], "ttft=200ms, status=503");
        assert_eq!(failure(response).await.1["code"], "service_unavailable");
        assert_eq!(status.code(), Code::Unavailable);
        assert!((least..most).contains(&over_http), "{over_http:?}");
        assert!((least..most).contains(&over_grpc), "{over_grpc:?}");
    }
}

#[tokio::test]
async fn a_models_answer_waits_its_ttft_too() {
    let server = start(bare_echo()).await;
    let list = reqwest::Client::new().get(format!("{}/models", server.base_url()));

    let (took, answer) = timed(list.header("x-mock-ttft", "150ms").send()).await;

    assert_eq!(answer.expect("an answer").status(), 200);
    assert!((Duration::from_millis(150)..Duration::from_secs(2)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_waiting_failure_takes_a_slot_like_any_generation() {
    let builder = with_admin(bare_echo());
    let server = start(builder.configure(|config| config.limits.requests.max_generations = 1)).await;
    let slow = with(say("Hi"), &json!({"simulation": {"status": 500, "ttft": "10s"}}));

    let waiting = tokio::spawn({
        let request = reqwest::Client::new().post(format!("{}/chat/completions", server.base_url()));
        async move { request.json(&slow).send().await }
    });
    let mut refused = chat(&server, &say("Hi")).await;
    while refused.status() == 200 {
        refused = chat(&server, &say("Hi")).await;
    }

    assert_eq!(metric(&server, "tokenecho_streams_open{protocol=\"http\"}").await, 1);
    let (status, error) = failure(refused).await;
    assert_eq!((status, &error["code"]), (429, &json!("rate_limit_exceeded")));
    assert_eq!(error["message"], "Too many generations are open (the limit is 1). Try again in 1 s.");
    waiting.abort();
}

#[tokio::test]
async fn a_delay_has_a_cap_which_the_error_names() {
    let server = start(bare_echo()).await;
    let short = Duration::from_secs(1);
    let capped = start(bare_echo().configure(|config| config.service.simulation.max_delay = short)).await;
    for (server, field, given, most) in
        [(&server, "ttft", "11m", "10m"), (&server, "itl", "3days", "10m"), (&capped, "ttft", "1001ms", "1s")]
    {
        let request = with(say("Hi"), &json!({"simulation": {field: given}}));
        let (status, error) = failure(chat(server, &request).await).await;
        assert_eq!((status, &error["param"]), (400, &json!(format!("simulation.{field}"))));
        let message = error["message"].as_str().expect("a sentence");
        assert!(message.ends_with(&format!("Expected a duration of at most {most}.")), "{message}");
        assert_eq!(grpc_failure(server, &request, true).await.code(), Code::InvalidArgument);

        let header = format!("x-mock-{field}");
        let request = reqwest::Client::new().post(format!("{}/chat/completions", server.base_url()));
        let refused = request.header(&header, given).json(&say("Hi")).send().await.expect("an answer");
        assert_eq!(failure(refused).await.1["param"], json!(header));
    }
    let fits = with(say("Hi"), &json!({"simulation": {"ttft": "1ms", "itl": "1s"}}));
    assert_eq!(chat(&capped, &fits).await.status(), 200);
}

#[tokio::test]
async fn failures_that_are_asked_for_are_counted_apart_from_real_ones() {
    let server = start(with_admin(bare_echo())).await;
    let asked = with(say("Hi"), &json!({"simulation": {"status": 500}}));

    assert_eq!(chat(&server, &asked).await.status(), 500);
    grpc_failure(&server, &asked, false).await;
    assert_eq!(chat(&server, &json!({})).await.status(), 400);

    let labels = |protocol: &str, status: &str| {
        format!("{{endpoint=\"chat_completions\",protocol=\"{protocol}\",status=\"{status}\"}}")
    };
    for (protocol, status) in [("http", "500"), ("grpc", "INTERNAL")] {
        let labels = labels(protocol, status);
        assert_eq!(metric(&server, &format!("tokenecho_simulated_failures_total{labels}")).await, 1);
        assert_eq!(metric(&server, &format!("tokenecho_requests_total{labels}")).await, 0);
    }
    assert_eq!(metric(&server, &format!("tokenecho_requests_total{}", labels("http", "400"))).await, 1);
}
