//! `POST /v1/chat/completions`: the objects on the wire, and the reply's text.

use serde_json::json;
use tokenecho::Server;
use tokenecho::config::Validation;
use tokenecho::engine::{GenerationRequest, Reply};

use crate::support::http::{chat, chunks, completion, echoed, events, failure, say, with};
use crate::support::{bare_echo, start};

#[tokio::test]
async fn a_completion_is_the_apis_object() {
    let server = start(Server::builder()).await;

    let mut answer = completion(&server, &with(say("Hello"), &json!({"model": "gpt-4o"}))).await;

    assert!(answer["id"].as_str().expect("an id").starts_with("chatcmpl-"));
    assert!(answer["created"].as_i64().expect("an integer") > 1_700_000_000);
    for field in ["id", "created"] {
        answer.as_object_mut().expect("an object").remove(field);
    }
    let json =
        serde_json::to_string_pretty(&answer).expect("JSON").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(json, @r#"
    {
      "choices": [
        {
          "finish_reason": "stop",
          "index": 0,
          "logprobs": null,
          "message": {
            "content": "As a mock AI Assistant, I can only echo your last message: Hello",
            "refusal": null,
            "role": "assistant"
          }
        }
      ],
      "model": "gpt-4o",
      "object": "chat.completion",
      "service_tier": "default",
      "system_fingerprint": "fp_tokenecho_VERSION",
      "usage": {
        "completion_tokens": 15,
        "completion_tokens_details": {
          "accepted_prediction_tokens": 0,
          "audio_tokens": 0,
          "reasoning_tokens": 0,
          "rejected_prediction_tokens": 0
        },
        "prompt_tokens": 7,
        "prompt_tokens_details": {
          "audio_tokens": 0,
          "cached_tokens": 0
        },
        "total_tokens": 22
      }
    }
    "#);
}

#[tokio::test]
async fn a_stream_is_the_apis_chunks() {
    let server = start(bare_echo()).await;
    let request = with(say("Hi you"), &json!({"stream": true, "stream_options": {"include_usage": true}}));

    let response = chat(&server, &request).await;
    let text = response.text().await.expect("text");

    let id = &text[text.find("chatcmpl-").expect("an id")..][..41];
    let created = &text[text.find("\"created\":").expect("a time") + 10..][..10];
    let text = text.replace(id, "ID").replace(created, "TIME").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(text, @r#"
    data: {"id":"ID","object":"chat.completion.chunk","created":TIME,"model":"mock-gpt-model","service_tier":"default","system_fingerprint":"fp_tokenecho_VERSION","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}

    data: {"id":"ID","object":"chat.completion.chunk","created":TIME,"model":"mock-gpt-model","service_tier":"default","system_fingerprint":"fp_tokenecho_VERSION","choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}],"usage":null}

    data: {"id":"ID","object":"chat.completion.chunk","created":TIME,"model":"mock-gpt-model","service_tier":"default","system_fingerprint":"fp_tokenecho_VERSION","choices":[{"index":0,"delta":{"content":" you"},"logprobs":null,"finish_reason":null}],"usage":null}

    data: {"id":"ID","object":"chat.completion.chunk","created":TIME,"model":"mock-gpt-model","service_tier":"default","system_fingerprint":"fp_tokenecho_VERSION","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}

    data: {"id":"ID","object":"chat.completion.chunk","created":TIME,"model":"mock-gpt-model","service_tier":"default","system_fingerprint":"fp_tokenecho_VERSION","choices":[],"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}

    data: [DONE]
    "#);
}

#[tokio::test]
async fn a_streams_head_asks_proxies_not_to_buffer_it() {
    let server = start(bare_echo()).await;

    let response = chat(&server, &with(say("Hi"), &json!({"stream": true}))).await;

    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(header("cache-control"), "no-cache");
    assert_eq!(header("x-accel-buffering"), "no");
    assert_eq!(header("openai-version"), "2020-10-01");
    assert!(header("openai-processing-ms").parse::<u64>().is_ok());
    assert!(header("x-request-id").starts_with("req_"));
}

#[tokio::test]
async fn a_callers_own_request_id_is_kept() {
    let server = start(bare_echo()).await;
    let url = format!("{}/chat/completions", server.base_url());

    let request = reqwest::Client::new().post(url).header("x-request-id", "mine-1").json(&say("Hi"));
    let response = request.send().await.expect("an answer");

    assert_eq!(response.headers()["x-request-id"], "mine-1");
}

#[tokio::test]
async fn usage_is_in_a_stream_only_if_requested() {
    let server = start(bare_echo()).await;

    let plain = chunks(&server, &say("one two")).await;
    let asked =
        chunks(&server, &with(say("one two"), &json!({"stream_options": {"include_usage": true}}))).await;

    assert!(plain.iter().all(|chunk| chunk.get("usage").is_none()));
    let (last, others) = asked.split_last().expect("chunks");
    assert!(others.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn the_echo_is_the_last_message_from_the_callers_side() {
    let server = start(Server::builder()).await;
    let conversation = json!({"messages": [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "reply"},
        {"role": "user", "content": "second"},
        {"role": "system", "content": "be brief"}
    ]});

    let text = echoed(&server, &conversation).await;

    assert_eq!(text, "As a mock AI Assistant, I can only echo your last message: second");
}

#[tokio::test]
async fn a_conversation_without_a_callers_message_is_still_answered() {
    let only_system = json!({"messages": [{"role": "system", "content": "be brief"}]});
    let prefixed = start(Server::builder()).await;
    let bare = start(bare_echo()).await;
    let lenient = start(Server::builder().configure(|config| {
        config.service.validation = Validation::Lenient;
    }));
    let lenient = lenient.await;

    let nothing = "As a mock AI Assistant, I can only echo your last message, but there were no messages!";
    assert_eq!(echoed(&prefixed, &only_system).await, nothing);
    assert_eq!(echoed(&bare, &only_system).await, "There were no messages!");
    assert_eq!(echoed(&lenient, &json!({"messages": []})).await, nothing);
}

#[tokio::test]
async fn the_tutorials_prefix_gives_the_tutorials_answer() {
    let prefix = "As a mock AI Assitant, I can only echo your last message:";
    let server = start(Server::builder().configure(|config| {
        config.service.reply_prefix = prefix.into();
        config.service.validation = Validation::Lenient;
    }))
    .await;

    assert_eq!(echoed(&server, &say(" hello")).await, format!("{prefix} hello"));
    let nothing = "As a mock AI Assitant, I can only echo your last message, but there were no messages!";
    assert_eq!(echoed(&server, &json!({"messages": []})).await, nothing);
}

#[tokio::test]
async fn parts_are_joined_by_newlines_and_media_are_named() {
    let server = start(bare_echo()).await;
    let parts = json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:,"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "file", "file": {"file_id": "f"}}
    ]}]});

    assert_eq!(echoed(&server, &parts).await, "look\n[image_url]\n[input_audio]\n[file]");
}

#[tokio::test]
async fn choices_take_turns_and_each_begins_with_its_role() {
    let server = start(bare_echo()).await;

    let chunks = chunks(&server, &with(say("a b"), &json!({"n": 2}))).await;

    let order: Vec<_> = chunks
        .iter()
        .map(|chunk| {
            let choice = &chunk["choices"][0];
            let what = match (&choice["delta"]["role"], &choice["finish_reason"]) {
                (role, _) if role.is_string() => "role",
                (_, reason) if reason.is_string() => "end",
                _ => choice["delta"]["content"].as_str().expect("content"),
            };
            format!("{} {what}", choice["index"])
        })
        .collect();
    assert_eq!(order, ["0 role", "0 a", "1 role", "1 a", "0  b", "1  b", "0 end", "1 end"]);
}

#[tokio::test]
async fn a_stop_sequence_cuts_before_itself_even_across_tokens() {
    let server = start(bare_echo()).await;
    for (stop, text, tokens) in
        [("wor", "hello ", 2), ("lo wo", "hel", 1), ("hello", "", 0), ("worlds", "hello world", 2)]
    {
        let answer = completion(&server, &with(say("hello world"), &json!({"stop": stop}))).await;

        assert_eq!(answer["choices"][0]["message"]["content"], text, "{stop}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert_eq!(answer["usage"]["completion_tokens"], tokens, "{stop}");
    }
}

#[tokio::test]
async fn a_token_limit_cuts_with_length_unless_the_reply_ends_there() {
    let server = start(bare_echo()).await;
    for (limit, text, reason) in
        [(1, "one", "length"), (2, "one two", "length"), (3, "one two three", "stop")]
    {
        let answer = completion(&server, &with(say("one two three"), &json!({"max_tokens": limit}))).await;

        assert_eq!(answer["choices"][0]["message"]["content"], text);
        assert_eq!(answer["choices"][0]["finish_reason"], reason);
        assert_eq!(answer["usage"]["completion_tokens"], limit);
    }
}

#[tokio::test]
async fn load_tools_get_exactly_the_tokens_they_ask_for() {
    let server = start(bare_echo()).await;

    let exact = with(say("one two"), &json!({"max_tokens": 5, "ignore_eos": true}));
    let exact = completion(&server, &exact).await;
    let least = completion(&server, &with(say("one two"), &json!({"min_tokens": 3}))).await;

    assert_eq!(exact["choices"][0]["message"]["content"], "one twoone twoone");
    assert_eq!(exact["choices"][0]["finish_reason"], "length");
    assert_eq!(exact["usage"]["completion_tokens"], 5);
    assert_eq!(
        least["choices"][0]["message"]["content"], "one twoone two",
        "the whole echo is repeated until there are enough tokens"
    );
    assert_eq!(least["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn an_empty_reply_stays_empty_when_repeated() {
    let server = start(bare_echo()).await;

    let answer = completion(&server, &with(say(""), &json!({"max_tokens": 5, "ignore_eos": true}))).await;

    assert_eq!(answer["choices"][0]["message"]["content"], "");
    assert_eq!(answer["usage"]["completion_tokens"], 0);
}

#[tokio::test]
async fn a_single_reply_beyond_the_servers_budget_is_cut_and_more_choices_are_refused() {
    let server =
        start(bare_echo().configure(|config| config.limits.requests.max_generation_tokens = 4)).await;
    let long = say("one two three four five");

    let cut = completion(&server, &long).await;
    let endless = completion(&server, &with(long.clone(), &json!({"ignore_eos": true}))).await;
    let (status, error) = failure(chat(&server, &with(long.clone(), &json!({"n": 2}))).await).await;
    let fits = completion(&server, &with(long, &json!({"n": 2, "max_tokens": 2}))).await;

    assert_eq!(cut["choices"][0]["finish_reason"], "length");
    assert_eq!(cut["usage"]["completion_tokens"], 4);
    assert_eq!(endless["usage"]["completion_tokens"], 4);
    assert_eq!((status, &error["param"]), (400, &json!("n")));
    assert_eq!(fits["usage"]["completion_tokens"], 4);
}

#[tokio::test]
async fn lenient_validation_accepts_what_the_schema_allows() {
    let server = start(bare_echo().configure(|config| config.service.validation = Validation::Lenient)).await;
    let lenient =
        json!({"max_tokens": 0, "stream_options": {"include_usage": true}, "logit_bias": {"word": 1}});

    let answer = completion(&server, &with(say("Hi"), &lenient)).await;

    assert_eq!(answer["choices"][0]["message"]["content"], "");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn strict_validation_requires_a_model_and_refuses_unknown_fields() {
    let server = start(bare_echo().configure(|config| config.service.validation = Validation::Strict)).await;
    let strict = |fields| with(with(say("Hi"), &json!({"model": "m"})), &fields);

    let (_, no_model) = failure(chat(&server, &say("Hi")).await).await;
    let (_, unknown) = failure(chat(&server, &strict(json!({"top_k": 3}))).await).await;
    let nested = strict(
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "extra": 1}]}]}),
    );
    let (_, nested) = failure(chat(&server, &nested).await).await;

    assert_eq!(
        (&no_model["code"], &no_model["param"]),
        (&json!("missing_required_parameter"), &json!("model"))
    );
    assert_eq!((&unknown["code"], &unknown["param"]), (&json!("unknown_parameter"), &json!("top_k")));
    assert_eq!(nested["param"], "messages[0].content[0].extra");
    completion(&server, &strict(json!({"user": "u", "seed": 1}))).await;
}

