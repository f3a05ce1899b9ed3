//! The limits on requests and connections, each an option.

use std::time::Duration;

use super::system;
use crate::route::Route;
use crate::units::{duration, patience, some_size};

/// All limits.
#[derive(clap::Args, Clone, Debug)]
#[expect(missing_docs, reason = "flattened: their fields are documented")]
pub struct LimitOptions {
    #[command(flatten)]
    pub requests: RequestLimits,
    #[command(flatten)]
    pub connections: ConnectionLimits,
}

/// What bounds requests, whichever connection they come by.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct RequestLimits {
    /// Largest request body, and gRPC message
    ///
    /// Over it: 413, RESOURCE_EXHAUSTED. Example: --max-body 4MiB
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = some_size, hide_short_help = true)]
    pub max_body: u64,

    /// Total memory for request bodies, what is parsed from them, and buffered responses [default: a quarter of the memory limit, 512MiB without one]
    ///
    /// Not smaller than --max-body.
    /// Over it: 429, RESOURCE_EXHAUSTED; 413 where one request alone needs more. Example: --max-inflight-body 128MiB
    #[arg(long, value_name = "SIZE", value_parser = some_size, hide_short_help = true)]
    pub max_inflight_body: Option<u64>,

    /// Time for a whole request body to arrive
    ///
    /// Over it: 408, DEADLINE_EXCEEDED. Example: --body-timeout 10s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = patience, hide_short_help = true)]
    pub body_timeout: Duration,

    /// Generations at once, streamed or not
    ///
    /// A delayed failure or list of models counts as one.
    /// Over it: 429 at once, RESOURCE_EXHAUSTED. Example: --max-generations 500
    #[arg(long, value_name = "COUNT", default_value_t = 20_000, value_parser = count, hide_short_help = true)]
    pub max_generations: usize,

    /// Health watches and reflection streams at once, which need no key
    ///
    /// Over it: RESOURCE_EXHAUSTED. Example: --max-open-calls 100
    #[arg(long, value_name = "COUNT", default_value_t = 4096, value_parser = count, hide_short_help = true)]
    pub max_open_calls: usize,

    /// Tokens of one generation, over all its choices
    ///
    /// Over it: a reply is cut with `length`; 400 where several choices together ask for more.
    /// Example: --max-generation-tokens 5000
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = count, hide_short_help = true)]
    pub max_generation_tokens: usize,

    /// Bytes of one generation, over all its choices
    ///
    /// Over it: as for the tokens. Example: --max-generation-bytes 1MiB
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = some_size, hide_short_help = true)]
    pub max_generation_bytes: u64,
}

/// What bounds connections and the peers behind them.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct ConnectionLimits {
    /// Time for a request's head, and for the silence before the first one
    ///
    /// Over it: closed. Example: --head-timeout 5s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = patience, hide_short_help = true)]
    pub head_timeout: Duration,

    /// How long an HTTP/1 connection may be idle between two requests
    ///
    /// Over it: closed. Example: --idle-timeout 120s
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = patience, hide_short_help = true)]
    pub idle_timeout: Duration,

    /// Connections at once; never more than the limit of open files allows
    ///
    /// Over it: a new one waits to be accepted. Example: --max-connections 2000
    #[arg(long, value_name = "COUNT", default_value_t = 16_384, value_parser = count, hide_short_help = true)]
    pub max_connections: usize,

    /// HTTP/2 streams at once on one connection
    ///
    /// Over it: REFUSED_STREAM. Example: --max-streams-per-connection 100
    #[arg(long, value_name = "COUNT", default_value_t = 2_048, value_parser = count, hide_short_help = true)]
    pub max_streams_per_connection: usize,

    /// Time between two HTTP/2 pings to a silent peer; 0 for no pings
    ///
    /// Example: --ping-interval 10s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, hide_short_help = true)]
    pub ping_interval: Duration,

    /// Time for a peer to answer a ping
    ///
    /// Over it: closed. Example: --ping-timeout 5s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = patience, hide_short_help = true)]
    pub ping_timeout: Duration,

    /// Time that sent bytes may stay unacknowledged; 0 for the system's default
    ///
    /// Over it: closed. It is TCP_USER_TIMEOUT, which also ends a peer whose receive window stays
    /// shut.
    /// Example: --peer-timeout 60s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, hide_short_help = true)]
    pub peer_timeout: Duration,

    /// Time that a client may read nothing of an answer that is ready
    ///
    /// Less than 128KiB in that time may count as nothing, on HTTP/2 less than 16KiB. Over it: the stream is reset, an
    /// HTTP/1 connection closed. Example: --reader-timeout 20s
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = patience, hide_short_help = true)]
    pub reader_timeout: Duration,

    /// Age at which a connection is closed, give or take a tenth; 0 for no limit
    ///
    /// Over it: GOAWAY or `connection: close`; open requests run to their end. Spreads clients over the pods behind an L4
    /// balancer. Example: --max-connection-age 5m
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration, hide_short_help = true)]
    pub max_connection_age: Duration,
}

impl RequestLimits {
    /// The largest body of a request to this route, and its largest gRPC message, also once it is inflated.
    pub(crate) fn max_body_of(&self, route: Route) -> u64 {
        if route.is_question() { self.max_question() } else { self.max_body }
    }

    /// All questions of one stream together, some hundred. They are not held of the memory budget, where they could crowd
    /// out callers with a key.
    pub(crate) fn max_question(&self) -> u64 {
        const MOST: u64 = 16 * 1024;
        self.max_body.min(MOST)
    }

    /// Total memory for request bodies and what is made of them, in bytes: as configured, or a quarter of what this
    /// process may use.
    pub fn max_inflight_body(&self) -> u64 {
        const WITHOUT_LIMIT: u64 = 512 << 20;
        self.max_inflight_body
            .unwrap_or_else(|| system::memory_limit().map_or(WITHOUT_LIMIT, |limit| limit / 4))
    }
}

impl ConnectionLimits {
    /// Connections at once: as configured, or what the open files allow, with a hundred kept for the rest.
    pub fn max_connections(&self) -> usize {
        const KEPT: u64 = 100;
        let files = system::raise_open_files().saturating_sub(KEPT).max(1);
        self.max_connections.min(usize::try_from(files).unwrap_or(usize::MAX))
    }
}

/// A count from 1 to what a semaphore can hold.
fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=1_000_000_000).contains(count))
        .ok_or_else(|| format!("`{text}` is not a count from 1 to 1000000000"))
}
