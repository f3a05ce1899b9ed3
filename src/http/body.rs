//! A JSON body, whole and within its limits, whose every rejection is an [`ApiError`].

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

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
        let limits = service.limits();
        let too_large = ApiError::TooLarge { limit: limits.max_body };
        // A declared length is refused before anything is read: a client that waits for `100 Continue` sends
        // nothing then.
        let declared = request.headers().get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > limits.max_body) {
            return Err(too_large);
        }
        let most = usize::try_from(limits.max_body).unwrap_or(usize::MAX);
        let body = Limited::new(request.into_body(), most).collect();
        match tokio::time::timeout(limits.body_timeout, body).await {
            Ok(Ok(body)) => Ok(Self(body.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large),
            Ok(Err(error)) => {
                Err(super::json::malformed(format_args!("it did not arrive whole, {error}")).into())
            }
            Err(_) => Err(ApiError::BodyTimeout { limit: limits.body_timeout }),
        }
    }
}

/// `application/json`, `application/*+json` with any parameters, or nothing said; and no encoding.
fn check_media(headers: &HeaderMap) -> Result<(), ApiError> {
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
