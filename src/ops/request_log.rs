//! The log line of each request.

use std::borrow::Cow;
use std::time::Duration;

use tracing::{Level, debug, enabled, error, info, warn};

use super::exchange::{Closed, Observer};
use crate::engine::Usage;
use crate::route::Protocol;

/// The target of these lines, by which the console finds them.
pub(crate) const TARGET: &str = module_path!();

/// Logs every exchange: `POST /v1/chat/completions 200 in 41.2 ms`, with what is known of it as fields.
///
/// A defect of the server is an error, any other failure a warning, and one that the caller asked for neither. User text is
/// written with its control, direction and escape characters escaped.
pub(crate) struct RequestLog;

impl Observer for RequestLog {
    fn closed(&self, closed: &Closed<'_>) {
        let level = level(closed);
        // A line that is filtered out is not put together.
        if !is_logged(level) {
            return;
        }
        let Closed { exchange, noted, status, left, duration } = closed;
        let route = exchange.route();
        let (protocol, endpoint) = (route.protocol.as_str(), route.endpoint.as_str());
        let method = match route.protocol {
            Protocol::Http => exchange.method().as_str(),
            Protocol::Grpc => "gRPC",
        };
        let path = escaped(exchange.path());
        let model = noted.model.as_deref().map(escaped);
        let model = model.as_deref();
        let failure = noted.failure.as_ref();
        let error = failure.map(|failure| &*failure.name);
        let param = failure.and_then(|failure| failure.param.as_deref()).map(escaped);
        let http_status = closed.http_status();
        let ttft_ms = noted.ttft.map(milliseconds);
        let duration_ms = milliseconds(*duration);
        let tenths = duration.as_micros() / 100;
        // Put together beforehand: the formatter escapes what it is given piece by piece.
        let line = format!("{method} {path} {} in {}.{} ms", status.as_str(), tenths / 10, tenths % 10);
        let Usage { prompt_tokens, completion_tokens, .. } = noted.usage;
        macro_rules! line {
            ($level:ident) => {
                $level!(
                    request_id = exchange.id(),
                    trace_id = exchange.trace_id(),
                    caller = noted.caller.as_deref(),
                    protocol,
                    endpoint,
                    method = exchange.method().as_str(),
                    path = &*path,
                    model,
                    status = status.as_str(),
                    http_status,
                    error,
                    param = param.as_deref(),
                    ttft_ms,
                    prompt_tokens,
                    completion_tokens,
                    duration_ms,
                    left,
                    "{line}"
                )
            };
        }
        match level {
            Level::DEBUG => line!(debug),
            Level::INFO => line!(info),
            Level::WARN => line!(warn),
            _ => line!(error),
        }
    }
}

/// Whether lines of this level pass the filter.
fn is_logged(level: Level) -> bool {
    match level {
        Level::DEBUG => enabled!(Level::DEBUG),
        Level::INFO => enabled!(Level::INFO),
        Level::WARN => enabled!(Level::WARN),
        _ => enabled!(Level::ERROR),
    }
}

fn level(closed: &Closed<'_>) -> Level {
    // Probes come every few seconds and report nothing new.
    if closed.exchange.route().endpoint.is_operational() {
        return Level::DEBUG;
    }
    match &closed.noted.failure {
        Some(failure) if failure.is_simulated => Level::INFO,
        Some(failure) if failure.is_defect => Level::ERROR,
        Some(_) => Level::WARN,
        // The caller left before there was an answer.
        None if closed.status.number() >= 400 => Level::WARN,
        None => Level::INFO,
    }
}

/// User text for a log, where no character of it can end the line, hide, or reorder what stands there. Most of it needs no
/// escapes.
fn escaped(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.into();
    }
    text.escape_debug().to_string().into()
}

fn milliseconds(duration: Duration) -> f64 {
    // Microseconds are as fine as a log line needs.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_text_cannot_break_or_disguise_a_log_line() {
        let escaped = escaped("a\nb\u{1b}[31m\u{202e}\u{61c}\u{e0041}é");

        assert_eq!(escaped, "a\\nb\\u{1b}[31m\\u{202e}\\u{61c}\\u{e0041}é");
    }
}
