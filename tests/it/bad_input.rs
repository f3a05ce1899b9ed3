//! Every malformed request gets a 4xx with the API's error object: no 5xx, no dropped connection, no hang.

use serde_json::{Value, json};
use tokenecho::Server;
use tokio::io::AsyncWriteExt;

use crate::support::http::{chat, completion, failure, post, say, with};
use crate::support::{bare_echo, raw, start};

/// Sends a body that must be refused, and returns the error's status, code and param.
async fn refused(server: &Server, body: impl Into<reqwest::Body>) -> (u16, Value, Value) {
    let (status, error) = failure(post(server, body).await).await;
    assert_eq!(error["type"], "invalid_request_error");
    (status, error["code"].clone(), error["param"].clone())
}

#[tokio::test]
async fn a_body_that_is_not_json_is_a_400() {
    let server = start(bare_echo()).await;
    let deep = |open: &str, close: &str| {
        format!("{{\"messages\":{}{}}}", open.repeat(100_000), close.repeat(100_000))
    };
    let message = |text: &str| format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}");
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"{".to_vec(),
        b"{\"messages\":[".to_vec(),
        b"messages".to_vec(),
        b"{\"messages\": NaN}".to_vec(),
        b"{\"messages\":[],}".to_vec(),
        b"{} {}".to_vec(),
        b"\xff\xfe{}".to_vec(),
        deep("[", "]").into(),
        deep("{\"a\":", "}").into(),
        format!("{{\"ignored\":{}{}, \"messages\":[]}}", "[".repeat(200), "]".repeat(200)).into(),
        [b"{\"messages\":[{\"role\":\"user\",\"content\":\"", &b"\xc3\x28"[..], b"\"}]}"].concat(),
        message("raw \u{1} control").into(),
        message("raw\nnewline").into(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(refused(&server, body).await, (400, Value::Null, Value::Null), "{shown}");
    }
}

#[tokio::test]
async fn a_wrong_type_is_reported_with_its_path() {
    let server = start(bare_echo()).await;
    let hi = json!([{"role": "user", "content": "Hi"}]);
    let in_message =
        |fields: Value| json!({"messages": [with(json!({"role": "user", "content": "Hi"}), &fields)]});
    let in_part = |part: Value| in_message(json!({"content": [{"type": "text", "text": "x"}, part]}));
    for (body, param) in [
        (json!([]), Value::Null),
        (json!("text"), Value::Null),
        (json!({"messages": "text"}), json!("messages")),
        (json!({"messages": {}}), json!("messages")),
        (json!({"messages": null}), json!("messages")),
        (json!({"messages": [1]}), json!("messages[0]")),
        (in_message(json!({"role": 1})), json!("messages[0].role")),
        (in_message(json!({"content": 1})), json!("messages[0].content")),
        (in_message(json!({"content": null})), json!("messages[0].content")),
        (in_message(json!({"content": ["x"]})), json!("messages[0].content[0]")),
        (in_message(json!({"name": []})), json!("messages[0].name")),
        (in_part(json!({"type": "text", "text": 5})), json!("messages[0].content[1].text")),
        (in_part(json!({"type": ["text"]})), json!("messages[0].content[1].type")),
        (in_part(json!({"type": "image_url", "image_url": "x"})), json!("messages[0].content[1].image_url")),
        (
            in_part(json!({"type": "image_url", "image_url": {"url": 1}})),
            json!("messages[0].content[1].image_url.url"),
        ),
        (json!({"messages": hi, "model": 4}), json!("model")),
        (json!({"messages": hi, "n": "2"}), json!("n")),
        (json!({"messages": hi, "n": 1.5}), json!("n")),
        (json!({"messages": hi, "max_tokens": true}), json!("max_tokens")),
        (json!({"messages": hi, "temperature": "hot"}), json!("temperature")),
        (json!({"messages": hi, "stream": "yes"}), json!("stream")),
        (json!({"messages": hi, "stream_options": []}), json!("stream_options")),
        (
            json!({"messages": hi, "stream": true, "stream_options": {"include_usage": 1}}),
            json!("stream_options.include_usage"),
        ),
        (json!({"messages": hi, "stop": 3}), json!("stop")),
        (json!({"messages": hi, "stop": ["a", 3]}), json!("stop[1]")),
        (
            json!({"messages": hi, "tools": [{"type": "function", "function": {"name": 1}}]}),
            json!("tools[0].function.name"),
        ),
        (json!({"messages": hi, "metadata": {"a": 1}}), json!("metadata.a")),
        (json!({"messages": hi, "logit_bias": {"1": "x"}}), json!("logit_bias.1")),
        (json!({"messages": hi, "response_format": "json"}), json!("response_format")),
        (json!({"messages": hi, "user": {}}), json!("user")),
        (json!({"messages": hi, "simulation": {"ttft": 5}}), json!("simulation.ttft")),
    ] {
        assert_eq!(refused(&server, body.to_string()).await, (400, json!("invalid_type"), param), "{body}");
    }
}

