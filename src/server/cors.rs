//! Cross-origin requests (the Fetch standard, "CORS protocol"): which pages a browser may let call the API.
//!
//! Not tower-http's layer: a preflight has to be answered before the key check, and every answer has to carry the origin,
//! also those that are made outside of the routers.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::request::Parts;
use axum::http::uri::Scheme;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};

use crate::auth::ApiKeys;
use crate::config::AllowedOrigin;

/// Which pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cors {
    /// No page; a preflight is handled like any other request.
    Off,
    /// All pages.
    Any,
    /// Pages of this machine: without keys, any site that a local browser opens could otherwise use the server.
    Loopback,
    /// Pages of these origins.
    Only(Vec<HeaderValue>),
}

/// The headers of ours that pages may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, x-mock-applied, openai-processing-ms, openai-version, retry-after, retry-after-ms, www-authenticate",
);
/// How long a browser may cache a preflight, in seconds; Chromium caches none longer.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

impl Cors {
    /// As configured; without configuration all pages where a key is needed, else those of loopback hosts.
    pub(super) fn new(configured: &[AllowedOrigin], keys: &ApiKeys) -> Self {
        let is_given = |origin| configured.contains(&origin);
        if is_given(AllowedOrigin::Off) {
            return Self::Off;
        }
        match keys {
            _ if is_given(AllowedOrigin::Any) => Self::Any,
            _ if !configured.is_empty() => {
                Self::Only(configured.iter().filter_map(AllowedOrigin::header).collect())
            }
            ApiKeys::Only(_) => Self::Any,
            ApiKeys::Any | ApiKeys::Open => Self::Loopback,
        }
    }

    /// The answer to a preflight, if the request with this head is one.
    pub(super) fn preflight(&self, head: &Parts) -> Option<Response<Body>> {
        let method = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if *self == Self::Off || head.method != Method::OPTIONS || !head.headers.contains_key(ORIGIN) {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        for names in head.headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.append(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        Some(response)
    }

    /// Adds what a page of `origin` needs to read an answer, and what caches need that keep it.
    pub(super) fn add_headers(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        const STAR: HeaderValue = HeaderValue::from_static("*");

        if matches!(self, Self::Loopback | Self::Only(_)) {
            headers.append(VARY, HeaderValue::from_name(ORIGIN));
        }
        let Some(origin) = origin.filter(|origin| self.allows(origin)) else { return };
        let allowed = if *self == Self::Any { STAR } else { origin.clone() };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Off => false,
            Self::Any => true,
            Self::Loopback => is_loopback(origin),
            Self::Only(origins) => origins.contains(origin),
        }
    }
}

/// Whether an origin is that of pages of this machine; the origin `null` is not one.
fn is_loopback(origin: &HeaderValue) -> bool {
    let Ok(uri) = Uri::try_from(origin.as_bytes()) else { return false };
    let is_web = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_local = host == "localhost"
        || host.ends_with(".localhost")
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    is_web
        && is_local
        && uri.path() == "/"
        && !uri.authority().is_some_and(|host| host.as_str().contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_page_is_one_of_this_machine_over_http() {
        for origin in [
            "http://localhost",
            "http://localhost:3000",
            "https://app.localhost:8443",
            "http://127.0.0.1:5173",
            "http://[::1]:80",
        ] {
            assert!(is_loopback(&HeaderValue::from_static(origin)), "{origin}");
        }
        for origin in [
            "null",
            "",
            "*",
            "http://example.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://notlocalhost",
            "file://localhost",
            "http://user@localhost",
            "http://10.0.0.1",
            "localhost",
        ] {
            assert!(!is_loopback(&HeaderValue::from_static(origin)), "{origin}");
        }
    }
}
