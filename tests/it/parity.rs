//! One table of requests, each sent over HTTP and gRPC, unary and streamed: all four answers are the same.

use serde_json::{Value, json};
use tokenecho::{Server, config::Validation};
use tonic::Request;

use crate::support::{self, bare_echo, start};

#[path = "../../examples/custom_engine.rs"]
#[expect(dead_code, reason = "the example has its own main")]
mod custom_engine;

/// Requests in the HTTP API's form. Values that only one protocol can express are tested in that protocol's file.
fn table() -> Vec<Value> {
    [answered(), refused(), with_tools(), with_bad_tools(), across_fields()].concat()
}

fn user(content: impl Into<Value>) -> Value {
    json!([{"role": "user", "content": content.into()}])
}

fn hello() -> Value {
    user("Hello there, it's you.")
}

fn answered() -> Vec<Value> {
    vec![
        json!({"messages": hello()}),
        json!({"messages": hello(), "model": "gpt-4o", "n": 3}),
        json!({"messages": hello(), "max_tokens": 3}),
        json!({"messages": hello(), "max_completion_tokens": 6, "n": 2}),
        json!({"messages": hello(), "stop": ["there"]}),
        json!({"messages": hello(), "stop": "lo the"}),
        json!({"messages": hello(), "stop": ["Hello"]}),
        json!({"messages": hello(), "stop": []}),
        json!({"messages": hello(), "max_tokens": 40, "ignore_eos": true}),
        json!({"messages": hello(), "min_tokens": 9}),
        json!({"messages": hello(), "min_tokens": 9, "max_tokens": 12, "n": 2, "stop": ["it's"]}),
        json!({"messages": user("日本語、한국어 👩‍👩‍👧 \u{0} \u{202e} \"quoted\"\n\t end ")}),
        json!({"messages": user("")}),
        json!({"messages": user(json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}},
            {"type": "text", "text": "b"}, {"type": "file", "file": {"file_id": "f"}}]))}),
        json!({"messages": [{"role": "system", "content": "be brief"}]}),
        json!({"messages": [{"role": "developer", "content": "no"}, {"role": "user", "content": "one"},
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "content": "result", "tool_call_id": "c"}, {"role": "assistant", "content": "done"}]}),
        json!({"messages": hello(), "temperature": 1.5, "top_p": 0.1, "seed": -7, "logit_bias": {"50256": -100},
            "metadata": {"a": "b"}, "service_tier": "flex", "user": "u", "store": false,
            "presence_penalty": -2, "frequency_penalty": 2, "reasoning_effort": "low", "verbosity": "high",
            "tools": [{"type": "function", "function": {"name": "f", "description": "d"}}]}),
        json!({"messages": hello(), "simulation": {"ttft": "1ms", "itl": "1ms"}}),
    ]
}

