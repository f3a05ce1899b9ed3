//! What bounds requests and connections: every limit, once.

use std::time::Duration;

use crate::error::ApiError;
use crate::units::{duration, patience, size};

/// The limits, each an option; what a client sees over one is told beside it.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Largest request body, and gRPC message
    ///
    /// Over it: 413, RESOURCE_EXHAUSTED. Example: --max-body 4MiB
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = size, hide_short_help = true)]
    pub max_body: u64,

    /// Bodies, what is made of them, and unary answers held at once, together [default: a quarter of the memory limit, 512MiB without one]
    ///
    /// Over it: 429, RESOURCE_EXHAUSTED. Example: --max-inflight-body 128MiB
    #[arg(long, value_name = "SIZE", value_parser = size, hide_short_help = true)]
    pub max_inflight_body: Option<u64>,

    /// Time for a request's head, and for the silence before it on a new connection
    ///
    /// Over it: closed. Example: --head-timeout 5s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = patience, hide_short_help = true)]
    pub head_timeout: Duration,

    /// Time in which a request body has to arrive whole
    ///
    /// Over it: 408, DEADLINE_EXCEEDED. Example: --body-timeout 10s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = patience, hide_short_help = true)]
    pub body_timeout: Duration,

    /// How long an HTTP/1 connection may be idle between two requests
    ///
    /// Over it: closed. Example: --idle-timeout 120s
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = patience, hide_short_help = true)]
    pub idle_timeout: Duration,

    /// Connections at once, and never more than the open files allow
    ///
    /// Over it: a new one waits to be accepted. Example: --max-connections 2000
    #[arg(long, value_name = "COUNT", default_value_t = 16_384, value_parser = count, hide_short_help = true)]
    pub max_connections: usize,

    /// HTTP/2 streams at once on one connection
    ///
    /// Over it: REFUSED_STREAM. Example: --max-streams-per-connection 100
    #[arg(long, value_name = "COUNT", default_value_t = 2_048, value_parser = count, hide_short_help = true)]
    pub max_streams_per_connection: usize,

    /// Generations open at once
    ///
    /// Over it: 429 at once, RESOURCE_EXHAUSTED. Example: --max-generations 500
    #[arg(long, value_name = "COUNT", default_value_t = 20_000, value_parser = count, hide_short_help = true)]
    pub max_generations: usize,

    /// Health watches and reflection streams at once, which need no key
    ///
    /// Over it: RESOURCE_EXHAUSTED. Example: --max-open-calls 100
    #[arg(long, value_name = "COUNT", default_value_t = 4096, value_parser = count, hide_short_help = true)]
    pub max_open_calls: usize,

    /// How often an HTTP/2 peer is asked whether it is there; 0 for never
    ///
    /// Example: --ping-interval 10s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, hide_short_help = true)]
    pub ping_interval: Duration,

    /// How long it has to answer
    ///
    /// Over it: closed. Example: --ping-timeout 5s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = patience, hide_short_help = true)]
    pub ping_timeout: Duration,

    /// How long sent bytes may stay unacknowledged by a peer that has vanished; 0 for the system's own
    ///
    /// Over it: closed. It is TCP_USER_TIMEOUT, which also ends a peer whose receive window stays shut.
    /// Example: --peer-timeout 60s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, hide_short_help = true)]
    pub peer_timeout: Duration,

    /// How long a reader may take nothing of an answer that is ready
    ///
    /// Less than 128KiB in that time may count as nothing, on HTTP/2 less than 16KiB. Over it: its stream is reset, an
    /// HTTP/1 connection closed. Example: --reader-timeout 20s
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = patience, hide_short_help = true)]
    pub reader_timeout: Duration,

    /// How long a connection may last, give or take a tenth; 0 for any time
    ///
    /// Over it: GOAWAY or `connection: close`; what is open may end. Spreads clients over the pods behind an L4
    /// balancer. Example: --max-connection-age 5m
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration, hide_short_help = true)]
    pub max_connection_age: Duration,

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
    pub max_generation_bytes: u64,
}

impl LimitOptions {
    /// Bytes of all bodies held at once: what was asked for, or a quarter of the memory there is.
    pub fn max_inflight_body(&self) -> u64 {
        const WITHOUT_LIMIT: u64 = 512 << 20;
        self.max_inflight_body.unwrap_or_else(|| memory_limit().map_or(WITHOUT_LIMIT, |limit| limit / 4))
    }

    /// Connections at once: what was asked for, or what the open files allow, with a hundred kept for the rest.
    pub fn max_connections(&self) -> usize {
        const KEPT: u64 = 100;
        let files = raise_open_files().saturating_sub(KEPT).max(1);
        self.max_connections.min(usize::try_from(files).unwrap_or(usize::MAX))
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

/// The memory this process may use, where its control group (v2, then v1) sets a limit.
fn memory_limit() -> Option<u64> {
    // Version 1 writes a limit of none as a number next to 2^63.
    const NONE: u64 = 1 << 60;
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
        .filter(|limit| *limit < NONE)
}

/// Raises the soft limit of open files to the hard one; gives what it is then.
fn raise_open_files() -> u64 {
    const ASSUMED: u64 = 1024;
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(ASSUMED)
}
