//! A conversation over gRPC, token by token.
//!
//! ```sh
//! cargo run --release -- --api-key 123
//! cargo run --example grpc_client --features client -- http://127.0.0.1:50051 123 "Hello there"
//! ```

use std::io::Write;

use tokenecho::pb::chat_message::Content;
use tokenecho::pb::chat_service_client::ChatServiceClient;
use tokenecho::pb::{ChatMessage, CreateChatCompletionRequest, Role};
use tonic::Request;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().unwrap_or_else(|| "http://127.0.0.1:50051".into());
    let key = arguments.next().unwrap_or_else(|| "123".into());
    let text = arguments.next().unwrap_or_else(|| "Hello there".into());

    let message =
        ChatMessage { role: Role::User.into(), content: Some(Content::Text(text)), ..ChatMessage::default() };
    let mut request = Request::new(CreateChatCompletionRequest {
        messages: vec![message],
        ..CreateChatCompletionRequest::default()
    });
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse()?);

    let mut client = ChatServiceClient::connect(endpoint).await?;
    let mut items = client.stream_chat_completion(request).await?.into_inner();
    let mut out = std::io::stdout();
    while let Some(item) = items.message().await? {
        for delta in item.choices.into_iter().filter_map(|choice| choice.delta) {
            write!(out, "{}", delta.content.unwrap_or_default())?;
            out.flush()?;
        }
    }
    writeln!(out)?;
    Ok(())
}