fn refused() -> Vec<Value> {
    vec![
        json!({"messages": []}),
        json!({"messages": [{"content": "nobody speaks"}]}),
        json!({"messages": [{"role": "user"}]}),
        json!({"messages": [{"role": "assistant"}]}),
        json!({"messages": [{"role": "user", "content": []}]}),
        json!({"messages": [{"role": "tool", "content": "no call"}]}),
        json!({"messages": [{"role": "function", "content": "no name"}]}),
        json!({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
        json!({"messages": user(json!([{"type": "image_url", "image_url": {"url": "x", "detail": "vast"}}]))}),
        json!({"messages": user(json!([{"type": "input_audio", "input_audio": {"data": "", "format": "midi"}}]))}),
        json!({"messages": hello(), "n": 0}),
        json!({"messages": hello(), "n": 129}),
        json!({"messages": hello(), "n": 1_000_000_000}),
        json!({"messages": hello(), "max_tokens": 0}),
        json!({"messages": hello(), "max_tokens": -1}),
        json!({"messages": hello(), "max_tokens": 1_048_577}),
        json!({"messages": hello(), "max_tokens": 1, "max_completion_tokens": 1}),
        json!({"messages": hello(), "min_tokens": 5, "max_tokens": 4}),
        json!({"messages": hello(), "stop": ["a", "b", "c", "d", "e"]}),
        json!({"messages": hello(), "stop": ["a", ""]}),
        json!({"messages": hello(), "temperature": 2.1}),
        json!({"messages": hello(), "temperature": -0.1}),
        json!({"messages": hello(), "top_p": 1.01}),
        json!({"messages": hello(), "presence_penalty": 3}),
        json!({"messages": hello(), "top_logprobs": 2}),
        json!({"messages": hello(), "logprobs": true, "top_logprobs": 21}),
        json!({"messages": hello(), "logit_bias": {"word": 1}}),
        json!({"messages": hello(), "logit_bias": {"1": 101}}),
        json!({"messages": hello(), "service_tier": "gold"}),
        json!({"messages": hello(), "reasoning_effort": "much"}),
        json!({"messages": hello(), "tools": [{"type": "function", "function": {"name": "no spaces"}}]}),
        json!({"messages": hello(), "model": "x".repeat(257)}),
        json!({"messages": hello(), "model": "a\nb"}),
        json!({"messages": hello(), "model": ""}),
        json!({"messages": hello(), "metadata": (0..17).map(|i| (i.to_string(), json!("v"))).collect::<serde_json::Map<_, _>>()}),
        json!({"messages": vec![json!({"role": "user", "content": "x"}); 2049]}),
        json!({"messages": hello(), "n": 128, "max_tokens": 1_000_000, "ignore_eos": true}),
        json!({"messages": user("word ".repeat(1000)), "n": 128}),
        json!({"messages": hello(), "simulation": {"status": 429}}),
        json!({"messages": hello(), "simulation": {"status": 503}}),
        json!({"messages": hello(), "simulation": {"status": 418}}),
        json!({"messages": hello(), "simulation": {"status": 404}}),
        json!({"messages": hello(), "simulation": {"status": 529, "ttft": "5ms"}}),
        json!({"messages": hello(), "simulation": {"status": 599}}),
        json!({"messages": hello(), "simulation": {"ttft": "11m"}}),
        json!({"messages": hello(), "simulation": {"status": 200}}),
        json!({"messages": hello(), "simulation": {"itl": "soon"}}),
    ]
}

fn with_tools() -> Vec<Value> {
    vec![
        json!({"messages": hello(), "response_format": {"type": "json_object"}, "tool_choice": "auto",
            "parallel_tool_calls": true, "tools": [tool(&json!({"type": "object"})), custom(&json!({"type": "text"}))]}),
        json!({"messages": hello(), "tool_choice": {"type": "function", "function": {"name": "f"}},
            "tools": [tool(&json!({"a": [{"b": {}}]}))], "response_format": {"type": "json_schema",
            "json_schema": {"name": "s", "description": "d", "strict": true, "schema": {"type": "object"}}}}),
        json!({"messages": hello(), "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}},
            "tools": [tool(&json!({}))]}),
        json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"id": "c",
            "type": "custom", "custom": {"name": "f", "input": "free text"}}]},
            {"role": "tool", "content": "result", "tool_call_id": "c"}]}),
    ]
}

/// A question, the calls that an assistant makes, and what follows.
fn history(calls: &[&str], then: &[Value]) -> Value {
    let call =
        |id: &&str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let calls: Vec<_> = calls.iter().map(call).collect();
    let messages =
        [json!({"role": "user", "content": "x"}), json!({"role": "assistant", "tool_calls": calls})];
    let messages = [&messages[..], then].concat();
    json!({"messages": messages})
}

fn result_of(call: &str) -> Value {
    json!({"role": "tool", "content": "result", "tool_call_id": call})
}

/// Rules across fields and messages; all of them hold by default and in strict mode, none in lenient mode.
fn across_fields() -> Vec<Value> {
    let next = json!({"role": "user", "content": "and?"});
    vec![
        history(&["a", "b"], &[result_of("b"), result_of("a"), next.clone()]),
        history(&["a", "b"], &[result_of("a")]),
        history(&["a", "b"], &[result_of("a"), next.clone()]),
        history(&["a"], &[]),
        history(&["a"], &[result_of("other")]),
        history(&["a"], &[result_of("a"), next.clone(), result_of("a")]),
        json!({"messages": [result_of("a")]}),
        json!({"messages": hello(), "tool_choice": "auto"}),
        json!({"messages": hello(), "tool_choice": "none"}),
        json!({"messages": hello(), "parallel_tool_calls": false}),
        json!({"messages": hello(), "tools": [tool(&json!({}))],
            "tool_choice": {"type": "function", "function": {"name": "absent"}}}),
        json!({"messages": hello(), "tools": [tool(&json!({}))],
            "tool_choice": {"type": "custom", "custom": {"name": "f"}}}),
        json!({"messages": hello(), "response_format": {"type": "json_object"}}),
        json!({"messages": user("Answer as JSON"), "response_format": {"type": "json_object"}}),
        json!({"messages": [{"role": "user", "content": "x", "name": "Ada-1"}]}),
        json!({"messages": [{"role": "user", "content": "x", "name": "Ada Lovelace"}]}),
        json!({"messages": [{"role": "user", "content": "x", "name": "a|b"}]}),
        json!({"messages": user(json!([{"type": "image_url", "image_url": {"url": "x", "detail": "original"}}]))}),
    ]
}

