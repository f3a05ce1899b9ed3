//! The key check: the same on every listener and for both protocols; it denies by default.

use serde_json::json;
use tokenecho::StartError;
use tokenecho::config::Reflection;
use tokenecho::pb::ListModelsRequest;
use tokenecho::pb::model_service_client::ModelServiceClient;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{bare_echo, grpc, http, raw, start};

fn keyed() -> tokenecho::Builder {
    bare_echo().api_key("alice:123").expect("a key")
}

#[tokio::test]
async fn a_key_is_required_on_every_listener_and_both_protocols() {
    let server = start(keyed()).await;
    let listeners = [server.addresses().api, server.addresses().grpc.expect("a second listener")];

    for listener in listeners {
        let refused = reqwest::get(format!("http://{listener}/v1/models")).await.expect("an answer");
        assert_eq!(refused.headers()["www-authenticate"], "Bearer");
        let (status, error) = http::failure(refused).await;
        assert_eq!(
            (status, &error["code"], &error["type"]),
            (401, &json!(null), &json!("invalid_request_error"))
        );
        let served =
            http::client().get(format!("http://{listener}/v1/models")).send().await.expect("an answer");
        assert_eq!(served.status(), 200);

        let mut models =
            ModelServiceClient::connect(format!("http://{listener}")).await.expect("a connection");
        let refused = models.list_models(Request::new(ListModelsRequest {})).await.expect_err("no key");
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(grpc::failure(&refused).1["code"], json!(null));
        models.list_models(grpc::keyed(ListModelsRequest {})).await.expect("a key");
    }
}

#[tokio::test]
async fn only_probes_health_and_open_reflection_need_no_key() {
    let server = start(keyed()).await;
    let root = server.base_url().replace("/v1", "");
    let status =
        async |path: &str| reqwest::get(format!("{root}{path}")).await.expect("an answer").status().as_u16();

    for open in ["/", "/livez", "/readyz", "/health", "/version"] {
        assert_eq!(status(open).await, 200, "{open}");
    }
    for closed in ["/metrics", "/v1", "/v1/models", "/nowhere", "/livez/x", "/LIVEZ", "//livez"] {
        assert_eq!(status(closed).await, 401, "{closed}");
    }
    let mut health = HealthClient::new(grpc::channel(&server).await);
    health.check(HealthCheckRequest::default()).await.expect("health is open");
}

#[tokio::test]
async fn an_unknown_method_is_unauthenticated_before_it_is_unknown() {
    let server = start(keyed()).await;
    let mut client = tonic::client::Grpc::new(grpc::channel(&server).await);
    for path in [
        "/tokenecho.v1.ChatService/Nothing",
        "/no.such.Service/Nothing",
        "//grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health",
        "/grpc.health.v1.Health/Nothing",
        "/grpc.reflection.v1.ServerReflection/Nothing",
        "//grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        for (request, code) in
            [(Request::new(()), Code::Unauthenticated), (grpc::keyed(()), Code::Unimplemented)]
        {
            client.ready().await.expect("a connection");
            let codec = tonic_prost::ProstCodec::<(), ()>::default();
            let path = axum::http::uri::PathAndQuery::from_static(path);
            let status = client.unary(request, path, codec).await.expect_err("no such method");
            assert_eq!(status.code(), code);
            grpc::failure(&status);
        }
    }
}

#[tokio::test]
async fn keyed_reflection_needs_a_key_and_reflection_that_is_off_is_unimplemented() {
    for (mode, without, with) in [
        (Reflection::Open, Code::Ok, Code::Ok),
        (Reflection::Keyed, Code::Unauthenticated, Code::Ok),
        (Reflection::Off, Code::Unauthenticated, Code::Unimplemented),
    ] {
        let server = start(keyed().configure(|config| config.listeners.reflection = mode)).await;
        assert_eq!(reflect(&server, false).await, without, "{mode:?}");
        assert_eq!(reflect(&server, true).await, with, "{mode:?}");
    }
}

async fn reflect(server: &tokenecho::Server, has_key: bool) -> Code {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    let mut client = ServerReflectionClient::new(grpc::channel(server).await);
    let messages = tokio_stream::empty();
    let request = if has_key { grpc::keyed(messages) } else { Request::new(messages) };
    client.server_reflection_info(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn any_key_accepts_every_key_but_requires_one() {
    let server = start(bare_echo().configure(|config| config.auth.any_key = true)).await;

    let without = reqwest::get(format!("{}/models", server.base_url())).await.expect("an answer");
    let with = http::client().get(format!("{}/models", server.base_url())).send().await.expect("an answer");

    let blank = raw::exchange(
        server.addresses().api,
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xe9\r\nconnection: close\r\n\r\n",
    )
    .await;

    assert_eq!((without.status().as_u16(), with.status().as_u16()), (401, 200));
    assert!(blank.starts_with("HTTP/1.1 401"), "{blank}");
}

#[tokio::test]
async fn metrics_are_on_the_api_listeners_only_if_configured() {
    let server = start(keyed().configure(|config| config.listeners.api_metrics = true)).await;

    let metrics = reqwest::get(server.base_url().replace("/v1", "/metrics")).await.expect("an answer");

    assert_eq!(metrics.status(), 200);
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
}

#[tokio::test]
async fn odd_hosts_paths_and_key_headers_do_not_bypass_the_key_check() {
    let server = start(keyed()).await;
    let address = server.addresses().api;
    for head in [
        "GET /v1/models HTTP/1.1\r\nhost: livez\r\n",
        "GET /v1/../livez HTTP/1.1\r\nhost: x\r\n",
        "GET /%6civez HTTP/1.1\r\nhost: x\r\n",
        "GET /livez/../v1/models HTTP/1.1\r\nhost: x\r\n",
        "GET http://x/v1/models HTTP/1.1\r\nhost: livez\r\n",
        "GET /v1/models?key=123 HTTP/1.1\r\nhost: x\r\ncookie: key=123\r\n",
        "GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer 123\r\nauthorization: Bearer 123\r\n",
        "GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer 123, Bearer 123\r\n",
    ] {
        let answer = raw::exchange(address, format!("{head}connection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{head}: {answer}");
    }
}

#[tokio::test]
async fn a_server_open_to_everyone_does_not_start_beyond_loopback() {
    let everywhere = |config: &mut tokenecho::Config| config.listeners.host = "0.0.0.0".into();

    let open = bare_echo().configure(everywhere).start().await.expect_err("it is open");
    let both =
        keyed().configure(|config| config.auth.no_auth = true).start().await.expect_err("keys or none");

    assert!(matches!(open, StartError::Open(_)));
    let message = open.to_string();
    for flag in ["--api-key", "--any-key", "--no-auth"] {
        assert!(message.contains(flag), "{message}");
    }
    assert!(matches!(both, StartError::KeyRules("a key", "--no-auth")));
    let any = keyed().configure(|config| config.auth.any_key = true).start().await.expect_err("a key or any");
    assert!(matches!(any, StartError::KeyRules("a key", "--any-key")));
}
