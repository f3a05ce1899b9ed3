//! Directives: how a request steers its own simulation, in headers, gRPC metadata or its body.

use std::fmt;
use std::time::Duration;

use axum::http::HeaderMap;

use crate::engine::Pacing;
use crate::error::{ApiError, InvalidRequest, shown};
use crate::units;

/// An option that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// In force.
    On,
    /// Not in force.
    Off,
}

/// What one request asks of the mock, beside its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    ttft: Option<Duration>,
    itl: Option<Duration>,
    status: Option<u16>,
}

impl Simulation {
    /// Reads `x-mock-ttft`, `x-mock-itl` and `x-mock-status`.
    ///
    /// # Errors
    /// A value that is no duration, or no status of a failure (400 to 599), and a second one; the header is the
    /// `param`.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, InvalidRequest> {
        let text = |name: &str| -> Result<Option<&str>, InvalidRequest> {
            let mut values = headers.get_all(name).iter();
            let Some(value) = values.next() else { return Ok(None) };
            if values.next().is_some() {
                return Err(fault(name, "…", "one value"));
            }
            value.to_str().map(Some).map_err(|_| fault(name, "…", "plain ASCII"))
        };
        let status = match text("x-mock-status")? {
            None => None,
            Some(digits) => Some(status(
                "x-mock-status",
                code(digits).ok_or_else(|| fault("x-mock-status", digits, STATUS))?,
            )?),
        };
        Ok(Self {
            ttft: delay("x-mock-ttft", text("x-mock-ttft")?)?,
            itl: delay("x-mock-itl", text("x-mock-itl")?)?,
            status,
        })
    }

    /// Reads the `simulation` object of a body.
    ///
    /// # Errors
    /// As for headers; the `param` is the place in the body.
    pub fn from_body(
        ttft: Option<&str>,
        itl: Option<&str>,
        code: Option<i64>,
    ) -> Result<Self, InvalidRequest> {
        Ok(Self {
            ttft: delay("simulation.ttft", ttft)?,
            itl: delay("simulation.itl", itl)?,
            status: code.map(|code| status("simulation.status", code)).transpose()?,
        })
    }

    /// This steering, and where it says nothing the `weaker` one.
    #[must_use]
    pub fn or(self, weaker: Self) -> Self {
        Self {
            ttft: self.ttft.or(weaker.ttft),
            itl: self.itl.or(weaker.itl),
            status: self.status.or(weaker.status),
        }
    }

    /// The server's `pacing`, changed as asked.
    ///
    /// # Errors
    /// The failure that was asked for.
    pub fn apply(self, pacing: Pacing) -> Result<Pacing, ApiError> {
        match self.status {
            Some(status) => Err(ApiError::Simulated(status)),
            None => {
                Ok(Pacing { ttft: self.ttft.unwrap_or(pacing.ttft), itl: self.itl.unwrap_or(pacing.itl) })
            }
        }
    }
}

/// As `x-mock-applied` tells it: `ttft=50ms, itl=0s`.
impl fmt::Display for Simulation {
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
    let parse = |text| units::duration(text).map_err(|_| fault(param, text, "a duration such as 50ms or 2s"));
    value.map(parse).transpose()
}

fn code(digits: &str) -> Option<i64> {
    digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))
}

fn status(param: &str, code: i64) -> Result<u16, InvalidRequest> {
    u16::try_from(code)
        .ok()
        .filter(|status| (400..600).contains(status))
        .ok_or_else(|| fault(param, &code.to_string(), STATUS))
}

fn fault(param: &str, value: &str, expected: &str) -> InvalidRequest {
    InvalidRequest::value(param, format!("Invalid '{param}': '{}'. Expected {expected}.", shown(value)))
}
