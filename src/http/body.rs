//! JSON bodies, whole: one that comes in, whose every rejection is an [`ApiError`], and one that goes out.

use std::io;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::api::fields::FromJson;
use crate::api::json::{Node, malformed};
use crate::error::ApiError;
use crate::ops::memory::Reservation;
use crate::service::{Call, Service};

/// The text of a JSON body, not parsed yet: what is parsed borrows from it.
pub(super) struct JsonBody(Bytes);

impl JsonBody {
    /// The request that the body is.
    ///
    /// # Errors
    /// A body that is not UTF-8 or not JSON, and the first value of another type or shape, with its place.
    pub(super) async fn read<R>(self, service: &Service, call: &Call) -> Result<R, ApiError>
    where
        R: FromJson + Send + 'static,
    {
        let validation = service.validation();
        let read = move || {
            let text = std::str::from_utf8(&self.0)
                .map_err(|error| malformed(format_args!("it is not UTF-8, {error}")))?;
            Ok(R::from_json(&Node::body(text, validation)?)?)
        };
        service.run(call, read).await
    }
}

impl FromRequest<Service> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, service: &Service) -> Result<Self, ApiError> {
        check_media(request.headers())?;
        let limit = service.limits().max_body;
        // A declared length is refused before anything is read: a client that waits for `100 Continue` sends
        // nothing then.
        let declared = request.headers().get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > limit) {
            return Err(ApiError::TooLarge { limit });
        }
        // One buffer: a frame kept for each chunk would let a body of tiny ones hold many times its size.
        let expected = declared.unwrap_or_default().min(FIRST_BUFFER);
        let mut text = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(refusal)?.into_data() {
                text.extend_from_slice(&data);
            }
        }
        Ok(Self(text.freeze()))
    }
}

/// The most that is allocated for a declared length; the buffer grows as the body arrives.
const FIRST_BUFFER: u64 = 256 * 1024;

/// Why a body did not arrive whole: one of its bounds, or the client.
fn refusal(error: axum::Error) -> ApiError {
    match error.into_inner().downcast::<ApiError>() {
        Ok(refusal) => *refusal,
        Err(error) => malformed(format_args!("it did not arrive whole, {error}")).into(),
    }
}

/// Takes `application/json` and `application/*+json` with any parameters, or no content type; and no encoding.
fn check_media(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_plain = headers.get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json");
    let is_encoded =
        headers.contains_key(header::CONTENT_ENCODING) || headers.contains_key(header::TRANSFER_ENCODING);
    if is_plain && !is_encoded {
        return Ok(());
    }
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if let Some(content_type) = text(header::CONTENT_TYPE) {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_json = essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"));
        if !is_json {
            return Err(unsupported(&format!(
                "Unsupported content type: expected application/json, got '{essence}'"
            )));
        }
    }
    // Only the last of several codings is undone by the server below.
    if let Some(coding) =
        text(header::TRANSFER_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("chunked"))
    {
        return Err(unsupported(&format!("Unsupported transfer encoding: '{coding}'")));
    }
    match text(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
            Err(unsupported(&format!("Unsupported content encoding: '{encoding}'")))
        }
        _ => Ok(()),
    }
}

/// An answer of `value` as JSON. It may be several times as large as the `text` bytes that it is made of, and whatever
/// it has beyond them is held of the budget of all bodies as well.
///
/// # Errors
/// [`ApiError::RateLimited`] where there is no room for it.
pub(super) async fn json<T>(
    service: &Service,
    call: &Call,
    text: usize,
    value: T,
) -> Result<Response, ApiError>
where
    T: serde::Serialize + Send + 'static,
{
    let reservation = call.reservation.clone();
    service.run(call, move || write_json(&value, text, &reservation)).await
}

fn write_json(
    value: &impl serde::Serialize,
    held: usize,
    reservation: &Reservation,
) -> Result<Response, ApiError> {
    // Braces and names of a small answer.
    const FRAME: usize = 1024;
    let mut json =
        HeldJson { bytes: Vec::with_capacity(held + FRAME), held: held + FRAME, reservation, refusal: None };
    let written = serde_json::to_writer(&mut json, value);
    if let Some(refusal) = json.refusal {
        return Err(refusal);
    }
    written.expect("our own types have string keys, and a Vec takes all bytes");
    Ok(([(header::CONTENT_TYPE, "application/json")], json.bytes).into_response())
}

/// JSON being written, held as it grows.
struct HeldJson<'a> {
    bytes: Vec<u8>,
    held: usize,
    reservation: &'a Reservation,
    /// Why it cannot grow any further.
    refusal: Option<ApiError>,
}

impl HeldJson<'_> {
    /// Holds more of the budget, where `more` bytes do not fit into what is held.
    #[cold]
    fn grow(&mut self, more: usize) -> io::Result<()> {
        let missing = (self.bytes.len() + more).saturating_sub(self.held);
        let step = missing.max(self.held / 4);
        if let Err(refusal) = self.reservation.hold(step) {
            self.refusal = Some(refusal);
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.held += step;
        self.bytes.reserve_exact(self.held - self.bytes.len());
        Ok(())
    }
}

impl io::Write for HeldJson<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.write_all(text)?;
        Ok(text.len())
    }

    // What serde_json calls for every key, comma and brace.
    #[inline]
    fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        if self.bytes.len() + text.len() > self.held {
            self.grow(text.len())?;
        }
        self.bytes.extend_from_slice(text);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unsupported(message: &str) -> ApiError {
    ApiError::UnsupportedMediaType(crate::error::shown(message))
}
