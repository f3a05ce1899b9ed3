//! Bounded work: no request takes unlimited memory or time, and a dropped request leaves nothing behind.

use std::time::Duration;

use tokio::time::Instant;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::http::{chat, completion, failure, post, say, with};
use crate::support::process::Process;
use crate::support::{Target, bare_echo, budget, eventually, grpc, h2, metric, raw, start, with_admin};

const MIB: u64 = 1 << 20;

#[track_caller]
fn grew_by_less_than(server: &Process, before: u64, bound: u64) {
    let grown = server.resident().saturating_sub(before);
    assert!(grown < bound, "by {} KiB, which is not less than {}", grown / 1024, bound / 1024);
}

async fn open_streams(server: &impl Target) -> u64 {
    let of = async |protocol: &str| {
        metric(server, &format!("tokenecho_streams_open{{protocol=\"{protocol}\"}}")).await
    };
    of("http").await + of("grpc").await
}

#[tokio::test]
async fn choices_share_one_reply_and_one_budget() {
    let server = Process::bare_echo(&[]).await;
    // A word of a megabyte: a thousand tokens, and 128 copies of it would be 128 MiB.
    let large = with(say(&"x".repeat(1 << 20)), &json!({"n": 128}));
    let before = server.resident();

    let (status, error) = failure(chat(&server, &large).await).await;
    let few = completion(&server, &with(large, &json!({"n": 2}))).await;

    assert_eq!((status, &error["param"]), (400, &json!("n")));
    assert_eq!(few["choices"].as_array().expect("choices").len(), 2);
    grew_by_less_than(&server, before, 64 * MIB);
}

