//! Logs: on stderr, as text for people and JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How to log.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct LogOptions {
    /// How logs are written: auto is text on a terminal, else JSON (RUST_LOG filters)
    ///
    /// Example: --log-format json
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "auto", hide_short_help = true)]
    pub log_format: LogFormat,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Whether logs are for people, on this stderr.
    pub fn is_text(self) -> bool {
        match self {
            Self::Auto => std::io::stderr().is_terminal(),
            Self::Text => true,
            Self::Json => false,
        }
    }
}

/// Sends everything that is logged to stderr; `RUST_LOG` filters, `info` is the default.
pub fn start(options: &LogOptions) {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if options.log_format.is_text() {
        logs.with_ansi(std::io::stderr().is_terminal()).init();
    } else {
        logs.json().flatten_event(true).init();
    }
}
