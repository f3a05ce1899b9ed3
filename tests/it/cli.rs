//! The binary as a user sees it: help, start, health check, signals, exit codes.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::eventually;
use crate::support::http::{events, say, with};
use crate::support::process::{Process, command, signal};

async fn output(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command(arguments).envs(environment.iter().copied()).output().await.expect("it runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn the_start_record_has_the_addresses_and_settings_but_no_key() {
    let server =
        Process::start(&["--api-key", "alice:marked-key", "--itl", "5ms", "--model", "m"], &[]).await;

    for listener in ["api", "grpc", "admin"] {
        let address = server.start[listener].as_str().expect("an address");
        assert!(address.parse::<std::net::SocketAddr>().expect("an address").port() > 0);
    }
    assert_eq!(server.start["itl"], "5ms");
    assert_eq!(server.start["models"], "m");
    assert!(!server.start.to_string().contains("marked-key"));
    server.signal("-TERM").await;
    assert_eq!(server.end().await.1, Some(0));
}

#[tokio::test]
async fn a_request_is_one_line_without_keys_prompts_or_replies() {
    let server = Process::start(&["--api-key", "alice:marked-key"], &[]).await;
    let client = reqwest::Client::new();
    let ask = async |key: &str, model: &str| {
        let body = with(say("marked-prompt"), &serde_json::json!({"model": model}));
        let request =
            client.post(server.url("/v1/chat/completions")).bearer_auth(key).header("x-request-id", "r1");
        request.json(&body).send().await.expect("an answer").bytes().await.expect("a body")
    };

    ask("marked-key", "bidi\u{202e}model").await;
    ask("marked-wrong", "m").await;
    drop(client);
    server.signal("-TERM").await;
    let (records, code) = server.end().await;

    assert_eq!(code, Some(0));
    let requests: Vec<_> = records.iter().filter(|record| record.get("duration_ms").is_some()).collect();
    assert_eq!(requests.len(), 2);
    let first = requests[0];
    let line = first["message"].as_str().expect("a sentence");
    assert!(line.starts_with("POST /v1/chat/completions 200 in ") && line.ends_with(" ms"), "{line}");
    assert_eq!((&first["method"], &first["path"]), (&"POST".into(), &"/v1/chat/completions".into()));
    assert_eq!(first["request_id"], "r1");
    assert_eq!(first["caller"], "alice");
    assert_eq!(
        (&first["protocol"], &first["endpoint"], &first["status"]),
        (&"http".into(), &"chat_completions".into(), &"200".into())
    );
    assert_eq!(first["model"], "bidi\\u{202e}model");
    assert!(first["ttft_ms"].as_f64().is_some() && first["duration_ms"].as_f64().is_some());
    assert_eq!((&first["left"], &first["completion_tokens"]), (&false.into(), &17.into()));
    assert_eq!((&requests[1]["status"], &requests[1]["error"]), (&"401".into(), &"invalid_api_key".into()));
    let log: String = records.iter().map(Value::to_string).collect();
    assert!(!log.contains("marked"), "{log}");
}

#[tokio::test]
async fn an_unread_log_blocks_no_request_and_reports_how_many_lines_were_dropped() {
    let mut server = Process::start(&["--itl", "0", "--ttft", "0"], &[("RUST_LOG", "trace")]).await;

    // Far more than a pipe holds, and more lines than are kept: HTTP/2 logs every frame.
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    for _ in 0..400 {
        let request = client.post(server.url("/v1/chat/completions")).json(&say("Hi"));
        assert_eq!(request.send().await.expect("an answer").status(), 200);
    }
    let dropped = server.logged("left out").await;

    assert!(dropped["lines"].as_u64().expect("a count") > 0);
    server.signal("-TERM").await;
    assert_eq!(server.end().await.1, Some(0));
}

#[tokio::test]
async fn sigterm_lets_streams_end_and_a_second_signal_does_not() {
    let server = Process::start(&["--itl", "20ms"], &[]).await;
    let stream = |count: usize| {
        with(say("word"), &serde_json::json!({"stream": true, "max_tokens": count, "ignore_eos": true}))
    };
    let short = reqwest::Client::new().post(server.url("/v1/chat/completions")).json(&stream(20)).send();
    let short = short.await.expect("a stream");
    let long = reqwest::Client::new().post(server.url("/v1/chat/completions")).json(&stream(100_000)).send();
    let _open = long.await.expect("a stream");
    let begun = Instant::now();

    server.signal("-TERM").await;
    let (chunks, is_done) = events(short).await;
    server.signal("-INT").await;
    let (_, code) = server.end().await;

    assert!(is_done, "{chunks:?}");
    assert_eq!(code, Some(130));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_hangup_does_not_stop_the_server() {
    let server = Process::start(&[], &[]).await;

    server.signal("-HUP").await;
    let answer = reqwest::get(server.url("/livez")).await.expect("it is still there");

    assert_eq!(answer.status(), 200);
    server.signal("-TERM").await;
    assert_eq!(server.end().await.1, Some(0));
}

#[tokio::test]
async fn a_caller_who_got_an_empty_answer_is_not_logged_as_left() {
    let server = Process::start(&[], &[]).await;
    let client = reqwest::Client::new();

    client.head(server.url("/v1/models")).send().await.expect("an answer");
    drop(client);
    server.signal("-TERM").await;
    let (records, _) = server.end().await;

    let request = records.iter().find(|record| record.get("duration_ms").is_some()).expect("a record");
    assert_eq!(request["left"], false);
}

#[tokio::test]
async fn a_caller_whose_head_request_was_refused_is_not_logged_as_left() {
    let server = Process::start(&["--api-key", "123"], &[]).await;
    let client = reqwest::Client::new();

    let refused = client.head(server.url("/v1/models")).send().await.expect("an answer");
    drop(client);
    server.signal("-TERM").await;
    let (records, _) = server.end().await;

    let request = records.iter().find(|record| record.get("duration_ms").is_some()).expect("a record");
    assert_eq!((refused.status().as_u16(), &request["left"]), (401, &false.into()));
}

#[tokio::test]
async fn the_same_signal_again_within_a_second_is_one_signal() {
    let server = Process::start(&["--itl", "20ms"], &[]).await;
    let request =
        with(say("word"), &serde_json::json!({"stream": true, "max_tokens": 20, "ignore_eos": true}));
    let stream = reqwest::Client::new().post(server.url("/v1/chat/completions")).json(&request).send();
    let stream = stream.await.expect("a stream");

    server.signal("-TERM").await;
    server.signal("-TERM").await;
    let (_, is_done) = events(stream).await;
    let (_, code) = server.end().await;

    assert!(is_done, "the stream runs to its end");
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn a_stderr_that_is_gone_changes_no_exit_code() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    for arguments in [&["--config", "/nonexistent"][..], &["--port", &port], &["healthcheck", "--port", "1"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);

        let status = command(arguments).stderr(writer).status().await.expect("it runs");

        assert_eq!(status.code(), Some(1), "{arguments:?}");
    }
}

#[tokio::test]
async fn the_service_link_variables_of_kubernetes_are_ignored() {
    let environment = [
        ("TOKENECHO_PORT", "tcp://10.0.0.1:8000"),
        ("TOKENECHO_SERVICE_HOST", "10.0.0.1"),
        ("TOKENECHO_ITL", "3ms"),
    ];

    let server = Process::start(&["--port", "0"], &environment).await;

    assert_eq!(server.start["itl"], "3ms");
}

#[tokio::test]
async fn a_healthcheck_asks_both_protocols_and_exits_with_0_or_1() {
    let server = Process::start(&[], &[]).await;
    let port = |name: &str| {
        server.start[name].as_str().and_then(|address| address.rsplit(':').next()).expect("a port").to_owned()
    };
    let (api, second) = (port("api"), port("grpc"));
    let check = async |host: &str, more: &[&str]| {
        let arguments =
            [&["healthcheck", "--host", host, "--port", &api, "--grpc-port", &second], more].concat();
        output(&arguments, &[]).await
    };

    assert_eq!(check("127.0.0.1", &[]).await.status.code(), Some(0));
    assert_eq!(check("0.0.0.0", &[]).await.status.code(), Some(0), "a wildcard means loopback");
    assert_eq!(check("127.0.0.1", &["--grpc"]).await.status.code(), Some(0));
    server.signal("-KILL").await;
    server.end().await;
    eventually("it is gone", async || check("127.0.0.1", &[]).await.status.code() == Some(1)).await;
    let gone = check("127.0.0.1", &["--grpc"]).await;
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains("is not ready"), "{}", stderr(&gone));
}

#[tokio::test]
async fn a_bad_flag_exits_with_2_and_bad_settings_with_1_all_at_once() {
    let flag = output(&["--itl", "soon"], &[]).await;
    let settings = output(&[], &[("TOKENECHO_ITL", "soon"), ("TOKENECHO_PORT", "x")]).await;

    assert_eq!(flag.status.code(), Some(2));
    assert!(stderr(&flag).contains("--itl"));
    assert_eq!(settings.status.code(), Some(1));
    for variable in ["TOKENECHO_ITL: ", "TOKENECHO_PORT: "] {
        assert!(stderr(&settings).contains(variable), "{}", stderr(&settings));
    }
}

#[tokio::test]
async fn help_is_a_command_and_a_health_check_shows_only_what_it_reads() {
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();

    let help = output(&["help"], &[]).await;
    assert_eq!((help.status.code(), text(&help).contains("--max-body")), (Some(0), true));
    let check = text(&output(&["healthcheck", "--help"], &[]).await);
    for (flag, is_shown) in
        [("--grpc", true), ("--port", true), ("--config", true), ("--itl", false), ("--max-body", false)]
    {
        assert_eq!(
            check.contains(&format!("{flag} ")) || check.contains(&format!("{flag}\n")),
            is_shown,
            "{flag}: {check}"
        );
    }
}

#[tokio::test]
async fn limits_that_exclude_each_other_and_models_that_stand_twice_are_refused_at_the_start() {
    let limits = output(&["--max-inflight-body", "1MiB"], &[]).await;
    assert_eq!(limits.status.code(), Some(1));
    let message = "--max-inflight-body (1 MiB) is smaller than --max-body (32 MiB)";
    assert!(stderr(&limits).contains(message), "{}", stderr(&limits));

    let models = output(&["--model", "a", "--model", "a", "--validation", "strict"], &[]).await;
    assert_eq!(models.status.code(), Some(1));
    assert!(stderr(&models).contains("--model a is given twice"), "{}", stderr(&models));

    let server = Process::start(&["--no-auth", "--model", "a", "--model", "b", "--model", "a"], &[]).await;
    let models = reqwest::get(server.url("/v1/models")).await.expect("an answer");
    let models: Value = models.json().await.expect("JSON");
    let names: Vec<_> = models["data"].as_array().expect("a list").iter().map(|model| &model["id"]).collect();
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test]
async fn a_second_instance_names_the_option_of_the_port_that_is_taken() {
    let first = Process::start(&["--no-auth"], &[]).await;
    let port = |listener: &str| {
        let address = first.start[listener].as_str().expect("an address");
        address.rsplit(':').next().expect("a port").to_owned()
    };
    let (api, grpc, admin) = (port("api"), port("grpc"), port("admin"));
    for (ports, named) in [
        ([api.as_str(), "0", "0"], "choose another with --port"),
        (["0", grpc.as_str(), "0"], "choose another with --grpc-port (`off` for none)"),
        (["0", "0", admin.as_str()], "choose another with --admin-port"),
    ] {
        let arguments = ["--port", ports[0], "--grpc-port", ports[1], "--admin-port", ports[2]];
        let second = output(&arguments, &[]).await;
        assert_eq!(second.status.code(), Some(1));
        assert!(stderr(&second).contains(named), "{}", stderr(&second));
    }
}

#[tokio::test]
async fn a_start_without_keys_beyond_loopback_fails_and_names_the_flags_that_help() {
    let refused =
        output(&["--host", "0.0.0.0", "--port", "0", "--grpc-port", "off", "--admin-port", "off"], &[]).await;

    assert_eq!(refused.status.code(), Some(1));
    for flag in ["--api-key", "--any-key", "--no-auth"] {
        assert!(stderr(&refused).contains(flag), "{}", stderr(&refused));
    }
}

#[tokio::test]
async fn the_port_of_a_killed_process_can_be_bound_again_at_once() {
    let first = Process::start(&[], &[]).await;
    let port = first.start["api"]
        .as_str()
        .and_then(|address| address.rsplit(':').next())
        .expect("a port")
        .to_owned();
    // Connections that the kill leaves half-closed block the port unless it is bound with SO_REUSEADDR.
    let stream =
        with(say("word"), &serde_json::json!({"stream": true, "max_tokens": 1000, "ignore_eos": true}));
    let open = reqwest::Client::new()
        .post(first.url("/v1/chat/completions"))
        .json(&stream)
        .send()
        .await
        .expect("a stream");

    first.signal("-KILL").await;
    first.end().await;
    let again = Process::start(&["--port", &port], &[]).await;

    assert!(again.url("").ends_with(&port));
    drop(open);
}

#[tokio::test]
async fn a_server_that_ran_out_of_open_files_serves_again() {
    let binary = env!("CARGO_BIN_EXE_tokenecho");
    let script =
        format!("ulimit -n 120; exec {binary} --port 0 --grpc-port off --admin-port off --log-format json");
    let mut command = Command::new("sh");
    let mut process =
        command.args(["-c", &script]).kill_on_drop(true).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut log = BufReader::new(process.stderr.take().expect("piped")).lines();
    let start: Value =
        serde_json::from_str(&log.next_line().await.expect("UTF-8").expect("a record")).expect("JSON");
    let address = start["api"].as_str().expect("an address").to_owned();

    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(tokio::net::TcpStream::connect(&address).await.expect("the backlog takes it"));
    }
    drop(held);

    let url = format!("http://{address}/livez");
    eventually("it serves again", async || {
        let asked = tokio::time::timeout(Duration::from_secs(1), reqwest::get(&url)).await;
        asked.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status() == 200))
    })
    .await;
}

