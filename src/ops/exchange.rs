//! The exchange: one request and its answer, as facts that are noted on the way.
//!
//! Every layer notes what it knows. The layer that opened the exchange closes it once, when the last byte of the
//! answer has left or the caller has, and the observers see it then.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use crate::engine::Usage;
use crate::error::{ApiError, Facts, shown};
use crate::route::Route;

/// The header with a request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// One request and its answer; clones are the same exchange.
#[derive(Clone)]
pub(crate) struct Exchange(Arc<Inner>);

struct Inner {
    request_id: HeaderValue,
    route: Route,
    method: Method,
    /// Copied: a slice would keep the whole head in memory as long as the answer takes.
    path: String,
    trace_id: Option<String>,
    started: Instant,
    noted: Mutex<Noted>,
}

/// What becomes known on the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    /// The name of the caller's key.
    pub caller: Option<Arc<str>>,
    /// The model that answers.
    pub model: Option<String>,
    /// The failure, if there was one.
    pub failure: Option<Failure>,
    /// The directives that were applied, as `x-mock-applied` writes them.
    pub applied: Option<String>,
    /// From the request's arrival to its first token.
    pub ttft: Option<Duration>,
    /// Tokens of prompt and answer.
    pub usage: Usage,
}

/// A failure, for logs and metrics.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What it is, in a word or two.
    pub name: Cow<'static, str>,
    /// Its HTTP status, over gRPC as well.
    pub status: u16,
    /// The parameter that is wrong.
    pub param: Option<String>,
    /// Whether the caller asked for it.
    pub is_simulated: bool,
    /// Whether something is wrong with the server, and not with the request or its time.
    pub is_defect: bool,
}

impl From<&ApiError> for Failure {
    fn from(error: &ApiError) -> Self {
        let Facts { status, param, .. } = error.facts();
        let is_simulated = matches!(error, ApiError::Simulated(_));
        let is_expected = is_simulated || matches!(error, ApiError::Draining | ApiError::DeadlineExceeded);
        Self { name: error.name(), status, param, is_simulated, is_defect: status >= 500 && !is_expected }
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AnswerStatus {
    /// Over HTTP.
    Http(StatusCode),
    /// Over gRPC.
    Grpc {
        /// The name of its code.
        code: &'static str,
        /// The HTTP status that the code is mapped to.
        status: u16,
    },
}

impl AnswerStatus {
    /// As its protocol writes it: `200`, `RESOURCE_EXHAUSTED`.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Http(status) => status.as_str(),
            Self::Grpc { code, .. } => code,
        }
    }

    /// The HTTP status.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Http(status) => status.as_u16(),
            Self::Grpc { status, .. } => status,
        }
    }
}

/// An exchange that has just been closed.
pub(crate) struct Closed<'a> {
    /// The exchange.
    pub exchange: &'a Exchange,
    /// What became known of it.
    pub noted: &'a Noted,
    /// How the answer ended.
    pub status: AnswerStatus,
    /// Whether the caller went away before the end.
    pub left: bool,
    /// From the request's arrival to the end of the answer.
    pub duration: Duration,
}

impl Closed<'_> {
    /// The HTTP status of how it ended: of the failure, which may come after a head with 200, else of the answer.
    pub(crate) fn http_status(&self) -> u16 {
        self.noted.failure.as_ref().map_or(self.status.number(), |failure| failure.status)
    }

    /// Whether it failed as it asked to.
    pub(crate) fn is_simulated(&self) -> bool {
        self.noted.failure.as_ref().is_some_and(|failure| failure.is_simulated)
    }
}

/// Sees every exchange when it closes.
pub(crate) trait Observer: Send + Sync + 'static {
    /// An exchange has closed.
    fn closed(&self, closed: &Closed<'_>);
}

