//! How an answer is paced and which faults it gets: what the caller asks ([`Directives`]) and what is done ([`Plan`]).

mod directives;

use std::time::Duration;

pub(crate) use directives::{Directives, Place};

use crate::engine::Pacing;

/// How replies are paced, and whether a request may change that.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Answers")]
pub struct SimulationOptions {
    /// Time to first token
    ///
    /// Example: --ttft 300ms
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = crate::units::duration,
        help_heading = clap::builder::Resettable::Reset)]
    pub ttft: Duration,

    /// Inter-token latency: the time between two tokens
    ///
    /// Example: --itl 50ms
    #[arg(long, value_name = "DURATION", default_value = "20ms", value_parser = crate::units::duration,
        help_heading = clap::builder::Resettable::Reset)]
    pub itl: Duration,

    /// Whether requests may set their own simulation (x-mock-ttft, x-mock-itl, x-mock-status)
    ///
    /// Example: --directives off
    #[arg(long, value_enum, value_name = "SWITCH", default_value = "on", hide_short_help = true)]
    pub directives: Switch,

    /// The longest delay that a request may set
    ///
    /// Over it: 400, INVALID_ARGUMENT. Example: --max-delay 30s
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = crate::units::duration,
        hide_short_help = true)]
    pub max_delay: Duration,
}

/// An option that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// Enabled.
    On,
    /// Disabled.
    Off,
}

/// The simulation of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// When its tokens are sent.
    pub pacing: Pacing,
    /// The status of the failure that it gets instead of an answer.
    pub failure: Option<u16>,
    /// How long that failure, or an answer that has no tokens, waits. Only a request asks for this: the server's own
    /// TTFT is for answers.
    pub delay: Duration,
}

impl Plan {
    /// The server's `options`, overridden by `asked`.
    pub(crate) fn new(options: &SimulationOptions, asked: &Directives) -> Self {
        let pacing =
            Pacing { ttft: asked.ttft.unwrap_or(options.ttft), itl: asked.itl.unwrap_or(options.itl) };
        Self { pacing, failure: asked.status, delay: asked.ttft.unwrap_or_default() }
    }
}