#[tokio::test]
async fn a_missing_or_unknown_value_is_reported_with_its_path() {
    let server = start(bare_echo()).await;
    let hi = json!([{"role": "user", "content": "Hi"}]);
    for (body, code, param) in [
        (json!({}), "missing_required_parameter", "messages"),
        (json!({"messages": [{"role": "wizard", "content": "x"}]}), "invalid_value", "messages[0].role"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "video"}]}]}),
            "invalid_value",
            "messages[0].content[0].type",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"text": "x"}]}]}),
            "missing_required_parameter",
            "messages[0].content[0].type",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
            "missing_required_parameter",
            "messages[0].content[0].text",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": []}]}),
            "empty_array",
            "messages[0].tool_calls",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]}]}),
            "missing_required_parameter",
            "messages[0].tool_calls[0].function",
        ),
        (json!({"messages": hi, "stop": ""}), "empty_string", "stop"),
        (json!({"messages": hi, "tool_choice": "never"}), "invalid_value", "tool_choice"),
        (
            json!({"messages": hi, "tool_choice": {"type": "function"}}),
            "missing_required_parameter",
            "tool_choice.function",
        ),
        (
            json!({"messages": hi, "response_format": {"type": "xml"}}),
            "invalid_value",
            "response_format.type",
        ),
        (
            json!({"messages": hi, "response_format": {"type": "json_schema"}}),
            "missing_required_parameter",
            "response_format.json_schema",
        ),
        (json!({"messages": hi, "modalities": ["smell"]}), "invalid_value", "modalities[0]"),
        (
            json!({"messages": hi, "stream_options": {"include_usage": true}}),
            "invalid_parameter_combination",
            "stream_options",
        ),
        (json!({"messages": vec![hi[0].clone(); 20_000]}), "array_above_max_length", "messages"),
    ] {
        let answer = refused(&server, body.to_string()).await;
        assert_eq!(
            answer,
            (400, json!(code), json!(param)),
            "{}",
            &body.to_string()[..body.to_string().len().min(200)]
        );
    }
}

#[tokio::test]
async fn numbers_out_of_range_are_refused_with_their_own_error_codes() {
    let server = start(bare_echo()).await;
    for (field, number, code) in [
        ("max_tokens", "9223372036854775808", "integer_above_max_value"),
        ("max_tokens", "-9223372036854775809", "integer_below_min_value"),
        ("n", "1000000000", "integer_above_max_value"),
        ("n", "0", "integer_below_min_value"),
        ("temperature", "1e999", "decimal_above_max_value"),
        ("top_p", "-1e999", "decimal_below_min_value"),
        ("presence_penalty", "2.0001", "decimal_above_max_value"),
    ] {
        let body = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}],\"{field}\":{number}}}");
        assert_eq!(refused(&server, body).await, (400, json!(code), json!(field)), "{number}");
    }
}