impl Exchange {
    /// Opens the exchange of a request that has just arrived.
    pub(crate) fn open(route: Route, head: &Parts) -> Self {
        Self(Arc::new(Inner {
            request_id: request_id(&head.headers),
            route,
            method: head.method.clone(),
            path: shown(head.uri.path()),
            trace_id: trace_id(&head.headers),
            started: Instant::now(),
            noted: Mutex::default(),
        }))
    }

    /// The request's id: the caller's own if it was a sane one.
    pub(crate) fn request_id(&self) -> &HeaderValue {
        &self.0.request_id
    }

    /// The same as text, for log lines.
    pub(crate) fn id(&self) -> &str {
        self.0.request_id.to_str().unwrap_or_default()
    }

    /// Its row of the route table.
    pub(crate) fn route(&self) -> Route {
        self.0.route
    }

    /// The request's method.
    pub(crate) fn method(&self) -> &Method {
        &self.0.method
    }

    /// The request's path, cut where it is long.
    pub(crate) fn path(&self) -> &str {
        &self.0.path
    }

    /// The trace that it belongs to, by its `traceparent`.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref()
    }

    /// When the request arrived.
    pub(crate) fn started(&self) -> Instant {
        self.0.started
    }

    /// The directives that were applied, for the `x-mock-applied` header.
    pub(crate) fn applied(&self) -> Option<HeaderValue> {
        self.noted().applied.as_deref().and_then(|applied| HeaderValue::from_str(applied).ok())
    }

    /// Notes who calls.
    pub(crate) fn note_caller(&self, name: Arc<str>) {
        self.noted().caller = Some(name);
    }

    /// Notes the model that answers.
    pub(crate) fn note_model(&self, model: &str) {
        self.noted().model = Some(model.to_owned());
    }

    /// Notes the directives that are applied.
    pub(crate) fn note_applied(&self, directives: String) {
        self.noted().applied = Some(directives);
    }

    /// Notes a failure.
    pub(crate) fn note_error(&self, error: &ApiError) {
        self.noted().failure = Some(error.into());
    }

    /// Notes that the client read nothing for longer than the server waits.
    pub(crate) fn note_stalled(&self) {
        let name = "reader_timeout".into();
        self.noted().failure = Some(Failure {
            name,
            status: client_left().as_u16(),
            param: None,
            is_simulated: false,
            is_defect: false,
        });
    }

    /// Notes what a generation has come to.
    pub(crate) fn note_generation(&self, ttft: Option<Duration>, usage: Usage) {
        let mut noted = self.noted();
        noted.ttft = ttft;
        noted.usage = usage;
    }

    /// Closes it; `left` where the caller went away before the end.
    pub(crate) fn close(&self, status: AnswerStatus, left: bool, observers: &[Box<dyn Observer>]) {
        let noted = std::mem::take(&mut *self.noted());
        let closed =
            Closed { exchange: self, noted: &noted, status, left, duration: self.started().elapsed() };
        for observer in observers {
            observer.closed(&closed);
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("request_id", &self.0.request_id).finish_non_exhaustive()
    }
}

/// The status of an exchange whose client left before the answer, as proxies log it.
pub(crate) fn client_left() -> StatusCode {
    StatusCode::from_u16(499).expect("it is below 1000")
}

/// `x-request-id` if it is 1 to 128 visible ASCII characters, else a new one. Copied for the same reason as the path.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_sane =
        |id: &&HeaderValue| (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    let sane = headers.get(REQUEST_ID).filter(is_sane);
    let id = sane.map_or_else(
        || HeaderValue::try_from(format!("req_{:032x}", rand::random::<u128>())),
        |id| HeaderValue::from_bytes(id.as_bytes()),
    );
    id.expect("both are visible ASCII")
}

/// The trace id of a W3C `traceparent` (`00-TRACE-SPAN-FLAGS`).
fn trace_id(headers: &HeaderMap) -> Option<String> {
    const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

    let id = headers.get(TRACEPARENT)?.to_str().ok()?.split('-').nth(1)?;
    let is_id = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
