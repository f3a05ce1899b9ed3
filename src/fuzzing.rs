//! The entry points for bytes from outside, for fuzzers and property tests; not in any release.
//!
//! Each takes any bytes and panics only where the product would.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, header};

use crate::api::chat::ChatRequest;
use crate::api::fields::FromJson;
use crate::api::json::Node;
use crate::api::{ApiRequest, Validation};
use crate::auth::{ApiKeys, AuthOptions};
use crate::engine::{Budget, Completion, EchoEngine, Generation, Pacing, Schedule};
use crate::simulation::Directives;
use tokio::time::Instant;

/// Runs a chat request's body through the engine; returns the reply if the request is valid.
pub fn chat_request(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    reply(ChatRequest::from_json(&Node::body(text, Validation::Default).ok()?).ok()?)
}

/// Runs a gRPC request's message through the engine; returns the reply if the request is valid.
pub fn grpc_request(message: &[u8]) -> Option<String> {
    let (message, _) = crate::grpc::decode(&mut &*message).ok()?;
    reply(crate::grpc::read_chat_request(message, true, Validation::Default).ok()?)
}

/// Checks a value of the Authorization header and of the directives' headers; returns whether it is `Bearer 123`.
pub fn headers(value: &[u8]) -> bool {
    let Ok(value) = HeaderValue::from_bytes(value) else { return false };
    let mut headers = HeaderMap::new();
    for name in ["x-mock-ttft", "x-mock-itl", "x-mock-status"] {
        headers.insert(name, value.clone());
    }
    let _ = Directives::from_headers(&headers);
    headers.insert(header::AUTHORIZATION, value);
    let keys = ApiKeys::of(&AuthOptions::default(), vec!["123".parse().expect("a key")]);
    keys.check(&headers).is_ok()
}

/// Checks a config file's text; returns whether it is valid.
pub fn config_file(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| crate::config::check_file(text).is_empty())
}

fn reply(request: ChatRequest) -> Option<String> {
    let request = Arc::new(request.check("mock", Validation::Default).ok()?);
    let budget = Budget { tokens: 1000, bytes: 1 << 20 };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without IO");
    let schedule = Schedule::new(Pacing::default(), Instant::now());
    let completion = runtime.block_on(async {
        let generation = Generation::begin(&EchoEngine::new(""), &request, schedule, budget).await.ok()?;
        Some(Completion::collect(generation).await.expect("an echo does not fail"))
    });
    Some(completion?.choices.into_iter().map(|choice| choice.text).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_come_in_through_any_entry_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            chat_request(&bytes);
            grpc_request(&bytes);
            config_file(&bytes);
            prop_assert!(!headers(&bytes));
        }

        #[test]
        fn nearly_good_input_comes_in_without_harm(
            body in r#"\{"messages":\[\{"role":"(user|tool|x)","content":("[a\\\\"u0-9d]{0,12}"|\[\]|null|1)\}\]?,?"(n|stop|seed|tools)":[-0-9eE.\["a\]]{1,9}\}?"#,
            file in "(itl|ttft|port|model|limits|api-key): ?[\\[a-z0-9:, \n\"'&*|>-]{0,30}",
            header in "(Bearer|bearer|Basic) [ -~]{0,20}",
        ) {
            chat_request(body.as_bytes());
            config_file(file.as_bytes());
            prop_assert_eq!(headers(header.as_bytes()), header.eq_ignore_ascii_case("bearer 123"));
        }
    }
}