fn with_bad_tools() -> Vec<Value> {
    vec![
        json!({"messages": hello(), "tools": [tool(&json!("no object"))]}),
        json!({"messages": hello(), "tools": [tool(&json!({})), tool(&json!([1]))]}),
        json!({"messages": hello(), "tools": [tool(&deep(123))]}),
        json!({"messages": hello(), "tools": [tool(&deep(124))]}),
        json!({"messages": hello(), "tools": [custom(&json!(7))]}),
        json!({"messages": hello(), "tool_choice": "always"}),
        json!({"messages": hello(), "tool_choice": 7}),
        json!({"messages": hello(), "tool_choice": {}}),
        json!({"messages": hello(), "tool_choice": {"type": "tool"}}),
        json!({"messages": hello(), "tool_choice": {"type": "function"}}),
        json!({"messages": hello(), "tool_choice": {"type": "function", "function": {"name": 7}}}),
        json!({"messages": hello(), "tool_choice": {"type": "custom", "custom": {}}}),
        json!({"messages": hello(), "tool_choice": {"type": "allowed_tools", "allowed_tools": []}}),
        json!({"messages": hello(), "tool_choice": {"type": "function", "function": {"name": "f", "more": 1}}}),
        json!({"messages": hello(), "response_format": "json"}),
        json!({"messages": hello(), "response_format": {}}),
        json!({"messages": hello(), "response_format": {"type": "xml"}}),
        json!({"messages": hello(), "response_format": {"type": ["text"]}}),
        json!({"messages": hello(), "response_format": {"type": "text", "type_of": "text"}}),
        json!({"messages": hello(), "response_format": {"type": "json_schema"}}),
        json!({"messages": hello(), "response_format": {"type": "json_schema", "json_schema": {}}}),
        json!({"messages": hello(), "response_format": {"type": "json_schema", "json_schema": {"name": "s",
            "schema": "no object"}}}),
        json!({"messages": hello(), "response_format": {"type": "json_schema", "json_schema": {"name": "s",
            "strict": "yes"}}}),
        json!({"messages": hello(), "response_format": {"type": "json_schema", "json_schema": {"name": "s",
            "schema": deep(125)}}}),
    ]
}

fn tool(parameters: &Value) -> Value {
    json!({"type": "function", "function": {"name": "f", "parameters": parameters}})
}

fn custom(format: &Value) -> Value {
    json!({"type": "custom", "custom": {"name": "c", "format": format}})
}

/// An object nested this many levels deep.
fn deep(levels: usize) -> Value {
    (0..levels).fold(json!({}), |inner, _| json!({"a": inner}))
}

#[tokio::test]
async fn http_and_grpc_unary_and_streamed_give_one_answer() {
    let server = start(support::bare_echo()).await;

    for request in table() {
        check(&server, &request).await;
    }
}

#[tokio::test]
async fn a_custom_engine_serves_both_protocols() {
    let server = start(bare_echo().engine(custom_engine::Backwards)).await;

    for request in table() {
        check(&server, &request).await;
    }
    let reply = support::http::echoed(&server, &support::http::say("one two three")).await;
    assert_eq!(reply, "three two one");
}

#[tokio::test]
async fn models_that_are_not_served_are_unknown_on_both_protocols() {
    let server = start(bare_echo().model("only")).await;

    check(&server, &json!({"messages": [{"role": "user", "content": "x"}], "model": "other"})).await;
    check(&server, &json!({"messages": [{"role": "user", "content": "x"}]})).await;
}

#[tokio::test]
async fn each_validation_mode_is_the_same_on_both_protocols() {
    for validation in [Validation::Lenient, Validation::Strict] {
        let server = start(bare_echo().configure(|config| config.service.validation = validation)).await;
        for request in table() {
            check(&server, &request).await;
        }
    }
}

/// Sends one request all four ways and compares the answers.
pub async fn check(server: &Server, request: &Value) {
    let mut grpc = support::grpc::chat(server).await;
    let message = support::grpc::request(request);
    let usage = json!({"stream": true, "stream_options": {"include_usage": true}});
    let with_usage = support::http::with(request.clone(), &usage);
    let mut message_with_usage = message.clone();
    message_with_usage.stream_options = Some(tokenecho::pb::StreamOptions { include_usage: Some(true) });

    let unary = http_unary(server, request).await;
    let streamed = http_stream(server, &with_usage).await;
    let grpc_unary = match grpc.create_chat_completion(Request::new(message)).await {
        Ok(answer) => Ok(plain(support::grpc::object("CreateChatCompletionResponse", answer.get_ref()))),
        Err(status) => Err(without_json_suffix(support::grpc::failure(&status))),
    };
    let grpc_stream = match grpc.stream_chat_completion(Request::new(message_with_usage)).await {
        Ok(items) => Ok(grpc_items(items.into_inner()).await),
        Err(status) => Err(without_json_suffix(support::grpc::failure(&status))),
    };

    assert_eq!(unary, grpc_unary, "unary, HTTP and gRPC: {request}");
    assert_eq!(streamed, grpc_stream, "streams, HTTP and gRPC: {request}");
    match (&unary, &streamed) {
        (Ok(answer), Ok(chunks)) => assert_eq!(*answer, fold(chunks), "unary and stream: {request}"),
        (Err(unary), Err(stream)) => assert_eq!(unary, stream, "unary and stream: {request}"),
        _ => panic!("unary {unary:?} and stream {streamed:?}: {request}"),
    }
}