#[tokio::test]
async fn directives_apply_to_one_request_and_its_answer_lists_them() {
    let server = start(bare_echo()).await;
    let url = format!("{}/chat/completions", server.base_url());
    let ask = async |headers: &[(&str, &str)], body| {
        let request = reqwest::Client::new().post(&url).json(&body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.expect("an answer")
    };

    let paced = ask(&[("x-mock-ttft", "5ms"), ("x-mock-itl", "0")], say("a b")).await;
    let failed = ask(&[("x-mock-status", "429")], say("a")).await;
    let body =
        ask(&[("x-mock-status", "500")], with(say("a"), &json!({"simulation": {"status": 503}}))).await;
    let plain = ask(&[], say("a")).await;

    assert_eq!(paced.headers()["x-mock-applied"], "ttft=5ms, itl=0s");
    assert_eq!(paced.status(), 200);
    assert_eq!(failed.headers()["x-mock-applied"], "status=429");
    assert_eq!(
        (&failed.headers()["retry-after"], &failed.headers()["retry-after-ms"]),
        (&"1".parse().expect("1"), &"1000".parse().expect("1000"))
    );
    let (status, error) = failure(failed).await;
    assert_eq!(
        (status, &error["type"], &error["code"]),
        (429, &json!("requests"), &json!("rate_limit_exceeded"))
    );
    assert_eq!(body.status(), 503, "the body's directive takes precedence over the header's");
    assert!(!plain.headers().contains_key("x-mock-applied"));
    for (name, value) in
        [("x-mock-itl", "soon"), ("x-mock-ttft", "-1s"), ("x-mock-status", "200"), ("x-mock-status", "x")]
    {
        let (status, error) = failure(ask(&[(name, value)], say("a")).await).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(name)), "{value}");
    }
}

