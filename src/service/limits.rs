//! What bounds requests and connections: every limit, once.

use std::time::Duration;

use crate::error::ApiError;
use crate::units::{duration, size};

/// The limits, each an option.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Largest request body, and gRPC message
    ///
    /// Over it: 413, RESOURCE_EXHAUSTED. Example: --max-body 4MiB
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = size, hide_short_help = true)]
    pub max_body: u64,

    /// Time in which a request body has to arrive whole
    ///
    /// Over it: 408, DEADLINE_EXCEEDED. Example: --body-timeout 10s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, hide_short_help = true)]
    pub body_timeout: Duration,

    /// Generations open at once
    ///
    /// Over it: 429 at once, RESOURCE_EXHAUSTED. Example: --max-generations 500
    #[arg(long, value_name = "COUNT", default_value_t = 20_000, value_parser = count, hide_short_help = true)]
    pub max_generations: usize,

    /// Tokens of one generation, all its choices together
    ///
    /// Over it: 400 where choices ask for more, else the reply is cut with `length`.
    /// Example: --max-generation-tokens 5000
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = count, hide_short_help = true)]
    pub max_generation_tokens: usize,

    /// Bytes of one generation, all its choices together
    ///
    /// Over it: as for the tokens. Example: --max-generation-bytes 1MiB
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size, hide_short_help = true)]
    max_generation_bytes: u64,
}

impl LimitOptions {
    /// Bytes of one generation, all its choices together.
    pub fn max_generation_bytes(&self) -> usize {
        usize::try_from(self.max_generation_bytes).unwrap_or(usize::MAX)
    }
}

/// The failure where there is too much of `what` at once.
pub fn too_many(what: &'static str) -> ApiError {
    ApiError::RateLimited { what, retry_after: Duration::from_secs(1) }
}

/// A count from 1 up to what a semaphore can hold.
fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=1_000_000_000).contains(count))
        .ok_or_else(|| format!("`{text}` is not a count from 1 to 1000000000"))
}
