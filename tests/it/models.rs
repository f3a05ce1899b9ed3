//! The models, on both protocols.

use serde_json::{Value, json};
use tokenecho::pb::model_service_client::ModelServiceClient;
use tokenecho::pb::{GetModelRequest, ListModelsRequest};
use tonic::{Code, Request};

use crate::support::{bare_echo, grpc, http, start};

async fn get(server: &tokenecho::Server, path: &str) -> reqwest::Response {
    let url = format!("{}{path}", server.base_url());
    http::client().get(url).send().await.expect("an answer")
}

#[tokio::test]
async fn without_configured_models_any_is_served_and_one_is_listed() {
    let server = start(bare_echo()).await;

    let list: Value = get(&server, "/models").await.json().await.expect("JSON");
    let any: Value = get(&server, "/models/org/some-model").await.json().await.expect("JSON");
    let answer = http::completion(&server, &http::say("Hi")).await;

    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], "mock-gpt-model");
    assert_eq!(
        (&any["id"], &any["object"], &any["owned_by"]),
        (&json!("org/some-model"), &json!("model"), &json!("tokenecho"))
    );
    assert!(any["created"].is_i64());
    assert_eq!(answer["model"], "mock-gpt-model");
}

#[tokio::test]
async fn configured_models_are_the_only_ones_and_the_first_is_the_default() {
    let server = start(bare_echo().model("a/b").model("c")).await;

    let list: Value = get(&server, "/models").await.json().await.expect("JSON");
    let slashed = get(&server, "/models/a/b").await;
    let (status, error) = http::failure(get(&server, "/models/other").await).await;
    let answer = http::completion(&server, &http::say("Hi")).await;
    let asked = http::with(http::say("Hi"), &json!({"model": "other"}));
    let (unknown, unknown_error) = http::failure(http::chat(&server, &asked).await).await;

    let ids: Vec<_> = list["data"].as_array().expect("a list").iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["a/b", "c"]);
    assert_eq!(slashed.status(), 200);
    assert_eq!((status, &error["code"]), (404, &json!("model_not_found")));
    assert_eq!(error["message"], "The model `other` does not exist");
    assert_eq!(answer["model"], "a/b");
    assert_eq!((unknown, &unknown_error["code"]), (404, &json!("model_not_found")));
}

#[tokio::test]
async fn grpc_returns_the_same_models() {
    let server = start(bare_echo().model("a/b")).await;
    let mut models = ModelServiceClient::new(grpc::channel(&server).await);

    let list = models.list_models(Request::new(ListModelsRequest {})).await.expect("a list").into_inner();
    let one =
        models.get_model(Request::new(GetModelRequest { model: "a/b".into() })).await.expect("it is there");
    let none =
        models.get_model(Request::new(GetModelRequest { model: "x".into() })).await.expect_err("it is not");

    assert_eq!(list.data.len(), 1);
    let over_http: Value = get(&server, "/models/a/b").await.json().await.expect("JSON");
    let over_grpc = grpc::object("Model", &one.into_inner().model.expect("a model"));
    assert_eq!(
        over_grpc,
        json!({"id": over_http["id"], "created": over_http["created"], "owned_by": "tokenecho"})
    );
    assert_eq!(none.code(), Code::NotFound);
    assert_eq!(grpc::failure(&none).1["code"], "model_not_found");
}
