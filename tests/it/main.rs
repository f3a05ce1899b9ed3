//! The real server over real sockets, one file per feature. Every test starts its own server on port 0.

mod arrows;
mod auth;
mod bad_input;
mod bounded;
mod chat;
mod cli;
mod drain;
mod engines;
mod errors;
mod framing;
mod grpc;
mod http2;
mod keys;
mod leaving;
mod listeners;
mod metrics;
mod models;
mod pacing;
mod parity;
mod properties;
mod prose;
mod sizes;
mod slow_clients;
mod support;
