//! Errors, independent of the protocol.
//!
//! [`ApiError::facts`] is the one table for both protocols: a failure's status, type, code and parameter, as the OpenAI
//! API reference names them. `http::error` and `grpc::status` only render it.

use std::borrow::Cow;
use std::time::Duration;

/// Why a request failed, before or during its answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// The request is invalid.
    #[error(transparent)]
    InvalidRequest(#[from] InvalidRequest),
    /// The request has no key, or not exactly one bearer token.
    #[error(
        "You didn't provide an API key. You need to provide your API key in an Authorization header using \
         Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
    )]
    MissingKey,
    /// The key is not accepted.
    #[error("Incorrect API key provided.")]
    WrongKey,
    /// A model that this server does not serve.
    #[error("The model `{0}` does not exist")]
    ModelNotFound(String),
    /// The path does not exist.
    #[error("Invalid URL ({method} {path})")]
    UnknownUrl {
        /// The request's method.
        method: String,
        /// The request's path.
        path: String,
    },
    /// The path exists, but does not allow this method.
    #[error("Not allowed to {method} on {path}")]
    MethodNotSupported {
        /// The request's method.
        method: String,
        /// The request's path.
        path: String,
    },
    /// The whole body did not arrive in time.
    #[error("The request body did not arrive within {} s", limit.as_secs_f64())]
    BodyTimeout {
        /// The time limit for a body.
        limit: Duration,
    },
    /// The body, or the message in it, is larger than the server accepts.
    #[error("The request body is larger than the {limit} bytes that this server takes")]
    TooLarge {
        /// The largest body, in bytes.
        limit: u64,
    },
    /// The request needs more memory than all requests may use together, so trying again cannot help.
    #[error("The request needs more memory than this server has for all requests together ({limit} bytes)")]
    NeverFits {
        /// The memory of all requests together, in bytes.
        limit: u64,
    },
    /// A gRPC message is marked as compressed, but the call names no encoding.
    #[error("The message is compressed, but the call has no 'grpc-encoding'")]
    UnnamedEncoding,
    /// A content type or encoding that the server does not support.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// A limit of this server is reached; the same request may pass later.
    #[error("{what}. Try again in {} s.", retry_after.as_secs_f64())]
    RateLimited {
        /// Which limit is reached, as a sentence without its full stop.
        what: String,
        /// How long to wait before trying again.
        retry_after: Duration,
    },
    /// The caller's own deadline has passed.
    #[error("The deadline of the call has passed")]
    DeadlineExceeded,
    /// The server is shutting down.
    #[error("The server is shutting down, try again on another connection")]
    Draining,
    /// The caller asked for a failure with this status (`x-mock-status`); [`SIMULATED`] has its code.
    #[error("This failure with status {0} was asked for by the request")]
    Simulated(u16),
    /// An engine's own failure.
    #[error(transparent)]
    Custom(#[from] Box<Custom>),
    /// A defect: a panic was caught.
    #[error("The server had an error while processing your request")]
    Internal,
}

/// An invalid request: what is wrong, where, and the API's code for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidRequest {
    /// The sentence the caller reads.
    pub message: String,
    /// The path of the error, such as `messages[2].content[0].type`.
    pub param: Option<String>,
    /// The API's code, such as `integer_below_min_value`; the API has none for a body that is not JSON.
    pub code: Option<&'static str>,
}

/// A custom failure: one that an engine passes on from another server, or one that a test needs.
///
/// ```
/// use tokenecho::error::{ApiError, Custom};
///
/// let error: ApiError = Custom::new(402, "insufficient_quota", "You exceeded your quota.").code("insufficient_quota").into();
/// assert_eq!(error.facts().status, 402);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Custom {
    message: String,
    facts: Facts,
}

impl Custom {
    /// A failure with this HTTP status, `error.type` and message. A status outside 400 to 599 becomes 500. The gRPC
    /// code follows from the status.
    pub fn new(status: u16, kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let status = if (400..600).contains(&status) { status } else { 500 };
        let facts = Facts { status, kind: kind.into(), code: None, param: None, retry_after: None };
        Self { message: message.into(), facts }
    }

    /// Its HTTP status.
    pub fn status(&self) -> u16 {
        self.facts.status
    }

    /// Sets `error.code`.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.facts.code = Some(code.into());
        self
    }

    /// Sets `error.param`.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.facts.param = Some(param.into());
        self
    }

    /// Sets the `retry-after` header, and RetryInfo over gRPC.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.facts.retry_after = Some(delay);
        self
    }
}

impl From<Custom> for ApiError {
    fn from(custom: Custom) -> Self {
        Self::Custom(Box::new(custom))
    }
}

/// The facts of a failure beside its message, as the API reference names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The status code of the API reference.
    pub status: u16,
    /// `error.type`.
    pub kind: Cow<'static, str>,
    /// `error.code`.
    pub code: Option<Cow<'static, str>>,
    /// `error.param`.
    pub param: Option<String>,
    /// How long to wait before trying the same request again, if that may help.
    pub retry_after: Option<Duration>,
}