/// A gRPC failure with HTTP's field name: over gRPC, a field that carries JSON in a string is called `…_json`.
fn without_json_suffix((status, error): (u16, Value)) -> (u16, Value) {
    (status, serde_json::from_str(&error.to_string().replace("_json", "")).expect("still JSON"))
}

type Outcome<T> = Result<T, (u16, Value)>;

async fn http_unary(server: &Server, request: &Value) -> Outcome<Value> {
    let response = support::http::chat(server, request).await;
    if response.status() != 200 {
        return Err(support::http::failure(response).await);
    }
    Ok(plain(response.json().await.expect("JSON")))
}

async fn http_stream(server: &Server, request: &Value) -> Outcome<Vec<Value>> {
    let response = support::http::chat(server, request).await;
    if response.status() != 200 {
        return Err(support::http::failure(response).await);
    }
    let (chunks, is_done) = support::http::events(response).await;
    assert!(is_done, "{request}");
    Ok(chunks.into_iter().map(plain).collect())
}

async fn grpc_items(mut items: tonic::Streaming<tokenecho::pb::StreamChatCompletionResponse>) -> Vec<Value> {
    let mut objects = Vec::new();
    while let Some(item) = items.message().await.expect("no failure once the stream has begun") {
        objects.push(plain(support::grpc::object("StreamChatCompletionResponse", &item)));
    }
    objects
}

/// Fields that differ between answers or follow from the message's type: ids, times, the types' names.
const DIFFERS: [&str; 4] = ["id", "created", "object", "type"];

/// An object without its null fields and without those in [`DIFFERS`].
fn plain(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, value)| !value.is_null() && !DIFFERS.contains(&name.as_str()))
            .map(|(name, value)| (name, plain(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(plain).collect(),
        other => other,
    }
}

/// The answer that chunks add up to.
fn fold(chunks: &[Value]) -> Value {
    let mut choices: Vec<Value> = Vec::new();
    for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().expect("choices")) {
        let index = usize::try_from(choice["index"].as_u64().expect("an index")).expect("small");
        if index == choices.len() {
            assert_eq!(choice["delta"]["role"], "assistant");
            choices.push(json!({"index": index, "message": {"role": "assistant"}}));
        }
        let message = choices[index]["message"].as_object_mut().expect("a message");
        for field in ["content", "refusal"] {
            append(message, field, &choice["delta"][field]);
        }
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let calls =
                message.entry("tool_calls").or_insert_with(|| json!([])).as_array_mut().expect("calls");
            let at = usize::try_from(call["index"].as_u64().expect("an index")).expect("small");
            if at == calls.len() {
                calls.push(json!({}));
            }
            for (kind, input) in [("function", "arguments"), ("custom", "input")] {
                if let Some(called) = call.get(kind) {
                    let whole =
                        calls[at].as_object_mut().expect("a call").entry(kind).or_insert_with(|| json!({}));
                    let whole = whole.as_object_mut().expect("an object");
                    append(whole, "name", &called["name"]);
                    append(whole, input, &called[input]);
                }
            }
        }
        if let Some(reason) = choice.get("finish_reason") {
            choices[index]["finish_reason"] = reason.clone();
        }
    }
    // The first chunk has empty content even if the message has none, because it is a refusal or calls tools.
    for choice in &mut choices {
        let message = choice["message"].as_object_mut().expect("a message");
        if message.get("content") == Some(&json!(""))
            && (message.contains_key("refusal") || message.contains_key("tool_calls"))
        {
            message.remove("content");
        }
    }
    let last = chunks.last().expect("at least usage");
    json!({
        "choices": choices, "usage": last["usage"], "model": last["model"], "service_tier": last["service_tier"],
        "system_fingerprint": last["system_fingerprint"],
    })
}

/// Appends text to a field, which is created by the first text, even an empty one.
fn append(object: &mut serde_json::Map<String, Value>, field: &str, text: &Value) {
    if let Some(text) = text.as_str() {
        let whole = object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        object.insert(field.into(), (whole + text).into());
    }
}
