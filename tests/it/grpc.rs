//! What only gRPC has: reflection, health, error details, deadlines, the format of calls.

use std::time::Duration;

use tokio::time::Instant;

use serde_json::json;
use tokenecho::pb::{ChatMessage, ContentPart, ContentParts, CreateChatCompletionRequest, chat_message};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::support::http::{say, with};
use crate::support::{bare_echo, grpc, h2, raw, start};

#[tokio::test]
async fn health_lists_every_service_and_the_server_without_a_key() {
    use tokenecho::pb::health::{HealthListRequest, health_client::HealthClient};
    let server = start(bare_echo().api_key("123").expect("a key")).await;
    let mut health = HealthClient::new(grpc::channel(&server).await);

    let statuses = health.list(HealthListRequest {}).await.expect("it is open").into_inner().statuses;

    let mut services: Vec<_> = statuses.iter().map(|(name, health)| (name.as_str(), health.status)).collect();
    services.sort_unstable();
    let serving = ServingStatus::Serving as i32;
    let names = ["", "grpc.health.v1.Health", "tokenecho.v1.ChatService", "tokenecho.v1.ModelService"];
    assert_eq!(services, names.map(|name| (name, serving)));
}

#[tokio::test]
async fn health_is_serving_for_the_server_and_every_service() {
    let server = start(bare_echo()).await;
    let mut health = HealthClient::new(grpc::channel(&server).await);
    let mut check = async |service: &str| health.check(HealthCheckRequest { service: service.into() }).await;

    for service in ["", "tokenecho.v1.ChatService", "tokenecho.v1.ModelService", "grpc.health.v1.Health"] {
        let answer = check(service).await.expect("an answer").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    assert_eq!(check("no.such.Service").await.expect_err("unknown").code(), Code::NotFound);
}

#[tokio::test]
async fn a_bad_request_names_its_field_in_the_details() {
    let server = start(bare_echo()).await;
    let mut chat = grpc::chat(&server).await;

    let status =
        chat.create_chat_completion(grpc::request(&with(say("x"), &json!({"n": 129})))).await.expect_err("n");

    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let violation = &details.bad_request().expect("BadRequest").field_violations[0];
    assert_eq!(violation.field, "n");
    assert_eq!(violation.description, status.message());
    assert_eq!(details.error_info().expect("ErrorInfo").reason, "INTEGER_ABOVE_MAX_VALUE");
}

#[tokio::test]
async fn values_that_only_grpc_can_express_are_checked_too() {
    let server = start(bare_echo()).await;
    let mut chat = grpc::chat(&server).await;
    let empty_part = chat_message::Content::Parts(ContentParts { parts: vec![ContentPart { part: None }] });
    let message = |role, content| CreateChatCompletionRequest {
        messages: vec![ChatMessage { role, content, ..Default::default() }],
        ..Default::default()
    };
    let text = || Some(chat_message::Content::Text("x".into()));
    for (request, param) in [
        (message(0, text()), "messages[0].role"),
        (message(99, text()), "messages[0].role"),
        (message(3, Some(empty_part)), "messages[0].content[0].type"),
        (CreateChatCompletionRequest { temperature: Some(f64::NAN), ..message(3, text()) }, "temperature"),
        (
            CreateChatCompletionRequest { tool_choice_json: Some("{".into()), ..message(3, text()) },
            "tool_choice_json",
        ),
    ] {
        let status = chat.create_chat_completion(request).await.expect_err(param);
        assert_eq!(
            (status.code(), grpc::failure(&status).1["param"].as_str()),
            (Code::InvalidArgument, Some(param))
        );
    }
}

fn endless_body() -> serde_json::Value {
    with(say("one two"), &json!({"max_tokens": 1000, "ignore_eos": true}))
}

#[tokio::test]
async fn a_deadline_ends_a_stream() {
    let server = start(bare_echo().pacing(Duration::from_millis(50), Duration::from_millis(50))).await;
    let mut call = Request::new(grpc::request(&endless_body()));
    call.metadata_mut().insert("grpc-timeout", "300m".parse().expect("metadata"));
    let begun = Instant::now();

    let mut items =
        grpc::chat(&server).await.stream_chat_completion(call).await.expect("a stream").into_inner();
    let mut count = 0;
    let status = loop {
        match items.message().await {
            Ok(Some(_)) => count += 1,
            Ok(None) => panic!("ended without its status"),
            Err(status) => break status,
        }
    };

    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(grpc::failure(&status).1["code"], "timeout");
    assert!(count >= 3, "tokens came before the deadline: {count}");
}

#[tokio::test]
async fn a_deadline_ends_a_unary_call() {
    let server = start(bare_echo().pacing(Duration::from_millis(50), Duration::from_millis(50))).await;
    // Without tonic's client, which enforces the deadline too and might be faster.
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let body = grpc::framed(&endless_body());
    let begun = Instant::now();

    let url = format!("{}/tokenecho.v1.ChatService/CreateChatCompletion", server.grpc_endpoint());
    let call =
        client.post(url).header("content-type", "application/grpc").header("grpc-timeout", "200m").body(body);
    let answer = call.send().await.expect("an answer");

    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(answer.headers()["grpc-status"], (Code::DeadlineExceeded as i32).to_string().as_str());
}

/// A failure before the first message is one frame of headers that ends the stream (Trailers-Only): grpc-core loses
/// the status of anything else.
#[tokio::test]
async fn an_early_failure_is_one_frame_with_and_without_a_deadline() {
    let server = start(bare_echo()).await;
    for timeout in [None, Some(("grpc-timeout", "20S"))] {
        let mut peer = h2::Peer::connect(server.addresses().api, &[]).await;
        let head = [h2::grpc_head(), timeout.map(|field| h2::fields(&[field])).unwrap_or_default()].concat();
        let body = h2::frame(h2::DATA, h2::END_STREAM, 1, &[0; 5]);
        peer.send(&[h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &head), body].concat()).await;

        let answer = peer.until(h2::HEADERS).await.expect("an answer");

        assert_eq!(answer.flags & h2::END_STREAM, h2::END_STREAM, "{timeout:?}");
    }
}

