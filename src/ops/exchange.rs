//! The record of one request: who asked what, and how it ended. It becomes one log line and its metrics.
//!
//! Every layer notes what it knows. The record is closed once, by the layer that opened it, when the last
//! byte of the answer has left or the caller has.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use tracing::{debug, info};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::engine::Usage;
use crate::error::ApiError;
use crate::route::Route;
use crate::simulation::Directives;

/// A request's record; clones are the same record.
#[derive(Clone)]
pub struct Record(Arc<Inner>);

struct Inner {
    request_id: HeaderValue,
    route: Route,
    trace_id: Option<String>,
    started: Instant,
    notes: Mutex<Notes>,
}

/// What becomes known on the way.
#[derive(Clone, Debug, Default)]
struct Notes {
    caller: Option<Arc<str>>,
    model: Option<String>,
    error: Option<Cow<'static, str>>,
    applied: Option<String>,
    ttft: Option<Duration>,
    usage: Usage,
}

impl Record {
    /// Opens the record of a request that has just come.
    pub fn open(route: Route, headers: &HeaderMap) -> Self {
        Self(Arc::new(Inner {
            request_id: request_id(headers),
            route,
            trace_id: trace_id(headers),
            started: Instant::now(),
            notes: Mutex::default(),
        }))
    }

    /// The request's id: the caller's own if it was a sane one.
    pub fn request_id(&self) -> &HeaderValue {
        &self.0.request_id
    }

    /// The same as text, for log lines.
    pub fn id(&self) -> &str {
        self.0.request_id.to_str().unwrap_or_default()
    }

    /// Its row of the route table.
    pub fn route(&self) -> Route {
        self.0.route
    }

    /// When it came.
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// The directives that were applied, as `x-mock-applied` writes them.
    pub fn applied(&self) -> Option<HeaderValue> {
        self.notes().applied.as_deref().and_then(|applied| HeaderValue::from_str(applied).ok())
    }

    /// Notes who calls.
    pub fn note_caller(&self, name: Arc<str>) {
        self.notes().caller = Some(name);
    }

    /// Notes the model that answers.
    pub fn note_model(&self, model: &str) {
        self.notes().model = Some(model.to_owned());
    }

    /// Notes what was applied of the request's directives, if it gave any.
    pub fn note_applied(&self, directives: &Directives) {
        if *directives != Directives::default() {
            self.notes().applied = Some(directives.to_string());
        }
    }

    /// Notes a failure.
    pub fn note_error(&self, error: &ApiError) {
        let facts = error.facts();
        self.notes().error = Some(facts.code.unwrap_or(facts.kind));
    }

    /// Notes what a generation has come to.
    pub fn note_generation(&self, ttft: Option<Duration>, usage: Usage) {
        let mut notes = self.notes();
        notes.ttft = ttft;
        notes.usage = usage;
    }

    /// Writes the log line. `status` is the HTTP status or the gRPC code; `left` tells that the caller went
    /// away before the end.
    ///
    /// User text is written as a quoted string with its control, direction and escape characters escaped.
    pub fn log(&self, status: &str, left: bool) {
        // Nothing is put together for a line that nobody reads.
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let Inner { route, trace_id, started, .. } = &*self.0;
        let notes = self.notes();
        let Notes { caller, model, error, ttft, usage, .. } = &*notes;
        let (protocol, endpoint) = (route.protocol.as_str(), route.endpoint.as_str());
        let caller = caller.as_deref();
        let (model, error) = (model.as_deref().map(escaped), error.as_deref());
        let model = model.as_deref();
        let ttft_ms = ttft.map(milliseconds);
        let duration_ms = milliseconds(started.elapsed());
        let Usage { prompt_tokens, completion_tokens, .. } = *usage;
        macro_rules! line {
            ($level:ident) => {
                $level!(
                    request_id = self.id(),
                    trace_id,
                    caller,
                    protocol,
                    endpoint,
                    model,
                    status,
                    error,
                    ttft_ms,
                    prompt_tokens,
                    completion_tokens,
                    duration_ms,
                    left,
                    "request"
                )
            };
        }
        // Probes come every few seconds and say nothing new.
        if route.endpoint.is_operational() { line!(debug) } else { line!(info) }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("request_id", &self.0.request_id).finish_non_exhaustive()
    }
}

/// User text for a log; most of it needs no escapes.
fn escaped(text: &str) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain { text.into() } else { Escaped(text.to_owned()).to_string().into() }
}

/// User text for a log: no character of it can end the line, hide or reorder what stands there.
struct Escaped(String);

impl fmt::Display for Escaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
        for c in self.0.chars() {
            // Controls, what is not seen or reorders what is (Unicode's format characters), and what breaks a line.
            if matches!(c.general_category(), Control | Format | LineSeparator | ParagraphSeparator) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> f64 {
    // Microseconds are as fine as a log line needs.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// `x-request-id` if it is 1 to 128 visible ASCII characters, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_sane =
        |id: &&HeaderValue| (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    headers.get("x-request-id").filter(is_sane).cloned().unwrap_or_else(|| {
        let id = format!("req_{:032x}", rand::random::<u128>());
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("req_0"))
    })
}

/// The trace id of a W3C `traceparent` (`00-TRACE-SPAN-FLAGS`).
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("traceparent")?.to_str().ok()?.split('-').nth(1)?;
    let is_id = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_text_cannot_break_or_disguise_a_log_line() {
        let escaped = Escaped("a\nb\u{1b}[31m\u{202e}\u{61c}\u{e0041}é".into()).to_string();

        assert_eq!(escaped, "a\\u{a}b\\u{1b}[31m\\u{202e}\\u{61c}\\u{e0041}é");
    }

    #[test]
    fn a_sane_request_id_is_kept_and_another_replaced() {
        let with = |id: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", HeaderValue::from_static(id));
            request_id(&headers)
        };

        assert_eq!(with("abc-1"), "abc-1");
        assert_ne!(with("a b"), "a b");
        assert_ne!(with(""), "");
    }
}