#[tokio::test]
async fn version_shows_version_commit_and_compiler() {
    let version = output(&["--version"], &[]).await;

    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(text.starts_with(concat!("tokenecho ", env!("CARGO_PKG_VERSION"), " (")), "{text}");
    assert!(text.contains("rustc 1."), "{text}");
}

#[tokio::test]
async fn help_shows_every_option_with_its_default() {
    let help = output(&["--help"], &[]).await;

    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    for shown in
        ["--max-body <SIZE>", "[default: 32MiB]", "--reply-prefix", "--shutdown-timeout", "TOKENECHO_ITL"]
    {
        assert!(text.contains(shown), "{shown}");
    }
}

#[tokio::test]
async fn the_readme_has_every_option_with_its_default() {
    let help = output(&["--help"], &[]).await;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let readme = include_str!("../../README.md");
    let mut flags = 0;

    for option in help.split("\n      --").skip(1) {
        let flag = option.split([' ', '[', '\n']).next().expect("a name");
        if ["help", "version"].contains(&flag) {
            continue;
        }
        flags += 1;
        let (alone, with_value) = (format!("`--{flag}`"), format!("`--{flag} "));
        let mut rows = readme.lines().filter(|line| line.starts_with("| `"));
        let row = rows.find(|line| line.contains(&alone) || line.contains(&with_value));
        let row = row.unwrap_or_else(|| panic!("the README has no row for --{flag}"));
        let default = option.split("[default: ").nth(1).and_then(|rest| rest.split(']').next());
        // Long defaults are given elsewhere in the README, or in words.
        if let Some(default) = default.filter(|default| default.len() < 12) {
            assert!(row.contains(&format!("`{default}`")), "--{flag} is {default}: {row}");
        }
    }

    assert!(flags > 30, "{flags}");
}

