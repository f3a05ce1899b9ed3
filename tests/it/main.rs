//! The real server over real sockets, a file a feature. Every test starts a server of its own on port 0.

mod arrows;
mod auth;
mod bad_input;
mod bounded;
mod chat;
mod cli;
mod doors;
mod drain;
mod engines;
mod errors;
mod framing;
mod grpc;
mod http2;
mod keys;
mod leaving;
mod metrics;
mod models;
mod pacing;
mod parity;
mod properties;
mod sizes;
mod slow_clients;
mod support;