const INVALID_REQUEST: &str = "invalid_request_error";
const SERVER_ERROR: &str = "server_error";
const RATE_LIMITED: &str = "requests";
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl ApiError {
    /// This failure's row in the error table.
    pub fn facts(&self) -> Facts {
        match self {
            Self::InvalidRequest(invalid) => {
                Facts { param: invalid.param.clone(), ..facts(400, INVALID_REQUEST, invalid.code) }
            }
            Self::MissingKey => facts(401, INVALID_REQUEST, None),
            Self::WrongKey => facts(401, INVALID_REQUEST, Some("invalid_api_key")),
            Self::ModelNotFound(_) => facts(404, INVALID_REQUEST, Some("model_not_found")),
            Self::UnknownUrl { .. } => facts(404, INVALID_REQUEST, None),
            Self::MethodNotSupported { .. } => facts(405, INVALID_REQUEST, Some("method_not_supported")),
            Self::BodyTimeout { .. } => facts(408, INVALID_REQUEST, Some("request_timeout")),
            Self::TooLarge { .. } | Self::NeverFits { .. } => {
                facts(413, INVALID_REQUEST, Some("request_too_large"))
            }
            Self::UnnamedEncoding => facts(400, INVALID_REQUEST, Some("unnamed_encoding")),
            Self::UnsupportedMediaType(_) => facts(415, INVALID_REQUEST, Some("unsupported_media_type")),
            Self::RateLimited { retry_after, .. } => Facts {
                retry_after: Some(*retry_after),
                ..facts(429, RATE_LIMITED, Some("rate_limit_exceeded"))
            },
            Self::DeadlineExceeded => facts(504, SERVER_ERROR, Some("timeout")),
            Self::Draining => {
                Facts { retry_after: Some(RETRY_AFTER), ..facts(503, SERVER_ERROR, Some("shutting_down")) }
            }
            Self::Simulated(status) => simulated(*status),
            Self::Custom(custom) => custom.facts.clone(),
            Self::Internal => facts(500, SERVER_ERROR, Some("internal_error")),
        }
    }

    /// The failure where `what` is the limit that is reached, with a retry after one second.
    pub fn too_many(what: impl Into<String>) -> Self {
        Self::RateLimited { what: what.into(), retry_after: RETRY_AFTER }
    }

    /// A short name for logs: the code where there is one, a word or two where the API has none.
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Self::MissingKey => "no key".into(),
            Self::UnknownUrl { .. } => "unknown path".into(),
            Self::Simulated(status) => format!("asked for: status={status}").into(),
            _ => {
                let facts = self.facts();
                facts.code.unwrap_or(facts.kind)
            }
        }
    }
}

/// The statuses with a code of their own, for requests that ask for a failure. Any other from 400 to 599 has the code null.
pub const SIMULATED: &[(u16, &str)] = &[
    (400, "bad_request"),
    (401, "invalid_api_key"),
    (402, "payment_required"),
    (403, "forbidden"),
    (404, "not_found"),
    (405, "method_not_supported"),
    (406, "not_acceptable"),
    (408, "request_timeout"),
    (409, "conflict"),
    (410, "gone"),
    (412, "precondition_failed"),
    (413, "request_too_large"),
    (415, "unsupported_media_type"),
    (416, "range_not_satisfiable"),
    (418, "im_a_teapot"),
    (422, "unprocessable_entity"),
    (423, "locked"),
    (424, "failed_dependency"),
    (425, "too_early"),
    (429, "rate_limit_exceeded"),
    (431, "request_header_fields_too_large"),
    (451, "unavailable_for_legal_reasons"),
    (499, "client_closed_request"),
    (500, "internal_error"),
    (501, "not_implemented"),
    (502, "bad_gateway"),
    (503, "service_unavailable"),
    (504, "gateway_timeout"),
    (507, "insufficient_storage"),
    (529, "overloaded"),
];

fn simulated(status: u16) -> Facts {
    let kind = match status {
        429 => RATE_LIMITED,
        529 => "overloaded_error",
        _ if status < 500 => INVALID_REQUEST,
        _ => SERVER_ERROR,
    };
    let code = SIMULATED.iter().find(|(named, _)| *named == status).map(|(_, code)| *code);
    // The statuses that come with Retry-After.
    let retry_after = matches!(status, 429 | 503).then_some(RETRY_AFTER);
    Facts { retry_after, ..facts(status, kind, code) }
}

fn facts(status: u16, kind: &'static str, code: Option<&'static str>) -> Facts {
    Facts { status, kind: kind.into(), code: code.map(Cow::Borrowed), param: None, retry_after: None }
}

impl InvalidRequest {
    /// A value that is not allowed.
    pub fn value(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()), code: Some("invalid_value") }
    }

    /// A required parameter that is missing.
    pub fn missing(param: impl Into<String>) -> Self {
        let param = param.into();
        Self {
            message: format!("Missing required parameter: '{param}'."),
            param: Some(param),
            code: Some("missing_required_parameter"),
        }
    }

    /// Two parameters that exclude each other, or one that requires another.
    pub fn combination(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            param: Some(param.into()),
            code: Some("invalid_parameter_combination"),
        }
    }

    /// An error with `code` for `param`, in the API's form `Invalid 'param': what is wrong.`
    pub fn invalid(param: impl Into<String>, code: &'static str, what: impl std::fmt::Display) -> Self {
        let param = param.into();
        Self { message: format!("Invalid '{param}': {what}"), param: Some(param), code: Some(code) }
    }
}

/// User text for use in a message: truncated if long.
pub fn shown(text: &str) -> String {
    const MOST: usize = 256;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