#[tokio::test]
async fn a_hostile_stop_sequence_costs_one_pass() {
    let server = start(bare_echo()).await;
    let text = "a".repeat(2 << 20);
    let begun = Instant::now();

    let stop = format!("{}b", "a".repeat(1 << 20));
    completion(&server, &with(say(&text), &json!({"stop": [stop.clone(), format!("{stop}c")]}))).await;

    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn holding_back_a_whole_reply_for_a_stop_sequence_costs_no_more_time() {
    let server = start(bare_echo()).await;
    let text = " a".repeat(99_000);
    let ask = async |stop: String| {
        let begun = Instant::now();
        completion(&server, &with(say(&text), &json!({"stop": stop}))).await;
        begun.elapsed()
    };

    let plain = ask("b".into()).await;
    let held = ask(" a".repeat(99_010)).await;

    assert!(held < 5 * plain + Duration::from_secs(1), "{held:?}, compared with {plain:?}");
}

#[tokio::test]
async fn a_large_request_does_not_delay_others() {
    let server = Process::bare_echo(&[]).await;
    // A control character and a combining mark, each its own grapheme: the slowest text to split into tokens.
    let large = with(say(&"\u{7f}\u{301}".repeat(200_000)), &json!({"max_tokens": 1}));
    let large = async || completion(&server, &large).await;
    let small = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..100 {
            let begun = Instant::now();
            reqwest::get(server.url("/livez")).await.expect("an answer");
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };

    let begun = Instant::now();
    let (.., slowest) = tokio::join!(
        async {
            tokio::join!(large(), large(), large(), large());
        },
        small
    );

    assert!(slowest < begun.elapsed() / 4, "{slowest:?} of {:?}", begun.elapsed());
}

#[tokio::test]
async fn stop_sequences_count_in_the_budget_with_their_size_in_memory() {
    let server = start(budget(bare_echo(), 512 * 1024)).await;
    let ask =
        async |text: &str, stop: &str| chat(&server, &with(say(text), &json!({"stop": stop}))).await.status();
    let long = "x".repeat(150 * 1024);

    assert_eq!(ask(&long, "x").await, 200);
    assert_eq!(ask("x", &long).await, 413);
}

#[tokio::test]
async fn an_answer_counts_in_the_budget_with_its_size_on_the_wire() {
    let server = start(budget(bare_echo(), 512 * 1024)).await;
    let ask = async |text: &str| {
        let repeated = json!({"max_tokens": 150, "ignore_eos": true});
        chat(&server, &with(say(text), &repeated)).await.status()
    };

    assert_eq!(ask(&"x".repeat(1024)).await, 200);
    assert_eq!(ask(&"\u{1}".repeat(1024)).await, 413, "each character is six bytes in JSON");
}

#[tokio::test]
async fn a_grpc_message_of_empty_submessages_takes_bounded_memory() {
    let server = Process::bare_echo(&["--max-body", "8MiB", "--max-inflight-body", "8MiB"]).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let url = server.url("/tokenecho.v1.ChatService/CreateChatCompletion");
    // Empty messages, two bytes each.
    let ask = async |messages: usize| {
        let length = u32::try_from(2 * messages).expect("small").to_be_bytes();
        let body = [&[0][..], &length, &[0x0a, 0].repeat(messages)].concat();
        let request =
            client.post(&url).header("content-type", "application/grpc").header("te", "trailers").body(body);
        let answer = request.send().await.expect("an answer");
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        (header("grpc-status"), header("grpc-message"))
    };
    ask(1).await;
    let before = server.resident();

    let (many, message) = ask(2 << 20).await;
    let (more_than_there_is_room_for, _) = ask(100_000).await;

    assert_eq!(many, "3");
    assert!(message.contains("too%20many%20fields") || message.contains("too many fields"), "{message}");
    assert_eq!(more_than_there_is_room_for, "8");
    grew_by_less_than(&server, before, 64 * MIB);
}

#[tokio::test]
async fn reflection_requests_are_bounded() {
    let server = start(bare_echo().api_key("123").expect("a key")).await;
    let mut peer = h2::Peer::connect(server.addresses().api, &[]).await;
    let head = h2::call_head("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    let part = vec![b' '; 16_000];

    peer.send(&h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &head)).await;
    // A message of a megabyte, of which more is sent than a reflection stream may send in total.
    peer.send(&h2::frame(h2::DATA, 0, 1, &[0, 0, 16, 0, 0])).await;
    for _ in 0..2 {
        peer.send(&h2::frame(h2::DATA, 0, 1, &part)).await;
    }

    let mut frame = peer.next().await.expect("an answer");
    while frame.stream != 1 || frame.flags & h2::END_STREAM == 0 {
        frame = peer.next().await.expect("an end of the stream");
    }
}

#[tokio::test]
async fn calls_without_a_key_take_no_capacity_from_calls_with_a_key() {
    let server = start(bare_echo().api_key("123").expect("a key").configure(|config| {
        config.limits.requests.max_inflight_body = Some(32 * 1024);
        config.limits.requests.max_body = 32 * 1024;
        config.limits.requests.max_open_calls = 3;
    }))
    .await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(grpc::channel(&server).await);
    let mut watched = Vec::new();
    let refused = loop {
        assert!(watched.len() < 100, "open watches are not limited");
        match health.watch(tonic_health::pb::HealthCheckRequest::default()).await {
            Ok(watch) => watched.push(watch),
            Err(status) => break status,
        }
    };
    // Health checks whose message is never complete.
    let mut slow = h2::Peer::connect(server.addresses().api, &[]).await;
    for stream in 0..4 {
        let head = h2::call_head("/grpc.health.v1.Health/Check");
        slow.send(&h2::frame(h2::HEADERS, h2::END_HEADERS, 2 * stream + 1, &head)).await;
        slow.send(&h2::frame(
            h2::DATA,
            0,
            2 * stream + 1,
            &[&[0, 0, 0, 64, 0][..], &[b' '; 8 * 1024]].concat(),
        ))
        .await;
    }

    assert_eq!((watched.len(), refused.code()), (3, tonic::Code::ResourceExhausted));
    assert_eq!(chat(&server, &say(&"x".repeat(10 * 1024))).await.status(), 200);
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.expect("a check needs no slot");
    drop(watched);
    eventually("there is room again", async || {
        health.watch(tonic_health::pb::HealthCheckRequest::default()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn two_hundred_slow_request_bodies_together_stay_inside_their_budget() {
    let server = Process::bare_echo(&["--max-inflight-body", "64MiB"]).await;
    let head = raw::chat(&vec![b' '; 30 << 20]);
    let before = server.resident();

    let mut uploads = Vec::new();
    for _ in 0..200 {
        let mut socket = TcpStream::connect(server.addresses().api).await.expect("a connection");
        // Each sends a megabyte and then pauses.
        let _ = tokio::time::timeout(Duration::from_millis(50), socket.write_all(&head[..1 << 20])).await;
        uploads.push(socket);
    }

    let refused = "tokenecho_requests_total{endpoint=\"chat_completions\",protocol=\"http\",status=\"429\"}";
    eventually("the rest is refused", async || metric(&server, refused).await >= 200 - 64).await;
    // Each also has a connection with its buffers.
    grew_by_less_than(&server, before, 64 * MIB + 200 * 512 * 1024);
    drop(uploads);
    eventually("the budget is back", async || chat(&server, &say("Hi")).await.status() == 200).await;
}

#[tokio::test]
async fn the_text_an_answer_is_made_from_stays_in_the_budget_until_the_answer_ends() {
    let server = start(budget(bare_echo(), 64 * 1024)).await;
    let long = with(say(&"word ".repeat(8 * 1024)), &json!({"stream": true, "simulation": {"ttft": "60s"}}));

    let held = chat(&server, &long).await;
    let refused = chat(&server, &long).await.status();
    let message = grpc::request(&say(&"word ".repeat(8 * 1024)));
    let over_grpc = grpc::chat(&server).await.create_chat_completion(message).await.expect_err("no room");
    drop(held);

    assert_eq!(refused, 429);
    assert_eq!(over_grpc.code(), tonic::Code::ResourceExhausted);
    eventually("there is room again", async || chat(&server, &long).await.status() == 200).await;
}

#[tokio::test]
async fn a_generation_beyond_the_limit_is_a_429_at_once() {
    let server = start(bare_echo().configure(|config| config.limits.requests.max_generations = 3)).await;
    let waiting = with(say("word"), &json!({"stream": true, "simulation": {"ttft": "60s"}}));
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(chat(&server, &waiting).await);
    }

    let begun = Instant::now();
    let refused = chat(&server, &waiting).await;
    let took = begun.elapsed();
    let over_grpc = grpc::chat(&server)
        .await
        .create_chat_completion(grpc::request(&say("x")))
        .await
        .expect_err("no room");

    assert!(took < Duration::from_secs(1));
    assert_eq!(refused.headers()["retry-after"], "1");
    let (status, error) = failure(refused).await;
    assert_eq!(
        (status, &error["type"], &error["code"]),
        (429, &json!("requests"), &json!("rate_limit_exceeded"))
    );
    assert_eq!(over_grpc.code(), tonic::Code::ResourceExhausted);
    drop(open);
    eventually("there is room again", async || chat(&server, &say("x")).await.status() == 200).await;
}

#[tokio::test]
async fn twenty_thousand_generations_can_be_open_and_the_next_is_a_429_at_once() {
    let server = Process::bare_echo(&[]).await;
    let waiting = with(say("word"), &json!({"simulation": {"ttft": "60s"}})).to_string();
    let before = server.resident();
    let mut peers = Vec::new();
    let mut open = 0;
    for _ in 0..10 {
        let mut peer = h2::Peer::connect(server.addresses().api, &[]).await;
        // As many at once as surely fit into half of the connection's window.
        for _ in 0..8 {
            for index in 0..250 {
                peer.chat(2 * (open % 2000 + index) + 1, &waiting).await;
            }
            open += 250;
            eventually("they are open", async || open_streams(&server).await == u64::from(open)).await;
        }
        peers.push(peer);
    }

    let begun = Instant::now();
    let refused = chat(&server, &say("one more")).await;

    assert_eq!(refused.status(), 429);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    grew_by_less_than(&server, before, 20_000 * 16 * 1024);
    drop(peers);
    eventually("none is open", async || open_streams(&server).await == 0).await;
    completion(&server, &say("there is room again")).await;
}

#[tokio::test]
async fn a_stalled_client_costs_no_more_than_its_window_on_both_protocols() {
    let server = Process::bare_echo(&[]).await;
    let endless = with(say("words "), &json!({"max_tokens": 100_000, "ignore_eos": true}));
    let streamed = with(endless.clone(), &json!({"stream": true})).to_string();
    let message = grpc::request(&endless);
    completion(&server, &say("warm")).await;
    let before = server.resident();
    let mut stalled = Vec::new();
    for _ in 0..50 {
        let mut peer = h2::Peer::connect(server.addresses().api, &[]).await;
        peer.chat(1, &streamed).await;
        stalled.push(peer);
    }
    let mut items = Vec::new();
    for _ in 0..50 {
        let mut client = grpc::chat(&server).await;
        items.push(client.stream_chat_completion(message.clone()).await.expect("a stream"));
    }

    eventually("all are open", async || open_streams(&server).await == 100).await;
    completion(&server, &say("everybody else")).await;

    // Replies of 100 000 tokens, some 20 MiB of chunks each.
    grew_by_less_than(&server, before, 100 * 256 * 1024);
}

/// Opens a hundred streams and drops them in the middle, five times.
async fn drop_five_hundred_streams(server: &impl Target) {
    let endless = with(say("word"), &json!({"max_tokens": 100_000, "ignore_eos": true}));
    let (streamed, message) = (with(endless.clone(), &json!({"stream": true})), grpc::request(&endless));
    for _ in 0..5 {
        let mut client = grpc::chat(server).await;
        let mut open = Vec::new();
        let mut items = Vec::new();
        for _ in 0..50 {
            open.push(chat(server, &streamed).await);
            items.push(client.stream_chat_completion(message.clone()).await.expect("a stream"));
        }
        assert!(open_streams(server).await >= 100);
        drop((open, items, client));
        eventually("nothing is open", async || open_streams(server).await == 0).await;
    }
    // Reading the metrics keeps one connection open.
    eventually("no connection is open", async || metric(server, "tokenecho_connections_open").await <= 2)
        .await;
}

#[tokio::test]
async fn five_hundred_streams_dropped_in_the_middle_leak_no_memory_and_no_descriptors() {
    let server = Process::bare_echo(&["--itl", "50ms"]).await;
    drop_five_hundred_streams(&server).await;
    let (memory, descriptors) = (server.resident(), server.descriptors());

    drop_five_hundred_streams(&server).await;

    grew_by_less_than(&server, memory, 4 * MIB);
    eventually("descriptors are as before", async || server.descriptors() <= descriptors).await;
}

#[tokio::test]
async fn five_hundred_streams_dropped_in_the_middle_leak_no_tasks() {
    let server = start(with_admin(bare_echo()).pacing(Duration::ZERO, Duration::from_millis(50))).await;
    completion(&server, &say("warm")).await;
    // The clients' tasks run on this runtime too.
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();

    drop_five_hundred_streams(&server).await;

    eventually("tasks are as before", async || tasks() <= before + 8).await;
}

#[tokio::test]
async fn a_body_of_tiny_json_values_takes_bounded_memory() {
    let server = Process::bare_echo(&[]).await;
    let before = server.resident();

    for body in [
        format!("{{\"messages\":[{}1]}}", "1,".repeat(2 << 20)),
        format!("{{{}\"messages\":[]}}", "\"k\":1,".repeat(1 << 20)),
        format!("{{\"messages\":[{{\"role\":\"user\",\"content\":[{}1]}}]}}", "1,".repeat(2 << 20)),
    ] {
        assert_eq!(post(&server, body).await.status(), 400);
        // 4 to 6 MiB each, once as received and once joined.
        grew_by_less_than(&server, before, 32 * MIB);
    }
}

#[tokio::test]
async fn a_body_of_tiny_chunks_takes_bounded_memory() {
    let server = Process::bare_echo(&[]).await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut socket = TcpStream::connect(server.addresses().api).await.expect("a connection");
    let before = server.resident();

    socket.write_all(head.as_bytes()).await.expect("the server reads");
    for _ in 0..30 {
        socket.write_all("1\r\n \r\n".repeat(10_000).as_bytes()).await.expect("the server reads");
    }

    // Three hundred thousand chunks of one byte.
    grew_by_less_than(&server, before, 8 * MIB);
}

#[tokio::test]
async fn a_unary_answer_that_never_fits_is_refused_however_small_its_request() {
    let server = start(budget(bare_echo(), 256 * 1024)).await;
    let long = with(say("a long word of a kind "), &json!({"max_tokens": 90_000, "ignore_eos": true}));

    let (status, error) = failure(chat(&server, &long).await).await;

    assert_eq!((status, &error["code"]), (413, &json!("request_too_large")));
    let streamed = with(long, &json!({"stream": true, "max_tokens": 1000}));
    assert_eq!(chat(&server, &streamed).await.status(), 200);
}