#[tokio::test]
async fn a_malformed_timeout_is_an_invalid_argument() {
    let server = start(bare_echo()).await;
    let mut chat = grpc::chat(&server).await;
    for nonsense in ["soon", "1", "-1S", "123456789S"] {
        let mut call = Request::new(grpc::request(&say("x")));
        call.metadata_mut().insert("grpc-timeout", nonsense.parse().expect("metadata"));
        let status = chat.create_chat_completion(call).await.expect_err(nonsense);
        assert_eq!(
            (status.code(), grpc::failure(&status).1["param"].as_str()),
            (Code::InvalidArgument, Some("grpc-timeout"))
        );
    }
}

#[tokio::test]
async fn metadata_carries_request_ids_and_directives_both_ways() {
    let server = start(bare_echo()).await;
    let mut chat = grpc::chat(&server).await;
    let mut call = Request::new(grpc::request(&say("x")));
    call.metadata_mut().insert("x-request-id", "mine-2".parse().expect("metadata"));
    call.metadata_mut().insert("x-mock-ttft", "1ms".parse().expect("metadata"));

    let answer = chat.create_chat_completion(call).await.expect("an answer");
    let mut failing = Request::new(grpc::request(&say("x")));
    failing.metadata_mut().insert("x-mock-status", "429".parse().expect("metadata"));
    let failed = chat.stream_chat_completion(failing).await.expect_err("a failure");

    assert_eq!(answer.metadata().get("x-request-id").expect("an id"), "mine-2");
    assert_eq!(answer.metadata().get("x-mock-applied").expect("the directives"), "ttft=1ms");
    assert_eq!(failed.code(), Code::ResourceExhausted);
    assert_eq!(
        failed.get_error_details().retry_info().and_then(|info| info.retry_delay),
        Some(Duration::from_secs(1))
    );
}