#[tokio::test]
async fn directives_that_are_off_are_ignored() {
    let off = tokenecho::config::Switch::Off;
    let server = start(bare_echo().configure(|config| config.service.simulation.directives = off)).await;
    let url = format!("{}/chat/completions", server.base_url());

    let request = reqwest::Client::new().post(url).header("x-mock-status", "500").json(&say("a"));
    let response = request.send().await.expect("an answer");

    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("x-mock-applied"));
}

#[tokio::test]
async fn an_engine_that_panics_fails_only_its_request() {
    let server = start(bare_echo().engine(|request: &GenerationRequest| {
        assert_ne!(request.prompt.messages()[0].text(), "at once", "a panic of the engine");
        let tokens = ["one", " two"].into_iter().map(Ok);
        Reply::live(tokio_stream::iter(tokens.chain(std::iter::from_fn(|| panic!("a panic in the middle")))))
    }))
    .await;

    let (status, error) = failure(chat(&server, &say("at once")).await).await;
    let (chunks, is_done) = events(chat(&server, &with(say("later"), &json!({"stream": true}))).await).await;
    let (unary, _) = failure(chat(&server, &say("later")).await).await;

    assert_eq!((status, &error["code"]), (500, &json!("internal_error")));
    assert_eq!(unary, 500);
    assert!(!is_done, "a stream that fails has no [DONE]");
    assert_eq!(chunks.last().expect("an error")["error"]["code"], "internal_error");
}

