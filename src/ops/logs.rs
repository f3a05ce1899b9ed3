//! Logs: on stderr, as text for people and JSON for machines.

use std::io::{BufWriter, IsTerminal, Write};
use std::time::Duration;

use tracing::{Level, warn};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::ChronoLocal;

use super::console::Console;
use super::json_lines::JsonLines;

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

/// The way to stderr. What is still on its way is written when this is dropped.
///
/// Lines are written on a thread of their own: a slow reader of stderr, or none, costs lines and never delays a request.
/// The number of lost lines is logged as soon as there is room again.
pub(crate) struct Logs {
    stderr: NonBlocking,
    _worker: WorkerGuard,
}

impl Logs {
    /// Sends everything that is logged to stderr; `RUST_LOG` filters, `info` is the default. Needs a runtime.
    pub(crate) fn start(options: &LogOptions) -> Self {
        // Some 4 MB of request lines.
        const LINES: usize = 8192;
        // What has gathered while the thread was writing is written at once.
        let (stderr, worker) = NonBlockingBuilder::default()
            .buffered_lines_limit(LINES)
            .thread_name("logs")
            .finish(BufWriter::new(std::io::stderr()));
        let filter = EnvFilter::builder().with_default_directive(Level::INFO.into()).from_env_lossy();
        let logs =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr.clone()).with_target(false);
        if options.log_format.is_text() {
            let time = ChronoLocal::new("%H:%M:%S%.3f".to_owned());
            logs.with_ansi(wants_colour()).event_format(Console(time)).init();
        } else {
            logs.event_format(JsonLines).init();
        }
        tokio::spawn(report_left_out(stderr.error_counter()));
        Self { stderr, _worker: worker }
    }

    /// Writes text for people, behind what was logged before.
    pub(crate) fn print(&mut self, text: &str) {
        // Only a stderr that is gone refuses it, and then no report could be read.
        let _ = self.stderr.write_all(text.as_bytes());
    }
}

/// Logs how many lines have been left out, now and then.
async fn report_left_out(counter: ErrorCounter) {
    let mut reported = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let left_out = counter.dropped_lines();
        if left_out > reported {
            warn!(lines = left_out - reported, "log lines were left out: stderr is read too slowly");
            // Where there is still no room, that line was left out too, and is tried again.
            if counter.dropped_lines() == left_out {
                reported = left_out;
            }
        }
    }
}

/// Whether stderr is a terminal that shows colour and whose user wants it (no-color.org).
fn wants_colour() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    /// What a log format writes, kept for a test to read.
    #[derive(Clone, Default)]
    pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        /// Makes writers for a subscriber.
        pub(crate) fn writer(&self) -> impl Fn() -> Self + use<> {
            let lines = self.clone();
            move || lines.clone()
        }

        /// What has been written so far.
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("no panic").clone()).expect("UTF-8")
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
