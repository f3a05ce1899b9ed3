//! Calls over HTTP.

use reqwest::Response;
use serde_json::{Value, json};

use super::Target;

/// A client with the key `123`; HTTP/1.1.
pub fn client() -> reqwest::Client {
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("authorization", "Bearer 123".parse().expect("a header"));
    reqwest::Client::builder().default_headers(headers).build().expect("a client")
}

/// Asks for a chat completion.
pub async fn chat(server: &impl Target, body: &Value) -> Response {
    post(server, body.to_string()).await
}

/// Sends any text as a JSON body.
pub async fn post(server: &impl Target, body: impl Into<reqwest::Body>) -> Response {
    let url = format!("http://{}/v1/chat/completions", server.addresses().api);
    let request = client().post(url).header("content-type", "application/json").body(body);
    request.send().await.expect("an answer")
}

/// A conversation of one message.
pub fn say(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}]})
}

/// `request` with more fields.
pub fn with(mut request: Value, fields: &Value) -> Value {
    let more = fields.as_object().expect("fields").clone();
    request.as_object_mut().expect("a request").extend(more);
    request
}

/// The whole answer, which must be a 200.
pub async fn completion(server: &impl Target, body: &Value) -> Value {
    let response = chat(server, body).await;
    let status = response.status();
    let answer: Value = response.json().await.expect("JSON");
    assert_eq!(status, 200, "{answer}");
    answer
}

/// The text of the answer's first choice.
pub async fn echoed(server: &impl Target, body: &Value) -> String {
    let answer = completion(server, body).await;
    answer["choices"][0]["message"]["content"].as_str().expect("a text").to_owned()
}

/// Status and error object of an answer that is a failure.
pub async fn failure(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.expect("a JSON body");
    let error = body["error"].clone();
    for key in ["message", "type", "param", "code"] {
        assert!(error.get(key).is_some(), "{key} is missing in {body}");
    }
    (status, error)
}

/// The objects of an SSE stream, and whether `[DONE]` ended it.
pub async fn events(response: Response) -> (Vec<Value>, bool) {
    let text = response.text().await.expect("a body that ends properly");
    let mut data: Vec<_> = text.split_terminator("\n\n").collect();
    let is_done = data.pop_if(|last| *last == "data: [DONE]").is_some();
    let object = |event: &str| {
        let json = event.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {event:?}"));
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
    };
    (data.into_iter().map(object).collect(), is_done)
}

/// The objects of a stream, which must end with `[DONE]`.
pub async fn chunks(server: &impl Target, body: &Value) -> Vec<Value> {
    let (chunks, is_done) = events(chat(server, &with(body.clone(), &json!({"stream": true}))).await).await;
    assert!(is_done, "no [DONE] behind {chunks:?}");
    chunks
}
