//! The listeners: both protocols on each, and their addresses.

use tokenecho::config::Port;
use tonic::transport::Endpoint;

use crate::support::http::{echoed, say};
use crate::support::{bare_echo, grpc, raw, start, with_admin};

#[tokio::test]
async fn each_listener_serves_both_protocols_and_both_versions_of_http() {
    let server = start(bare_echo()).await;
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");

    for listener in [server.addresses().api, server.addresses().grpc.expect("a second listener")] {
        let url = format!("http://{listener}/v1/chat/completions");
        for client in [&reqwest::Client::new(), &http2] {
            let response = client.post(&url).json(&say("Hi")).send().await.expect("an answer");
            assert_eq!(response.status(), 200);
        }
        let channel =
            Endpoint::from_shared(format!("http://{listener}")).expect("an endpoint").connect().await;
        let mut chat =
            tokenecho::pb::chat_service_client::ChatServiceClient::new(channel.expect("a connection"));
        chat.create_chat_completion(grpc::request(&say("Hi"))).await.expect("an answer");
    }
}

#[tokio::test]
async fn the_root_shows_what_is_served_without_a_key_and_without_a_secret() {
    let builder = bare_echo().api_key("alice:marked-key").expect("a key");
    let server =
        start(builder.configure(|config| config.service.models.model = vec!["marked-model".into()])).await;
    let root = server.base_url().replace("/v1", "/");

    let answer = reqwest::get(&root).await.expect("an answer");

    assert_eq!(answer.status(), 200);
    let text = answer.text().await.expect("text");
    assert!(!text.contains("marked"), "{text}");
    let index: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(index["version"], env!("CARGO_PKG_VERSION"));
    assert!(index["documentation"].as_str().is_some_and(|url| url.ends_with(env!("CARGO_PKG_VERSION"))));
    for (kind, served) in [
        ("openai_api", "/v1/chat/completions"),
        ("grpc_services", "tokenecho.v1.ChatService"),
        ("probes", "/readyz"),
    ] {
        assert!(index[kind].as_array().expect("a list").contains(&served.into()), "{kind}: {text}");
    }
}

#[tokio::test]
async fn one_connection_may_carry_both_protocols() {
    let server = start(bare_echo()).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let root = server.base_url().replace("/v1", "");

    let http =
        client.post(format!("{root}/v1/chat/completions")).json(&say("Hi")).send().await.expect("an answer");
    let call = client
        .post(format!("{root}/tokenecho.v1.ModelService/ListModels"))
        .header("content-type", "application/grpc");
    let call = call.header("te", "trailers").body(&b"\0\0\0\0\0"[..]).send().await.expect("an answer");

    assert_eq!(http.headers()["content-type"], "application/json");
    assert_eq!(call.headers()["content-type"], "application/grpc");
}

#[tokio::test]
async fn the_second_listener_may_be_off_or_the_same_as_the_first() {
    let off = start(bare_echo().configure(|config| config.listeners.grpc_port = Port::Off)).await;
    let free = off.addresses().api.port();

    assert!(off.addresses().grpc.is_none());
    grpc::chat(&off)
        .await
        .create_chat_completion(grpc::request(&say("Hi")))
        .await
        .expect("on the first listener");
    off.drain().await;
    let same = start(bare_echo().configure(|config| {
        config.listeners.port = free;
        config.listeners.grpc_port = Port::At(free);
    }))
    .await;
    assert!(same.addresses().grpc.is_none());
    assert_eq!(echoed(&same, &say("Hi")).await, "Hi");
}

#[tokio::test]
async fn an_address_may_be_ipv6() {
    let server = start(bare_echo().configure(|config| config.listeners.host = "::1".into())).await;

    assert!(server.base_url().starts_with("http://[::1]:"));
    assert_eq!(echoed(&server, &say("Hi")).await, "Hi");
}

#[tokio::test]
async fn the_admin_listener_has_probes_and_metrics_and_nothing_else() {
    let server = start(with_admin(bare_echo().api_key("123").expect("a key"))).await;
    let admin = server.admin_url().expect("an admin listener");
    let status =
        async |path: &str| reqwest::get(format!("{admin}{path}")).await.expect("an answer").status().as_u16();

    for open in ["/livez", "/readyz", "/health", "/version", "/metrics"] {
        assert_eq!(status(open).await, 200, "{open}");
    }
    assert_eq!(status("/v1/models").await, 404);
}

#[tokio::test]
async fn a_taken_port_that_was_asked_for_is_an_error_that_names_it() {
    let first = start(bare_echo()).await;
    let port = first.addresses().api.port();

    let error =
        bare_echo().configure(|config| config.listeners.port = port).start().await.expect_err("it is taken");
    let admin =
        bare_echo().configure(|config| config.listeners.admin_port = Some(Port::At(port))).start().await;

    assert!(error.to_string().contains(&format!("127.0.0.1 port {port}")), "{error}");
    assert!(admin.is_err());
    let grpc = bare_echo().configure(|config| config.listeners.grpc_port = Port::At(port)).start().await;
    let message = grpc.expect_err("it is taken").to_string();
    assert!(message.contains("--grpc-port") && message.contains("off"), "{message}");
}

#[tokio::test]
async fn a_server_stops_when_it_is_dropped() {
    let server = start(bare_echo()).await;
    let address = server.addresses().api;
    let mut idle = tokio::net::TcpStream::connect(address).await.expect("a connection");

    drop(server);

    assert_eq!(raw::read(&mut idle).await, "");
    crate::support::eventually("the port is free", async || {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
}