#[tokio::test]
async fn no_character_of_a_reply_ends_a_line_of_its_stream() {
    let server = start(bare_echo()).await;
    let text = "a\u{2028}b\u{2029}c\u{85}d\ne\r\nf é 日本";

    let stream = chat(&server, &with(say(text), &json!({"stream": true, "model": "m\u{2028}"}))).await;
    let body = stream.text().await.expect("a body");

    assert!(!body.contains(['\u{2028}', '\u{2029}', '\u{85}', '\r']));
    let data = body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let chunks: Vec<serde_json::Value> = data.map(|data| serde_json::from_str(data).expect("JSON")).collect();
    let echoed: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(echoed, text);
    assert_eq!(chunks[0]["model"], "m\u{2028}");
}

#[tokio::test]
async fn lenient_takes_what_the_schema_allows() {
    let server = start(bare_echo().configure(|config| config.service.validation = Validation::Lenient)).await;
    let asked = |more: serde_json::Value| with(say("one two three"), &more);

    let both = completion(&server, &asked(json!({"max_tokens": 1, "max_completion_tokens": 2}))).await;
    assert_eq!(both["usage"]["completion_tokens"], 2, "the newer limit counts");
    for more in [
        json!({"stop": ""}),
        json!({"stop": [""]}),
        json!({"tools": []}),
        json!({"tool_choice": "required"}),
        json!({"parallel_tool_calls": true}),
        json!({"response_format": {"type": "json_object"}}),
        json!({"messages": [{"role": "assistant", "tool_calls": []}, {"role": "user", "content": "one two three"}]}),
        json!({"messages": [{"role": "tool", "content": "one two three", "tool_call_id": "absent"}]}),
    ] {
        assert_eq!(echoed(&server, &asked(more.clone())).await, "one two three", "{more}");
    }
}

#[tokio::test]
async fn strict_takes_an_sdks_dump_of_an_answer_back() {
    let server = start(bare_echo().configure(|config| config.service.validation = Validation::Strict)).await;
    let answer = json!({"role": "assistant", "content": "Hello", "refusal": null, "annotations": [], "audio": null,
        "function_call": null, "tool_calls": null});
    let request = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}, answer,
        {"role": "user", "content": "again"}]});

    assert_eq!(echoed(&server, &request).await, "again");
    let (status, _) = failure(chat(&server, &with(request, &json!({"unknown": 1}))).await).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn an_empty_list_of_tools_is_refused() {
    let server = start(bare_echo()).await;

    let (status, error) = failure(chat(&server, &with(say("x"), &json!({"tools": []}))).await).await;

    assert_eq!((status, &error["code"], &error["param"]), (400, &json!("empty_array"), &json!("tools")));
}
