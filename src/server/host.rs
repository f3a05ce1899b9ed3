//! The Host line of HTTP/1.1 requests (RFC 9112, 3.2): exactly one, and a valid one.

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Version, header};

use crate::error::InvalidRequest;

/// Refuses an HTTP/1.1 request without a Host line, with two, or with an invalid one. An absolute-form target needs the
/// line as well; HTTP/2 and HTTP/1.0 have no such rule.
///
/// # Errors
/// [`InvalidRequest`]. It comes before the key check: such a request is a bad one with any key.
pub(super) fn check(head: &Parts) -> Result<(), InvalidRequest> {
    if head.version == Version::HTTP_11 && !has_one_valid_host(&head.headers) {
        let message = "A request needs exactly one valid 'Host' header.".to_owned();
        return Err(InvalidRequest { message, param: None, code: None });
    }
    Ok(())
}

fn has_one_valid_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_valid(host),
        _ => false,
    }
}

/// A host, which may be empty, with an optional port and no userinfo.
fn is_valid(host: &HeaderValue) -> bool {
    let bytes = host.as_bytes();
    // Most are a name or an address, with a short port or none: nothing in them can be wrong.
    let (name, port) = match bytes.iter().rposition(|byte| *byte == b':') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.iter().all(is_plain) && port.len() <= 4 && port.iter().all(u8::is_ascii_digit) {
        return true;
    }
    // An empty host with a port, such as `:80`, is not an authority to the library.
    let with_host = if bytes[0] == b':' { [b"x", bytes].concat() } else { bytes.to_vec() };
    let has_valid_port = |authority: &Authority| {
        let after_host = authority.as_str().get(authority.host().len()..).unwrap_or_default();
        after_host.is_empty() || after_host == ":" || authority.port_u16().is_some()
    };
    !bytes.contains(&b'@')
        && Authority::try_from(with_host.as_slice()).is_ok_and(|authority| has_valid_port(&authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_an_optional_port_and_nothing_else() {
        for host in [
            "",
            "x",
            "a_b.example",
            "x:80",
            "x:",
            ":80",
            "[::1]",
            "[::1]:8000",
            "127.0.0.1:8000",
            "X-1.example",
        ] {
            assert!(is_valid(&HeaderValue::from_static(host)), "{host}");
        }
        for host in [
            "a b",
            "user@host",
            "x/y",
            "/livez",
            "x:port",
            "x:99999",
            "http://x",
            "x?y",
            "x,y z",
            "[::1",
            "x:80:80",
        ] {
            assert!(!is_valid(&HeaderValue::from_static(host)), "{host}");
        }
    }
}
