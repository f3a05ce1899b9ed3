//! A custom engine behind both protocols: it answers backwards.
//!
//! ```sh
//! cargo run --example custom_engine
//! ```

use std::sync::Arc;

use tokenecho::engine::{Engine, GenerationRequest, Message, Replies, Segment};
use tokenecho::error::ApiError;

/// Answers with the last message backwards, word by word.
pub struct Backwards;

impl Engine for Backwards {
    fn generate(&self, request: &Arc<GenerationRequest>) -> Result<Replies, ApiError> {
        let last = request.prompt.messages().last().map(Message::text).unwrap_or_default();
        let backwards = last.split(' ').rev().collect::<Vec<_>>().join(" ");
        Ok(Replies::Same(vec![Segment::Text(backwards.into())]))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = tokenecho::Server::builder().engine(Backwards).start().await?;
    eprintln!("HTTP at {}, gRPC at {}; Ctrl-C ends it", server.base_url(), server.grpc_endpoint());
    server.run_until(async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
