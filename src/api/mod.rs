//! The OpenAI contract, independent of the protocol: the request types that both facades fill in, and their checks.
//!
//! HTTP reads a request with [`json`], gRPC converts a message into the same struct, and fields that carry JSON in a
//! string use the same readers. [`ApiRequest::check`] then checks everything that the types do not, and returns the
//! request for the engine.

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

/// The result of reading or checking.
pub(crate) type Read<T> = Result<T, InvalidRequest>;

/// How strictly requests are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Validation {
    /// Accepts what the API's schema allows, even where the API itself rejects it.
    Lenient,
    /// Rejects what the API rejects, but ignores unknown fields and allows a missing model.
    #[default]
    Default,
    /// Also rejects unknown fields and a missing model.
    Strict,
}

/// A request to an endpoint that generates: parsed from either protocol, but not checked yet.
pub(crate) trait ApiRequest: Send + 'static {
    /// The directives in its body.
    fn directives(&self) -> Directives;

    /// Checks everything that the types do not: ranges, counts, combinations. A request without a model gets
    /// `default_model`, where `validation` allows that.
    ///
    /// # Errors
    /// The first error, with its path and the API's code.
    fn check(self, default_model: &str, validation: Validation) -> Read<GenerationRequest>;
}

/// What every object of an answer repeats, at any endpoint; each endpoint formats the id in its own way.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The answer's id.
    pub id: u128,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// The model, as named in the request.
    pub model: String,
}
