//! A failure in gRPC's words: its code, and the details that clients of google.rpc's error model read.

use std::collections::HashMap;
use std::sync::Arc;

use axum::response::Response;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{ApiError, Facts};

/// The domain of our ErrorInfo.
const DOMAIN: &str = "tokenecho";

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let mut status = Self::with_error_details(code(&error), error.to_string(), details(&error));
        // For the request's exchange, which is kept outside of the services.
        status.set_source(Arc::new(error));
        status
    }
}

/// The failure as the answer of a call that has sent nothing yet.
pub(crate) fn response(error: ApiError) -> Response {
    Status::from(error).into_http()
}

/// The gRPC code of a failure.
pub(crate) fn code(error: &ApiError) -> Code {
    match error {
        ApiError::InvalidRequest(_) => Code::InvalidArgument,
        ApiError::MissingKey | ApiError::WrongKey => Code::Unauthenticated,
        ApiError::ModelNotFound(_) => Code::NotFound,
        ApiError::UnknownUrl { .. }
        | ApiError::MethodNotSupported { .. }
        | ApiError::UnsupportedMediaType(_) => Code::Unimplemented,
        // As the gRPC specification asks ("Compression"), though it is the caller's error.
        ApiError::UnnamedEncoding | ApiError::Internal => Code::Internal,
        ApiError::BodyTimeout { .. } | ApiError::DeadlineExceeded => Code::DeadlineExceeded,
        ApiError::TooLarge { .. } | ApiError::NeverFits { .. } | ApiError::RateLimited { .. } => {
            Code::ResourceExhausted
        }
        ApiError::Draining => Code::Unavailable,
        ApiError::Custom(custom) => code_of(custom.status()),
        ApiError::Simulated(status) => code_of(*status),
    }
}

/// The code of an HTTP status, as google.rpc.Code maps them.
pub(crate) fn code_of(status: u16) -> Code {
    match status {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        408 | 504 => Code::DeadlineExceeded,
        409 => Code::Aborted,
        413 | 429 => Code::ResourceExhausted,
        416 => Code::OutOfRange,
        499 => Code::Cancelled,
        405 | 415 | 501 => Code::Unimplemented,
        500 => Code::Internal,
        502 | 503 | 529 => Code::Unavailable,
        _ if status < 500 => Code::FailedPrecondition,
        _ => Code::Unknown,
    }
}

/// A code's name in the gRPC specification, and the HTTP status that google.rpc.Code maps it to.
pub(crate) fn facts_of(code: Code) -> (&'static str, u16) {
    match code {
        Code::Ok => ("OK", 200),
        Code::Cancelled => ("CANCELLED", 499),
        Code::Unknown => ("UNKNOWN", 500),
        Code::InvalidArgument => ("INVALID_ARGUMENT", 400),
        Code::DeadlineExceeded => ("DEADLINE_EXCEEDED", 504),
        Code::NotFound => ("NOT_FOUND", 404),
        Code::AlreadyExists => ("ALREADY_EXISTS", 409),
        Code::PermissionDenied => ("PERMISSION_DENIED", 403),
        Code::ResourceExhausted => ("RESOURCE_EXHAUSTED", 429),
        Code::FailedPrecondition => ("FAILED_PRECONDITION", 400),
        Code::Aborted => ("ABORTED", 409),
        Code::OutOfRange => ("OUT_OF_RANGE", 400),
        Code::Unimplemented => ("UNIMPLEMENTED", 501),
        Code::Internal => ("INTERNAL", 500),
        Code::Unavailable => ("UNAVAILABLE", 503),
        Code::DataLoss => ("DATA_LOSS", 500),
        Code::Unauthenticated => ("UNAUTHENTICATED", 401),
    }
}

/// The names of the details that a failure carries beside ErrorInfo.
#[cfg(test)]
pub(crate) fn detail_names(error: &ApiError) -> Vec<&'static str> {
    let details = details(error);
    let names = [
        (details.bad_request().is_some(), "BadRequest"),
        (details.resource_info().is_some(), "ResourceInfo"),
        (details.retry_info().is_some(), "RetryInfo"),
    ];
    names.into_iter().filter_map(|(is_there, name)| is_there.then_some(name)).collect()
}

fn details(error: &ApiError) -> ErrorDetails {
    let Facts { status, kind, code, param, retry_after } = error.facts();
    let mut details = ErrorDetails::new();
    if let (ApiError::InvalidRequest(fault), Some(param)) = (error, &param) {
        details.add_bad_request_violation(param, &fault.message);
    }
    if let ApiError::ModelNotFound(model) = error {
        details.set_resource_info("model", model, "", error.to_string());
    }
    if let Some(retry_after) = retry_after {
        details.set_retry_info(Some(retry_after));
    }
    let metadata = HashMap::from([
        ("type".to_owned(), kind.clone().into_owned()),
        ("code".to_owned(), code.clone().unwrap_or_default().into_owned()),
        ("param".to_owned(), param.unwrap_or_default()),
        ("http_status".to_owned(), status.to_string()),
    ]);
    details.set_error_info(code.unwrap_or(kind).to_uppercase(), DOMAIN, metadata);
    details
}
