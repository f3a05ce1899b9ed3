//! The OpenAI contract, in no protocol's types: what both facades fill in, and the one place that checks it.
//!
//! HTTP reads a request with [`json`], gRPC converts a message into the same struct, and the fields that carry JSON
//! in a string are read by the same readers. [`ApiRequest::check`] then checks everything that the types do not, and
//! gives the request that an engine sees.

#[macro_use]
pub(crate) mod fields;

pub(crate) mod chat;
pub(crate) mod check;
pub(crate) mod json;
pub(crate) mod messages;
pub(crate) mod tools;

use crate::engine::GenerationRequest;
use crate::error::InvalidRequest;
use crate::simulation::Directives;

/// What reading or checking gives.
pub(crate) type Read<T> = Result<T, InvalidRequest>;

/// How much requests are held to the API's rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Validation {
    /// Takes what the API's schema allows, even where the API itself refuses it.
    Lenient,
    /// Refuses what the API refuses, but ignores unknown fields and allows a missing model.
    #[default]
    Default,
    /// Refuses unknown fields and a missing model too.
    Strict,
}

/// A request to an endpoint that generates, as it came off either wire: well-formed, and not checked yet.
pub(crate) trait ApiRequest: Send + 'static {
    /// What it asks of the simulation.
    fn directives(&self) -> Directives;

    /// Checks everything that the wire's types do not: ranges, counts, combinations. A request that names no model
    /// and may do so gets `default_model`.
    ///
    /// # Errors
    /// The first error, with its place and the API's code.
    fn check(self, default_model: &str, validation: Validation) -> Read<GenerationRequest>;
}

/// What every object of an answer repeats, whatever the endpoint; each writes the id in its own spelling.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The answer's id.
    pub id: u128,
    /// When it was begun, in seconds since 1970.
    pub created: i64,
    /// The model that answers, as the request names it.
    pub model: String,
}
