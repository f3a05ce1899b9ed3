//! What a person sees who starts the binary in a terminal, and what each line of the log says.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::http::{say, with};
use crate::support::process::{Process, command, signal};
use crate::support::raw;

/// A line with the parts that differ from run to run replaced: times, durations, ports.
fn steady(line: &str) -> String {
    let is_clock = |word: &str| word.len() == 12 && word.matches(':').count() == 2 && word.contains('.');
    let words: Vec<_> = line.split(' ').collect();
    let steady = words.iter().enumerate().map(|(index, word)| match words.get(index + 1) {
        _ if is_clock(word) => "HH:MM:SS.mmm".to_owned(),
        Some(&"ms") => "N".to_owned(),
        _ => match word.split_once("127.0.0.1:") {
            Some((before, after)) => {
                format!("{before}127.0.0.1:PORT{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
            }
            None => (*word).to_owned(),
        },
    });
    // A duration is aligned to the right, with as much space before it as it leaves.
    let mut text = steady.collect::<Vec<_>>().join(" ");
    while text.contains("   N ms") {
        text = text.replace("   N ms", "  N ms");
    }
    text.trim_end().to_owned()
}

#[tokio::test]
async fn a_terminal_shows_addresses_settings_calls_to_paste_and_a_row_a_request() {
    let arguments =
        ["--log-format", "text", "--api-key", "alice:123", "--model", "gpt-4o", "--shutdown-timeout", "3s"];
    let ports = ["--port", "0", "--grpc-port", "0", "--admin-port", "0"];
    let mut command = command(&[&arguments[..], &ports].concat());
    let mut process = command.stderr(Stdio::piped()).spawn().expect("it runs");
    let mut log = BufReader::new(process.stderr.take().expect("piped")).lines();
    let first = log.next_line().await.expect("UTF-8").expect("a line");
    let url = first.split("   ").nth(1).expect("the API's URL").to_owned();
    let client = reqwest::Client::new();
    let ask = async |path: &str, body: Value| {
        let request = client.post(format!("{url}{path}")).bearer_auth("123").json(&body);
        request.send().await.expect("an answer")
    };

    ask("/chat/completions", with(say("Hello there"), &json!({"simulation": {"itl": "1ms"}}))).await;
    ask("/chat/completions", json!({"messages": [{"role": "user", "content": 1}]})).await;
    ask("/responses", json!({})).await;
    ask("/chat/completions", with(say("x"), &json!({"simulation": {"status": 500}}))).await;
    let slow = with(say("x"), &json!({"stream": true, "simulation": {"ttft": "1500ms", "itl": "0"}}));
    let slow = ask("/chat/completions", slow).await;
    signal(process.id().expect("it runs"), "-TERM").await;
    slow.bytes().await.expect("the stream ends");
    let mut lines = vec![steady(&first)];
    while let Some(line) = log.next_line().await.expect("UTF-8") {
        lines.push(steady(&line));
    }

    assert_eq!(process.wait().await.expect("it ends").code(), Some(0));
    insta::assert_snapshot!(lines.join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION"), @r#"
    tokenecho VERSION   http://127.0.0.1:PORT/v1   gRPC 127.0.0.1:PORT   metrics http://127.0.0.1:PORT/metrics
                      1 key   model gpt-4o   first token at once, then every N ms

      export OPENAI_BASE_URL=http://127.0.0.1:PORT/v1 OPENAI_API_KEY="${OPENAI_API_KEY:-YOUR_KEY}"

      curl -N $OPENAI_BASE_URL/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \
        -H 'Content-Type: application/json' \
        -d '{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hello there"}]}'

      grpcurl -plaintext -H "authorization: Bearer $OPENAI_API_KEY" \
        -d '{"model":"gpt-4o","messages":[{"role":"ROLE_USER","text":"Hello there"}]}' \
        127.0.0.1:PORT tokenecho.v1.ChatService/StreamChatCompletion

    HH:MM:SS.mmm  200  POST /v1/chat/completions  gpt-4o              16 tok  ttft N ms  N ms  alice
    HH:MM:SS.mmm  400  POST /v1/chat/completions  invalid_type  messages[0].content  N ms  alice
    HH:MM:SS.mmm  404  POST /v1/responses         unknown path  N ms  alice
    HH:MM:SS.mmm  500  POST /v1/chat/completions  asked for: status=500  N ms  alice
    HH:MM:SS.mmm  stopping: 1 stream may go on for 3 s; Ctrl-C again ends them now
    HH:MM:SS.mmm  stopping: 1 stream left, for at most 2 s
    HH:MM:SS.mmm  200  POST /v1/chat/completions  gpt-4o              15 tok  ttft N ms  N ms  alice
    HH:MM:SS.mmm  stopped
    "#);
}

#[tokio::test]
async fn a_client_error_is_a_warning_a_server_error_an_error_and_one_that_was_asked_for_neither() {
    let server = Process::start(&["--no-auth"], &[]).await;
    let client = reqwest::Client::new();
    let ask = async |body: Value| {
        let request = client.post(server.url("/v1/chat/completions")).json(&body);
        request.send().await.expect("an answer").bytes().await.expect("a body")
    };

    ask(json!({"messages": [{"role": "user", "content": 1}]})).await;
    ask(with(say("x"), &json!({"simulation": {"status": 500}}))).await;
    ask(with(say("x"), &json!({"simulation": {"tttft": "1s"}}))).await;
    drop(client);
    server.signal("-TERM").await;
    let (records, _) = server.end().await;

    let of = |name: &str, value: &str| {
        let found = records.iter().find(|record| record[name] == value);
        found.unwrap_or_else(|| panic!("no {name} is {value}: {records:?}"))
    };
    let invalid = of("error", "invalid_type");
    assert_eq!((&invalid["level"], &invalid["param"]), (&json!("WARN"), &json!("messages[0].content")));
    let asked = of("error", "asked for: status=500");
    assert_eq!((&asked["level"], &asked["status"]), (&json!("INFO"), &json!("500")));
    let ignored = of("message", "'simulation' has an unknown key: ignored");
    assert_eq!((&ignored["level"], &ignored["key"]), (&json!("WARN"), &json!("tttft")));
    assert!(ignored["request_id"].as_str().is_some());
}

#[tokio::test]
async fn a_limit_that_cuts_a_reply_is_logged_once_with_the_request_and_the_limit() {
    let server = Process::start(&["--no-auth", "--max-generation-tokens", "6", "--itl", "0"], &[]).await;
    let request =
        reqwest::Client::new().post(server.url("/v1/chat/completions")).header("x-request-id", "r1");
    let long = with(say("one two three four"), &json!({"n": 1}));

    request.json(&long).send().await.expect("an answer");
    server.signal("-TERM").await;
    let (records, _) = server.end().await;

    let cuts: Vec<_> = records.iter().filter(|record| record["limit"].is_string()).collect();
    assert_eq!(cuts.len(), 1);
    assert_eq!(
        (&cuts[0]["limit"], &cuts[0]["request_id"]),
        (&json!("--max-generation-tokens 6"), &json!("r1"))
    );
}

#[tokio::test]
async fn a_stream_whose_client_reads_nothing_says_so_in_the_log() {
    let arguments = ["--no-auth", "--itl", "0", "--reader-timeout", "300ms"];
    let mut server = Process::start(&arguments, &[]).await;
    let endless = with(say("word"), &json!({"stream": true, "max_tokens": 100_000, "ignore_eos": true}));
    let address = server.start["api"].as_str().expect("an address").to_owned();
    let mut socket = TcpStream::connect(address).await.expect("a connection");

    socket.write_all(&raw::chat(endless.to_string().as_bytes())).await.expect("the server reads");
    let mut head = [0; 12];
    socket.read_exact(&mut head).await.expect("an answer");
    let logged = server.logged("POST /v1/chat/completions 200").await;

    assert_eq!((&logged["error"], &logged["left"]), (&json!("reader_timeout"), &json!(true)));
    assert_eq!(logged["level"], "WARN");
}

#[tokio::test]
async fn a_full_server_says_so_once_and_counts_and_its_admin_listener_still_answers() {
    let mut server = Process::start(&["--no-auth", "--max-connections", "1"], &[]).await;
    let address = server.start["api"].as_str().expect("an address").to_owned();
    let admin = server.start["admin"].as_str().expect("an address").to_owned();

    let _only = TcpStream::connect(&address).await.expect("a connection");
    let _waits = TcpStream::connect(&address).await.expect("the backlog takes it");
    let logged = server.logged("the connection limit is reached").await;

    assert_eq!((&logged["connections"], &logged["listener"]), (&json!(1), &json!("api")));
    let live = reqwest::get(format!("http://{admin}/livez")).await.expect("an answer");
    assert_eq!(live.status(), 200);
    let metrics = reqwest::get(format!("http://{admin}/metrics")).await.expect("metrics").text().await;
    assert!(metrics.expect("text").contains("tokenecho_connections_full_total 1"));
}

#[tokio::test]
async fn the_admin_listener_answers_until_the_last_stream_has_ended() {
    let server = Process::start(&["--no-auth"], &[]).await;
    let admin = server.start["admin"].as_str().expect("an address").to_owned();
    let slow = with(say("x"), &json!({"stream": true, "simulation": {"ttft": "1500ms", "itl": "0"}}));
    let request = reqwest::Client::new().post(server.url("/v1/chat/completions")).json(&slow);
    let open = request.send().await.expect("an answer");
    let ask = async |path: &str| {
        // A connection of its own: new ones have to be accepted too.
        reqwest::get(format!("http://{admin}{path}")).await.expect("the admin listener answers")
    };

    server.signal("-TERM").await;
    while ask("/readyz").await.status() == 200 {}
    let api = server.url("/livez");
    while reqwest::get(&api).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let metrics = ask("/metrics").await.text().await.expect("text");
    assert!(metrics.contains("tokenecho_streams_open{protocol=\"http\"} 1"), "{metrics}");
    open.bytes().await.expect("the stream ends");
    let (records, code) = server.end().await;
    assert_eq!(code, Some(0));
    let stopping = records.iter().find(|record| record["streams"].is_number()).expect("a record");
    assert_eq!((&stopping["streams"], &stopping["timeout"]), (&json!(1), &json!("25s")));
}