#[tokio::test]
async fn a_known_key_given_twice_is_refused_and_an_unknown_one_is_not() {
    let server = start(bare_echo()).await;
    let hi = r#""messages":[{"role":"user","content":"Hi"}]"#;

    let twice = refused(&server, format!("{{{hi},\"n\":1,\"n\":2}}")).await;
    let nested = refused(&server, r#"{"messages":[{"role":"user","role":"user","content":"Hi"}]}"#).await;
    let unknown = post(&server, format!("{{{hi},\"x\":1,\"x\":2}}")).await;

    assert_eq!((twice.0, twice.2), (400, json!("n")));
    assert_eq!((nested.0, nested.2), (400, json!("messages[0].role")));
    assert_eq!(unknown.status(), 200);
}

#[tokio::test]
async fn an_escaped_nul_is_echoed_and_a_lone_surrogate_is_refused() {
    let server = start(bare_echo()).await;

    let nul = post(&server, r#"{"messages":[{"role":"user","content":"a\u0000b\ud83d\ude00"}]}"#).await;
    let lone = refused(&server, r#"{"messages":[{"role":"user","content":"a\ud800b"}]}"#).await;

    let answer: Value = nul.json().await.expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "a\u{0}b😀");
    assert_eq!((lone.0, lone.2), (400, json!("messages[0].content")));
}

#[tokio::test]
async fn a_body_that_is_too_large_gets_a_complete_413() {
    let server = start(bare_echo()).await;

    let (status, error) = failure(post(&server, vec![b' '; 40 << 20]).await).await;

    assert_eq!((status, &error["code"]), (413, &json!("request_too_large")));
}

#[tokio::test]
async fn other_media_are_refused_with_415() {
    let server = start(bare_echo()).await;
    let ask = async |name: &str, value: &str| {
        let url = format!("{}/chat/completions", server.base_url());
        let request = reqwest::Client::new().post(url).body(say("Hi").to_string());
        request.header(name, value).send().await.expect("an answer")
    };

    for accepted in ["application/json", "application/json; charset=utf-8", "Application/vnd.api+JSON"] {
        assert_eq!(ask("content-type", accepted).await.status(), 200, "{accepted}");
    }
    assert_eq!(ask("content-encoding", "identity").await.status(), 200);
    for (name, refused) in
        [("content-type", "text/plain"), ("content-type", "application/grpc"), ("content-encoding", "gzip")]
    {
        let (status, error) = failure(ask(name, refused).await).await;
        assert_eq!((status, &error["code"]), (415, &json!("unsupported_media_type")), "{refused}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_get_the_apis_error_object() {
    let server = start(bare_echo()).await;
    let client = reqwest::Client::new();
    let root = server.base_url().replace("/v1", "");

    let unknown = client.get(format!("{root}/v2/anything")).send().await.expect("an answer");
    let method = client.get(format!("{root}/v1/chat/completions")).send().await.expect("an answer");

    assert_eq!(method.headers()["allow"], "POST");
    let (status, error) = failure(unknown).await;
    assert_eq!((status, &error["code"]), (404, &json!(null)));
    assert_eq!(error["message"], "Invalid URL (GET /v2/anything)");
    let (status, error) = failure(method).await;
    assert_eq!((status, &error["code"]), (405, &json!("method_not_supported")));
}

#[tokio::test]
async fn a_body_cut_short_does_not_stop_the_server() {
    let server = start(bare_echo()).await;
    let address = server.addresses().api;
    let mut cut = raw::chat(say("Hi").to_string().as_bytes());
    cut.truncate(cut.len() - 5);

    let mut socket = tokio::net::TcpStream::connect(address).await.expect("a connection");
    socket.write_all(&cut).await.expect("the server reads");
    socket.shutdown().await.expect("the end of our side");
    let answer = raw::read(&mut socket).await;

    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    completion(&server, &say("still here")).await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_a_408() {
    let short = std::time::Duration::from_millis(100);
    let server = start(bare_echo().configure(|config| config.limits.requests.body_timeout = short)).await;
    let head = raw::chat(b"0123456789").len() - 10;

    let answer = raw::exchange(server.addresses().api, &raw::chat(b"0123456789")[..head + 3]).await;

    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("\"request_timeout\""), "{answer}");
}

#[tokio::test]
async fn user_text_in_an_error_is_truncated() {
    let server = start(bare_echo().model("only")).await;
    let role = json!({"messages": [{"role": "x".repeat(1 << 20), "content": ""}]});

    let (_, error) = failure(chat(&server, &role).await).await;

    assert!(error["message"].as_str().expect("text").len() < 1000);
}

#[tokio::test]
async fn a_refused_head_request_has_no_body_on_either_version_of_http() {
    let server = start(bare_echo()).await;
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");

    for client in [reqwest::Client::new(), http2] {
        let url = server.base_url().replace("/v1", "/nothing");
        let response = client.head(url).send().await.expect("an answer");
        assert_eq!(response.status(), 404);
        assert!(response.bytes().await.expect("an end").is_empty());
    }
}
