//! Pages in a browser: which of them may call, and what every answer says about it.

use reqwest::{Method, Response};
use serde_json::json;
use tokenecho::Server;
use tokenecho::config::AllowedOrigin;

use crate::support::http::{say, with};
use crate::support::{bare_echo, start, with_admin};

const PAGE: &str = "https://app.example.com";

fn allowing(origins: &[&str]) -> tokenecho::Builder {
    let origins: Vec<AllowedOrigin> =
        origins.iter().map(|origin| origin.parse().expect("an origin")).collect();
    bare_echo().api_key("123").expect("a key").configure(|config| config.listeners.allowed_origin = origins)
}

/// What a browser sends before a page of `origin` may post JSON with a key.
async fn preflight(server: &Server, origin: &str) -> Response {
    let request = reqwest::Client::new()
        .request(Method::OPTIONS, format!("{}/chat/completions", server.base_url()))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-stainless-lang");
    request.send().await.expect("an answer")
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

#[tokio::test]
async fn a_preflight_needs_no_key_and_repeats_what_was_asked_for() {
    let server = start(allowing(&[])).await;

    let answer = preflight(&server, PAGE).await;

    assert_eq!(answer.status(), 204);
    assert_eq!(header(&answer, "access-control-allow-origin"), "*");
    assert_eq!(header(&answer, "access-control-allow-methods"), "POST");
    assert_eq!(
        header(&answer, "access-control-allow-headers"),
        "authorization,content-type,x-stainless-lang"
    );
    assert_eq!(header(&answer, "access-control-max-age"), "7200");
    assert_eq!(header(&answer, "access-control-allow-credentials"), "");
    assert_eq!(header(&answer, "vary"), "");
    // Any other OPTIONS is a request like all.
    let url = format!("{}/chat/completions", server.base_url());
    let other = reqwest::Client::new().request(Method::OPTIONS, &url).header("origin", PAGE).send().await;
    assert_eq!(other.expect("an answer").status(), 401);
}

#[tokio::test]
async fn every_answer_carries_the_origin_and_exposes_our_headers_by_name() {
    let server = start(allowing(&[PAGE]).configure(|config| config.limits.requests.max_body = 1000)).await;
    let root = server.base_url();
    let client = reqwest::Client::new();
    let ask = async |path: &str, key: &str, body: serde_json::Value| {
        let request = client.post(format!("{root}{path}")).bearer_auth(key).header("origin", PAGE);
        request.json(&body).send().await.expect("an answer")
    };
    let limited = json!({"simulation": {"status": 429}});
    for (status, answer) in [
        (200, ask("/chat/completions", "123", say("Hi")).await),
        (200, ask("/chat/completions", "123", with(say("Hi"), &json!({"stream": true}))).await),
        (400, ask("/chat/completions", "123", json!({})).await),
        (401, ask("/chat/completions", "124", say("Hi")).await),
        (404, ask("/nothing", "123", say("Hi")).await),
        (413, ask("/chat/completions", "123", say(&"x".repeat(2000))).await),
        (429, ask("/chat/completions", "123", with(say("Hi"), &limited)).await),
    ] {
        assert_eq!(answer.status(), status);
        assert_eq!(header(&answer, "access-control-allow-origin"), PAGE, "{status}");
        assert_eq!(header(&answer, "vary"), "origin", "{status}");
        let exposed = header(&answer, "access-control-expose-headers");
        for name in ["x-request-id", "retry-after-ms", "x-mock-applied", "openai-processing-ms"] {
            assert!(exposed.split(", ").any(|exposed| exposed == name), "{name} at {status}: {exposed}");
        }
    }
}

#[tokio::test]
async fn only_configured_pages_may_call_and_without_keys_only_those_of_this_machine() {
    let keyless = start(bare_echo()).await;
    let configured = start(allowing(&[PAGE, "http://localhost:3000"])).await;
    let all = start(allowing(&["*"])).await;
    for (server, origin, allowed) in [
        (&keyless, "http://localhost:5173", "http://localhost:5173"),
        (&keyless, "http://127.0.0.1", "http://127.0.0.1"),
        (&keyless, PAGE, ""),
        (&keyless, "null", ""),
        (&configured, PAGE, PAGE),
        (&configured, "http://localhost:3000", "http://localhost:3000"),
        (&configured, "http://localhost:3001", ""),
        (&configured, "null", ""),
        (&all, "null", "*"),
    ] {
        let answer = preflight(server, origin).await;
        assert_eq!(answer.status(), 204, "{origin}");
        assert_eq!(header(&answer, "access-control-allow-origin"), allowed, "{origin}");
    }
}

#[tokio::test]
async fn a_server_may_allow_no_page_and_the_admin_listener_never_does() {
    let off = start(allowing(&["off"])).await;
    let answer = preflight(&off, PAGE).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(header(&answer, "access-control-allow-origin"), "");

    let server = start(with_admin(allowing(&["*"]))).await;
    let url = format!("{}/metrics", server.admin_url().expect("an admin listener"));
    let metrics = reqwest::Client::new().get(url).header("origin", PAGE).send().await.expect("metrics");
    assert_eq!(metrics.status(), 200);
    assert_eq!(header(&metrics, "access-control-allow-origin"), "");
}

#[tokio::test]
async fn all_or_none_beside_an_origin_is_refused_at_the_start() {
    for origins in [["*", PAGE], [PAGE, "off"], ["*", "off"]] {
        let refused = allowing(&origins).start().await.expect_err("they exclude each other");
        assert!(refused.to_string().contains("--allowed-origin"), "{refused}");
    }
}

#[test]
fn an_origin_has_a_scheme_and_a_host_and_nothing_else() {
    let same = |given: &str, as_browsers_write_it: &str| {
        assert_eq!(given.parse(), Ok(AllowedOrigin::Origin(as_browsers_write_it.parse().expect("a header"))));
    };
    same("https://app.example.com", "https://app.example.com");
    same("http://localhost:3000", "http://localhost:3000");
    same("https://app.example.com:443", "https://app.example.com");
    same("https://App.Example.com", "https://app.example.com");
    for invalid in [
        "app.example.com",
        "https://x/",
        "https://x/path",
        "https://u@x",
        "https://*.x",
        "https://x:99999",
        "null",
        "",
        "https://",
    ] {
        assert!(invalid.parse::<AllowedOrigin>().is_err(), "{invalid}");
    }
}
