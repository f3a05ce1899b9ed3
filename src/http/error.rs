//! A failure over HTTP: its status, the API's error object, the headers that go with it.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::ApiError;

/// The API's error object; all four keys are always there.
#[derive(Serialize)]
pub(crate) struct ErrorBody {
    error: ErrorObject,
}

#[derive(Serialize)]
struct ErrorObject {
    message: String,
    r#type: Cow<'static, str>,
    param: Option<String>,
    code: Option<Cow<'static, str>>,
}

impl From<&ApiError> for ErrorBody {
    fn from(error: &ApiError) -> Self {
        let facts = error.facts();
        let error = ErrorObject {
            message: error.to_string(),
            r#type: facts.kind,
            param: facts.param,
            code: facts.code,
        };
        Self { error }
    }
}

/// Leaves the failure to the access log, which renders it as the request's route wants it: this sees no request.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The failure as the OpenAI API answers it.
pub(crate) fn response(error: &ApiError) -> Response {
    let facts = error.facts();
    let status = StatusCode::from_u16(facts.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(ErrorBody::from(error))).into_response();
    let headers = response.headers_mut();
    match facts.status {
        401 => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // The rest of the body is not read, so no request can follow it on an HTTP/1 connection.
        408 | 413 | 415 => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    if let Some(retry_after) = facts.retry_after {
        let milliseconds = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(milliseconds.div_ceil(1000)));
        headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(milliseconds));
    }
    response
}
