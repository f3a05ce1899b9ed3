//! A JSON body, whole, whose every rejection is an [`ApiError`].

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::error::{ApiError, InvalidRequest};
use crate::service::Service;

/// The text of a JSON body, not parsed yet: what is parsed borrows from it.
pub struct JsonBody(Bytes);

impl JsonBody {
    /// The body as text.
    ///
    /// # Errors
    /// A body that is not UTF-8.
    pub fn text(&self) -> Result<&str, InvalidRequest> {
        std::str::from_utf8(&self.0)
            .map_err(|error| super::json::malformed(format_args!("it is not UTF-8, {error}")))
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

/// What is set aside for a body that is said to be so large; it grows as the body really comes.
const FIRST_BUFFER: u64 = 256 * 1024;

/// Why a body did not come whole: one of its bounds, which tell themselves, or the client.
fn refusal(error: axum::Error) -> ApiError {
    match error.into_inner().downcast::<ApiError>() {
        Ok(refusal) => *refusal,
        Err(error) => super::json::malformed(format_args!("it did not arrive whole, {error}")).into(),
    }
}

/// `application/json`, `application/*+json` with any parameters, or nothing said; and no encoding.
fn check_media(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_plain = headers.get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json");
    if is_plain && !headers.contains_key(header::CONTENT_ENCODING) {
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
    match text(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
            Err(unsupported(&format!("Unsupported content encoding: '{encoding}'")))
        }
        _ => Ok(()),
    }
}

fn unsupported(message: &str) -> ApiError {
    ApiError::UnsupportedMediaType(crate::error::shown(message))
}