#[tokio::test]
async fn keys_prompts_and_replies_are_in_no_log_at_any_level() {
    let server =
        Process::start(&["--api-key", "alice:marked-key", "--itl", "0"], &[("RUST_LOG", "trace")]).await;
    let (url, id) = (server.url(""), server.id());
    // Read the log meanwhile: with a full pipe the server would drop lines.
    let logged = tokio::spawn(server.end());
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    for client in [reqwest::Client::new(), http2] {
        for (key, path) in [
            ("marked-key", "/v1/chat/completions"),
            ("marked-wrong", "/v1/chat/completions"),
            ("marked-key", "/v1/nowhere"),
            ("marked-key", "/tokenecho.v1.ChatService/CreateChatCompletion"),
        ] {
            for body in
                [say("marked-prompt").to_string(), "{\"marked-broken".into(), "{\"messages\":1}".into()]
            {
                let request = client
                    .post(format!("{url}{path}"))
                    .bearer_auth(key)
                    .header("content-type", "application/json");
                request.body(body).send().await.expect("an answer").bytes().await.expect("a body");
            }
        }
    }

    signal(id, "-TERM").await;
    let (records, code) = logged.await.expect("no panic");
    let text: String = records.iter().map(Value::to_string).collect();

    assert_eq!(code, Some(0));
    assert!(text.contains("alice"));
    assert!(!text.contains("marked"), "{}", &text[text.find("marked").unwrap_or_default()..]);
}
