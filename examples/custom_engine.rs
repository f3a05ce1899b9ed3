//! An engine of one's own behind both protocols: it answers backwards.
//!
//! ```sh
//! cargo run --example custom_engine
//! ```

use tokenecho::engine::{Engine, GenerationRequest, Message, Reply};
use tokenecho::server::Signals;

/// Says the last message backwards, word by word.
pub struct Backwards;

impl Engine for Backwards {
    fn reply(&self, request: &GenerationRequest, _choice: usize) -> Reply {
        let last = request.prompt.messages().last().map(Message::text).unwrap_or_default();
        Reply::text(last.split(' ').rev().collect::<Vec<_>>().join(" "))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = tokenecho::Server::builder().engine(Backwards).start().await?;
    eprintln!("HTTP at {}, gRPC at {}; Ctrl-C ends it", server.base_url(), server.grpc_endpoint());
    server.run(Signals::listen()).await;
    Ok(())
}
