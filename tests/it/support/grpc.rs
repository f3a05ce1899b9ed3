//! Calls over gRPC, and its messages as JSON.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Map, Value, json};
use tokenecho::pb::chat_service_client::ChatServiceClient;
use tokenecho::pb::{CreateChatCompletionRequest, FILE_DESCRIPTOR_SET};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

use super::Target;

/// A connection to the server's second listener, or to the first if there is only one.
pub async fn channel(server: &impl Target) -> Channel {
    let listener = server.addresses().grpc.unwrap_or(server.addresses().api);
    let endpoint = Endpoint::from_shared(format!("http://{listener}")).expect("an endpoint");
    endpoint.connect().await.expect("a connection")
}

/// The chat service of the server.
pub async fn chat(server: &impl Target) -> ChatServiceClient<Channel> {
    ChatServiceClient::new(channel(server).await)
}

/// A request with the key `123`.
pub fn keyed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", "Bearer 123".parse().expect("metadata"));
    request
}

/// The gRPC request with the same content as this HTTP request.
pub fn request(body: &Value) -> CreateChatCompletionRequest {
    let message =
        pool().get_message_by_name("tokenecho.v1.CreateChatCompletionRequest").expect("in our proto");
    let message =
        DynamicMessage::deserialize(message, to_proto(body)).expect("a request that our proto can express");
    CreateChatCompletionRequest::decode(message.encode_to_vec().as_slice()).expect("the same message")
}

/// The same request as the bytes of one gRPC message.
pub fn framed(body: &Value) -> Vec<u8> {
    let message = request(body).encode_to_vec();
    let length = u32::try_from(message.len()).expect("small").to_be_bytes();
    [&[0][..], &length, &message].concat()
}

/// The OpenAI object that this message mirrors, without absent fields.
pub fn object<M: Message>(name: &str, message: &M) -> Value {
    let descriptor = pool().get_message_by_name(&format!("tokenecho.v1.{name}")).expect("in our proto");
    let message =
        DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).expect("the same message");
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    let value = message.serialize_with_options(serde_json::value::Serializer, &options).expect("JSON");
    from_proto(value)
}

/// The status of a call whose body is these very bytes, wherever the answer has it.
pub async fn call(server: &impl Target, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Status {
    let socket = tokio::net::TcpStream::connect(server.addresses().api).await.expect("a connection");
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request = axum::http::Request::post(format!("http://x{path}"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = request.body(Full::new(Bytes::from(body))).expect("a request");
    let (head, body) = client.send_request(request).await.expect("an answer").into_parts();
    let body = body.collect().await.expect("an end");
    connection.abort();
    let trailers = body.trailers().cloned().unwrap_or_default();
    Status::from_header_map(&head.headers)
        .or_else(|| Status::from_header_map(&trailers))
        .expect("every call has a status")
}

/// A failure as HTTP reports it: the status and the error object.
pub fn failure(status: &Status) -> (u16, Value) {
    let details = status.get_error_details();
    let info = details.error_info().expect("every failure carries ErrorInfo");
    assert_eq!(info.domain, "tokenecho");
    let field = |key: &str| Some(info.metadata[key].clone()).filter(|value| !value.is_empty());
    let error = json!({
        "message": status.message(), "type": field("type"), "param": field("param"), "code": field("code")
    });
    (info.metadata["http_status"].parse().expect("a status"), error)
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("made by the build")
}

/// Converts the API's JSON to the proto's: roles, contents, and tools, whose kind is given by the field that is set.
fn to_proto(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(messages) = body["messages"].as_array_mut() {
        for message in messages {
            let message = message.as_object_mut().expect("a message");
            if let Some(role) = message.get("role").and_then(Value::as_str) {
                let role = format!("ROLE_{}", role.to_uppercase());
                message.insert("role".into(), role.into());
            }
            match message.remove("content") {
                Some(Value::String(text)) => drop(message.insert("text".into(), text.into())),
                Some(Value::Array(parts)) => {
                    let parts: Vec<_> = parts.into_iter().map(without_type).collect();
                    message.insert("parts".into(), json!({"parts": parts}));
                }
                _ => {}
            }
            if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
                for call in calls {
                    *call = without_type(call.take());
                }
            }
        }
    }
    if let Some(Value::Array(tools)) = body.get_mut("tools") {
        for tool in tools {
            *tool = without_type(tool.take());
            into_text(&mut tool["function"], "parameters");
            into_text(&mut tool["custom"], "format");
            tool.as_object_mut().expect("an object").retain(|_, kind| !kind.is_null());
        }
    }
    into_text(&mut body, "tool_choice");
    into_text(&mut body, "response_format");
    if let Some(Value::String(stop)) = body.get("stop").cloned() {
        body["stop"] = json!([stop]);
    }
    body
}

/// Moves a free-form field into its `…_json` counterpart.
fn into_text(object: &mut Value, name: &str) {
    if let Some(value) = object.as_object_mut().and_then(|object| object.remove(name)) {
        object[format!("{name}_json")] = value.to_string().into();
    }
}

fn without_type(mut value: Value) -> Value {
    value.as_object_mut().expect("an object").remove("type");
    value
}

/// Converts the proto's JSON to the API's; fields that are absent, null or unspecified are left out.
fn from_proto(value: Value) -> Value {
    let fields = |fields: Map<String, Value>| {
        fields
            .into_iter()
            .map(|(name, value)| (name, from_proto(value)))
            // The API omits `tool_calls` when there are none.
            .filter(|(name, value)| !value.is_null() && (name != "tool_calls" || *value != json!([])))
            .collect()
    };
    match value {
        Value::Object(object) => Value::Object(fields(object)),
        Value::Array(items) => items.into_iter().map(from_proto).collect(),
        Value::String(word) => {
            match word.strip_prefix("ROLE_").or_else(|| word.strip_prefix("FINISH_REASON_")) {
                Some("UNSPECIFIED") => Value::Null,
                Some(word) => word.to_lowercase().into(),
                None => word.into(),
            }
        }
        other => other,
    }
}