#[tokio::test]
async fn a_message_that_is_too_large_is_resource_exhausted_without_a_retry() {
    let server = start(bare_echo().configure(|config| config.limits.requests.max_body = 1000)).await;
    let mut chat = grpc::chat(&server).await;

    let status =
        chat.create_chat_completion(grpc::request(&say(&"x".repeat(2000)))).await.expect_err("too large");

    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(
        grpc::failure(&status),
        (
            413,
            json!({
                "message": "The request body is larger than the 1000 bytes that this server takes",
                "type": "invalid_request_error", "param": null, "code": "request_too_large"
            })
        )
    );
    assert!(status.get_error_details().retry_info().is_none());
}

#[tokio::test]
async fn bytes_that_are_not_a_message_are_a_client_error() {
    let server = start(bare_echo()).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let send = async |body: &'static [u8], encoding: &str| {
        let url = format!("{}/tokenecho.v1.ChatService/CreateChatCompletion", server.grpc_endpoint());
        let request = client.post(url).header("content-type", "application/grpc").header("te", "trailers");
        let response = request.header("grpc-encoding", encoding).body(body).send().await.expect("an answer");
        let status = response.headers()["grpc-status"].to_str().expect("a number").to_owned();
        (status, response.headers().contains_key("grpc-status-details-bin"))
    };

    let invalid = (Code::InvalidArgument as i32).to_string();
    for body in [&b"\0\0\0\0\x03\xff\xff\xff"[..], b"", b"\0\0", b"\0\0\0\0\x09abc", b"\x02\0\0\0\x00"] {
        assert_eq!(send(body, "identity").await, (invalid.clone(), true), "{body:?}");
    }
    for not_gzip in [&b"\x01\0\0\0\x00"[..], b"\x01\0\0\0\x03abc"] {
        assert_eq!(send(not_gzip, "gzip").await, (invalid.clone(), true), "{not_gzip:?}");
    }
}

#[tokio::test]
async fn a_call_that_is_not_a_post_is_unimplemented() {
    let server = start(bare_echo()).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");

    let url = format!("{}/tokenecho.v1.ModelService/ListModels", server.grpc_endpoint());
    let response =
        client.get(url).header("content-type", "application/grpc").send().await.expect("an answer");

    assert_eq!(response.headers()["grpc-status"], (Code::Unimplemented as i32).to_string().as_str());
}

#[tokio::test]
async fn grpc_needs_http2_and_one_of_its_content_types() {
    let server = start(bare_echo()).await;
    let over_http1 =
        b"POST /tokenecho.v1.ModelService/ListModels HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                       content-type: application/grpc\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0";

    let answer = raw::exchange(server.addresses().api, over_http1).await;

    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains("Invalid URL (POST /tokenecho.v1.ModelService/ListModels)"), "{answer}");
}

#[tokio::test]
async fn a_content_type_of_grpc_has_no_case_and_may_have_parameters_and_other_kinds_are_a_415() {
    let server = start(bare_echo()).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let url = format!("{}/tokenecho.v1.ModelService/ListModels", server.grpc_endpoint());
    let ask = async |content_type: &str| {
        let request = client.post(&url).header("content-type", content_type).body(&b"\0\0\0\0\0"[..]);
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.headers()["content-type"].to_str().expect("text").to_owned())
    };

    for served in [
        "application/grpc",
        "Application/GRPC+Proto",
        "application/grpc; charset=utf-8",
        "application/grpc;x",
    ] {
        assert_eq!(ask(served).await, (200, "application/grpc".into()), "{served}");
    }
    for refused in
        ["application/grpc-web", "application/grpc-web+proto", "application/grpc+json", "application/grpcx"]
    {
        assert_eq!(ask(refused).await, (415, "application/json".into()), "{refused}");
    }
}
