//! An OpenAI-compatible server that needs no model: it echoes the last message, token by token, at the pace you ask for,
//! over HTTP and gRPC.
//!
//! The binary serves from the command line (see the README). This library puts the same server into a Rust program or
//! test.
//!
//! # A test against it
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // On free ports of loopback, without delays; it stops when dropped.
//! let server = tokenecho::Server::builder().api_key("123")?.start().await?;
//!
//! let answer: serde_json::Value = reqwest::Client::new()
//!     .post(format!("{}/chat/completions", server.base_url()))
//!     .bearer_auth("123")
//!     .json(&serde_json::json!({"messages": [{"role": "user", "content": "Hello"}]}))
//!     .send()
//!     .await?
//!     .json()
//!     .await?;
//!
//! let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
//! assert!(text.ends_with("Hello"));
//! # Ok(())
//! # }
//! ```
//!
//! # An engine of your own
//!
//! A closure is an engine: it stands behind both protocols in the echo's place, and everything a request asks around it
//! (`n`, `stop`, token limits, usage, pacing) works for it too. See [`Engine`] for replies that take time, stream or
//! call tools.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tokenecho::Server;
//! use tokenecho::engine::{GenerationRequest, Reply};
//!
//! let yes = |_: &GenerationRequest| Reply::text("Yes, of course.");
//! let server = Server::builder().engine(yes).start().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Streaming
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! // The first token after 5 ms, each further one 1 ms later.
//! let pace = (Duration::from_millis(5), Duration::from_millis(1));
//! let server = tokenecho::Server::builder().pacing(pace.0, pace.1).start().await?;
//!
//! let stream = reqwest::Client::new()
//!     .post(format!("{}/chat/completions", server.base_url()))
//!     .json(&serde_json::json!({"stream": true, "messages": [{"role": "user", "content": "Hello"}]}))
//!     .send()
//!     .await?
//!     .text()
//!     .await?;
//!
//! assert!(stream.starts_with("data: {") && stream.ends_with("data: [DONE]\n\n"));
//! # Ok(())
//! # }
//! ```
//!
//! # gRPC
//!
//! [`pb`] has the messages and, with feature `client`, the clients.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tokenecho::pb::{self, chat_service_client::ChatServiceClient};
//!
//! let server = tokenecho::Server::builder().start().await?;
//! let mut chat = ChatServiceClient::connect(server.grpc_endpoint()).await?;
//!
//! let message = pb::ChatMessage {
//!     role: pb::Role::User.into(),
//!     content: Some(pb::chat_message::Content::Text("Hello".into())),
//!     ..Default::default()
//! };
//! let request = pb::CreateChatCompletionRequest { messages: vec![message], ..Default::default() };
//! let answer = chat.create_chat_completion(request).await?.into_inner();
//!
//! assert!(answer.choices[0].message.as_ref().unwrap().content().ends_with("Hello"));
//! # Ok(())
//! # }
//! ```
//!
//! # The map
//!
//! For those who read the source: `main -> cli -> config -> server -> {http, grpc, admin} -> service -> {api,
//! simulation} -> engine -> error`, and `ops` beside them. Begin with `service/mod.rs`; `docs/ARCHITECTURE.md` walks
//! three requests through all of it.

#![warn(unreachable_pub)]

mod admin;
mod api;
mod auth;
#[doc(hidden)]
pub mod cli;
pub mod config;
pub mod engine;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(all(test, not(fuzzing)))]
#[expect(unreachable_pub, reason = "public to the fuzzers alone")]
mod fuzzing;
mod grpc;
mod http;
mod ops;
#[cfg(test)]
mod reference;
mod route;
mod server;
mod service;
mod simulation;
mod units;
mod version;

pub use config::Config;
pub use engine::Engine;
pub use server::{Addresses, BindError, Builder, Server, Signals, StartError};

/// The gRPC messages and servers, and with feature `client` the clients, as `proto/` defines them.
pub mod pb {
    #![allow(missing_docs, clippy::pedantic, reason = "generated: the documented source is in proto/")]

    tonic::include_proto!("tokenecho.v1");

    /// `grpc.health.v1`, with the List that tonic-health does not have.
    pub mod health {
        tonic::include_proto!("grpc.health.v1");
    }

    /// Our services, by their full names.
    pub const SERVICES: [&str; 2] = ["tokenecho.v1.ChatService", "tokenecho.v1.ModelService"];

    /// The descriptors of all messages and services, health included.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("tokenecho");
}
