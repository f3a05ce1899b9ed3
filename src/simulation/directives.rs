//! Directives: how a request changes its own simulation, by headers, gRPC metadata or its body.

use std::fmt;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

use crate::error::{InvalidRequest, shown};
use crate::units;

/// The directives of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directives {
    /// Time to first token.
    pub ttft: Option<Duration>,
    /// Time between two tokens.
    pub itl: Option<Duration>,
    /// The status of a failure to return instead of an answer.
    pub status: Option<u16>,
    /// The first key of the body's `simulation` object that is not a directive, where such keys are ignored.
    pub ignored: Option<Box<str>>,
}

/// The place of directives in a request: what stands before their names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// HTTP headers, gRPC metadata.
    Headers,
    /// The `simulation` object.
    Body,
}

impl Place {
    fn prefix(self) -> &'static str {
        match self {
            Self::Headers => "x-mock-",
            Self::Body => "simulation.",
        }
    }
}

const TTFT_HEADER: HeaderName = HeaderName::from_static("x-mock-ttft");
const ITL_HEADER: HeaderName = HeaderName::from_static("x-mock-itl");
const STATUS_HEADER: HeaderName = HeaderName::from_static("x-mock-status");

impl Directives {
    /// Reads `x-mock-ttft`, `x-mock-itl` and `x-mock-status`.
    ///
    /// # Errors
    /// A value that is not a duration, or not the status of a failure (400 to 599), or a repeated header; `param` is
    /// the header.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, InvalidRequest> {
        let text = |name: &HeaderName| -> Result<Option<&str>, InvalidRequest> {
            let mut values = headers.get_all(name).iter();
            let Some(value) = values.next() else { return Ok(None) };
            if values.next().is_some() {
                return Err(invalid(name.as_str(), "…", "one value"));
            }
            value.to_str().map(Some).map_err(|_| invalid(name.as_str(), "…", "plain ASCII"))
        };
        let read_status = |digits: &str| {
            let code = code(digits).ok_or_else(|| invalid(STATUS_HEADER.as_str(), digits, STATUS))?;
            status(STATUS_HEADER.as_str(), code)
        };
        Ok(Self {
            ttft: delay(TTFT_HEADER.as_str(), text(&TTFT_HEADER)?)?,
            itl: delay(ITL_HEADER.as_str(), text(&ITL_HEADER)?)?,
            status: text(&STATUS_HEADER)?.map(read_status).transpose()?,
            ignored: None,
        })
    }

    /// Reads the `simulation` object of a body.
    ///
    /// # Errors
    /// As for headers; `param` is the path in the body.
    pub(crate) fn from_body(
        ttft: Option<&str>,
        itl: Option<&str>,
        code: Option<i64>,
    ) -> Result<Self, InvalidRequest> {
        Ok(Self {
            ttft: delay("simulation.ttft", ttft)?,
            itl: delay("simulation.itl", itl)?,
            status: code.map(|code| status("simulation.status", code)).transpose()?,
            ignored: None,
        })
    }

    /// Refuses delays longer than `longest`; `place` is where the directives stand.
    ///
    /// # Errors
    /// The first such delay.
    pub(crate) fn check_delays(&self, longest: Duration, place: Place) -> Result<(), InvalidRequest> {
        let too_long = |delay: &Duration| *delay > longest;
        for (name, delay) in [("ttft", self.ttft), ("itl", self.itl)] {
            if let Some(delay) = delay.filter(too_long) {
                let expected = format!("a duration of at most {}", units::shown(longest));
                let value = units::shown(delay).to_string();
                return Err(invalid(&format!("{}{name}", place.prefix()), &value, &expected));
            }
        }
        Ok(())
    }

    /// Whether no directive is set; `ignored` is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.ttft.is_none() && self.itl.is_none() && self.status.is_none()
    }

    /// These directives; absent ones are taken from `weaker`.
    #[must_use]
    pub(crate) fn or(self, weaker: Self) -> Self {
        Self {
            ttft: self.ttft.or(weaker.ttft),
            itl: self.itl.or(weaker.itl),
            status: self.status.or(weaker.status),
            ignored: self.ignored.or(weaker.ignored),
        }
    }
}

/// The value of `x-mock-applied`: `ttft=50ms, itl=0s`.
impl fmt::Display for Directives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delay = |name: &str, delay: Option<Duration>| {
            delay.map(|delay| format!("{name}={}", units::shown(delay)))
        };
        let status = self.status.map(|status| format!("status={status}"));
        let parts: Vec<_> =
            [delay("ttft", self.ttft), delay("itl", self.itl), status].into_iter().flatten().collect();
        f.write_str(&parts.join(", "))
    }
}

const STATUS: &str = "an HTTP status from 400 to 599";

fn delay(param: &str, value: Option<&str>) -> Result<Option<Duration>, InvalidRequest> {
    let parse =
        |text| units::any_duration(text).map_err(|_| invalid(param, text, "a duration such as 50ms or 2s"));
    value.map(parse).transpose()
}

fn code(digits: &str) -> Option<i64> {
    digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))
}

fn status(param: &str, code: i64) -> Result<u16, InvalidRequest> {
    u16::try_from(code)
        .ok()
        .filter(|status| (400..600).contains(status))
        .ok_or_else(|| invalid(param, &code.to_string(), STATUS))
}

fn invalid(param: &str, value: &str, expected: &str) -> InvalidRequest {
    InvalidRequest::value(param, format!("Invalid '{param}': '{}'. Expected {expected}.", shown(value)))
}
