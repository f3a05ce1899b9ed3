//! Custom engines: what an engine returns reaches callers of both protocols, unary and streamed, as the same answer;
//! an engine's error fails only its own request.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;
use tokenecho::engine::{
    CallKind, CallStart, Delta, Engine, FinishReason, GenerationRequest, Piece, Replies, Reply, Segment,
    Usage,
};
use tokenecho::error::{ApiError, Custom};
use tokio::time::Instant;

use crate::parity::check;
use crate::support::http::{chat, chunks, completion, events, failure, say, with};
use crate::support::{bare_echo, eventually, grpc, metric, start, with_admin};

/// Reasoning, a text and two calls, one of each kind.
fn everything() -> Vec<Segment> {
    let call = |kind, id: &str, arguments: &str| Segment::ToolCall {
        kind,
        id: id.into(),
        name: "find".into(),
        arguments: arguments.into(),
    };
    vec![
        Segment::Reasoning("Let me think. ".into()),
        Segment::Text("I call two.".into()),
        call(CallKind::Function, "call_1", "{\"words\": \"a b\"}"),
        call(CallKind::Custom, "call_2", "free text"),
    ]
}

/// The same, token by token.
fn live() -> Reply {
    let call = |call, kind, id: &str| CallStart { call, kind, id: id.into(), name: "find".into() };
    let pieces: Vec<Piece> = vec![
        Delta::Reasoning("Hm.".into()).into(),
        Delta::from(call(0, CallKind::Function, "call_1")).into(),
        Delta::Arguments { call: 0, text: "{}".into() }.into(),
        Delta::Text("".into()).into(),
        Piece::Finish(FinishReason::ContentFilter),
        Piece::Usage(Usage { prompt_tokens: 70, completion_tokens: 30, reasoning_tokens: 20 }),
    ];
    Reply::live(tokio_stream::iter(pieces.into_iter().map(Ok)))
}

#[tokio::test]
async fn calls_refusals_and_reasoning_reach_both_protocols() {
    let whole = |_: &GenerationRequest| Reply::whole(everything());
    let refusal = |_: &GenerationRequest| Reply::whole(vec![Segment::Refusal("I will not.".into())]);
    let live = |_: &GenerationRequest| live();
    for engine in [
        Box::new(whole) as Box<dyn Fn(&GenerationRequest) -> Reply + Send + Sync>,
        Box::new(refusal),
        Box::new(live),
    ] {
        let server = start(bare_echo().engine(engine)).await;
        for more in [
            json!({}),
            json!({"n": 2}),
            json!({"max_tokens": 6}),
            json!({"max_tokens": 9}),
            json!({"stop": ["call"]}),
            json!({"min_tokens": 40}),
            json!({"ignore_eos": true, "max_tokens": 30}),
        ] {
            check(&server, &with(say("x"), &more)).await;
        }
    }
}

#[tokio::test]
async fn a_tool_call_is_the_apis_object_and_its_stream_names_the_tool_once() {
    let server = start(bare_echo().engine(|_: &GenerationRequest| Reply::whole(everything()))).await;

    let answer = completion(&server, &say("x")).await;
    let deltas: Vec<_> =
        chunks(&server, &say("x")).await.iter().map(|chunk| chunk["choices"][0].clone()).collect();

    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], "I call two.");
    assert_eq!(
        choice["message"]["tool_calls"],
        json!([
            {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": "{\"words\": \"a b\"}"}},
            {"id": "call_2", "type": "custom", "custom": {"name": "find", "input": "free text"}},
        ])
    );
    assert_eq!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 4 + 1);
    let of_calls: Vec<_> = deltas.iter().filter_map(|choice| choice["delta"].get("tool_calls")).collect();
    assert_eq!(
        *of_calls[0],
        json!([{"index": 0, "id": "call_1", "type": "function", "function": {"name": "find", "arguments": ""}}])
    );
    assert!(of_calls[1..].iter().any(|calls| calls[0]["index"] == 1 && calls[0]["id"] == "call_2"));
    assert_eq!(of_calls.iter().filter(|calls| calls[0].get("id").is_some()).count(), 2);
    assert_eq!(deltas.last().expect("an end")["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn the_engines_usage_and_finish_reason_reach_the_caller_unless_the_reply_was_cut() {
    let server = start(bare_echo().engine(|_: &GenerationRequest| live())).await;

    let answer = completion(&server, &say("x")).await;
    let cut = completion(&server, &with(say("x"), &json!({"max_tokens": 1}))).await;

    assert_eq!(answer["choices"][0]["message"]["content"], json!(null));
    assert_eq!(answer["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(
        (&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]),
        (&json!(70), &json!(30))
    );
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
    assert_eq!(cut["usage"]["completion_tokens"], 1);
}

/// Returns its replies, or an error, after a delay.
struct Upstream(Duration);

impl Engine for Upstream {
    fn generate(&self, request: &Arc<GenerationRequest>) -> Result<Replies, ApiError> {
        let (wait, request) = (self.0, Arc::clone(request));
        let replies: BoxFuture<'static, _> = Box::pin(async move {
            tokio::time::sleep(wait).await;
            match &*request.prompt.messages()[0].text() {
                "panic" => panic!("asked for"),
                "refuse" => Err(Custom::new(402, "insufficient_quota", "You exceeded your current quota.")
                    .code("insufficient_quota")
                    .into()),
                "too few" => Ok(vec![]),
                text => Ok((0..request.choices()).map(|_| Reply::text(text.to_owned())).collect()),
            }
        });
        Ok(Replies::Later(replies))
    }
}

