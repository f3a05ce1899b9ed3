//! An OpenAI-compatible server that needs no model.
//!
//! A shared echo engine turns a request into a stream of tokens. Two facades serve that stream: an HTTP API that
//! the OpenAI SDKs use unchanged (JSON and SSE) and a gRPC API (server streaming and unary). One bearer-key check
//! guards both. Put an [`Engine`] of your own behind both protocols by implementing one method.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tokenecho::Server;
//!
//! // On free ports of loopback, without delays; it stops when dropped.
//! let server = Server::builder().api_key("123")?.start().await?;
//!
//! assert!(server.base_url().ends_with("/v1"));
//! # Ok(())
//! # }
//! ```
//!
//! # The map
//!
//! `main -> server -> {http, grpc} -> service -> engine -> error`. A request is read in `http` or `grpc`, admitted
//! and measured in [`service`], said by [`engine`]; [`auth`] is laid on every door by [`server`]. Begin with
//! [`service`]; `docs/ARCHITECTURE.md` walks three requests through all of it.

mod admin;
pub mod api;
pub mod auth;
pub mod config;
pub mod engine;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod greeting;
mod grpc;
mod http;
pub mod route;
pub mod server;
pub mod service;
pub mod simulation;
pub mod telemetry;
pub mod units;
pub mod version;

pub use config::Config;
pub use engine::Engine;
pub use server::Server;

/// The gRPC messages and servers, and with feature `client` the clients, as `proto/` defines them.
pub mod pb {
    #![allow(missing_docs, clippy::pedantic, reason = "generated: the documented source is in proto/")]

    tonic::include_proto!("tokenecho.v1");

    /// The descriptors of all messages and services, as reflection tells them.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("tokenecho");
}