#[tokio::test]
async fn an_engine_that_answers_late_can_still_refuse_with_a_status_on_both_protocols() {
    let server = start(bare_echo().engine(Upstream(Duration::from_millis(20)))).await;
    for text in ["later", "refuse", "panic", "too few"] {
        check(&server, &say(text)).await;
    }

    let (status, error) = failure(chat(&server, &with(say("refuse"), &json!({"stream": true}))).await).await;
    let (too_few, _) = failure(chat(&server, &say("too few")).await).await;

    assert_eq!(
        (status, &error["code"], &error["type"]),
        (402, &json!("insufficient_quota"), &json!("insufficient_quota"))
    );
    assert_eq!(error["message"], "You exceeded your current quota.");
    assert_eq!(too_few, 500);
}

#[tokio::test]
async fn waiting_for_an_engine_ends_at_the_deadline_when_the_caller_leaves_and_at_shutdown() {
    let server =
        start(with_admin(bare_echo()).engine(Upstream(Duration::from_secs(600))).configure(|config| {
            config.limits.requests.max_generations = 1;
            config.listeners.shutdown_timeout = Duration::from_millis(100);
        }))
        .await;
    let slot_is_free = async || chat(&server, &with(say("x"), &json!({"simulation": {"ttft": "1ms"}}))).await;

    // Without a gRPC client, whose own timer would end the call.
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let call =
        client.post(format!("{}/tokenecho.v1.ChatService/CreateChatCompletion", server.grpc_endpoint()));
    let call = call.header("content-type", "application/grpc").header("grpc-timeout", "100m");
    let late = call.body(grpc::framed(&say("x"))).send().await.expect("an answer");
    let left = tokio::time::timeout(Duration::from_millis(100), slot_is_free()).await;
    assert!(left.is_err(), "the slot was free, and the next caller waited and left");
    eventually("the caller is gone", async || {
        let gone = "tokenecho_requests_total{endpoint=\"chat_completions\",protocol=\"http\",status=\"499\"}";
        metric(&server, gone).await == 1
    })
    .await;
    let url = format!("{}/chat/completions", server.base_url());
    let waiting = tokio::spawn(reqwest::Client::new().post(url).json(&say("x")).send());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let drained = Instant::now();
    server.drain().await;
    let (status, error) = failure(waiting.await.expect("no panic").expect("an answer")).await;

    assert_eq!(late.headers()["grpc-status"], "4");
    assert_eq!((status, &error["code"]), (503, &json!("shutting_down")));
    assert!(drained.elapsed() < Duration::from_secs(5), "{:?}", drained.elapsed());
}

#[tokio::test]
async fn a_live_reply_that_fails_ends_its_stream_with_its_own_error() {
    let server = start(bare_echo().engine(|_: &GenerationRequest| {
        let error = Custom::new(502, "upstream_error", "The upstream went away.").code("upstream_gone");
        Reply::live(tokio_stream::iter([Ok("one"), Ok(" two"), Err(error.into())]))
    }))
    .await;

    let (chunks, is_done) = events(chat(&server, &with(say("x"), &json!({"stream": true}))).await).await;
    let items = grpc::chat(&server).await.stream_chat_completion(grpc::request(&say("x"))).await;
    let mut items = items.expect("a stream").into_inner();
    let status = loop {
        match items.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without an error"),
            Err(status) => break status,
        }
    };

    let error = &chunks.last().expect("an error")["error"];
    assert!(!is_done);
    assert_eq!((&error["code"], &error["type"]), (&json!("upstream_gone"), &json!("upstream_error")));
    let (http_status, details) = grpc::failure(&status);
    assert_eq!((status.code(), http_status), (tonic::Code::Unavailable, 502));
    assert_eq!(details, *error);
}
