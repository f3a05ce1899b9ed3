//! Failures by their status, as both protocols report them, side by side.

use serde_json::json;
use tokenecho::Server;
use tonic_types::StatusExt;

use crate::support::{bare_echo, grpc, http, start};

/// One failure, requested by its status, as both protocols render it.
async fn row(server: &Server, status: u16) -> String {
    let request = http::with(http::say("x"), &json!({"simulation": {"status": status}}));
    let response = http::chat(server, &request).await;
    let header = |name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
    };
    let headers = format!("{} {}", header("www-authenticate"), header("retry-after-ms"));
    let (http_status, error) = http::failure(response).await;
    let mut chat = grpc::chat(server).await;
    let over_grpc = chat.create_chat_completion(grpc::request(&request)).await.expect_err("a failure");
    let details = over_grpc.get_error_details();
    let reason = details.error_info().expect("ErrorInfo").reason.clone();
    let retries = details
        .retry_info()
        .and_then(|info| info.retry_delay)
        .map_or("-".into(), |delay| format!("{delay:?}"));
    format!(
        "{http_status} {} {} {headers} | {:?} {reason} {retries}",
        error["type"].as_str().unwrap_or("-"),
        error["code"].as_str().unwrap_or("-"),
        over_grpc.code(),
    )
}

#[tokio::test]
async fn every_status_that_may_be_asked_for_has_its_own_code_on_both_protocols() {
    let server = start(bare_echo()).await;
    let mut table = Vec::new();
    for status in
        [400, 401, 403, 404, 405, 408, 409, 413, 415, 418, 422, 429, 499, 500, 501, 502, 503, 504, 529, 599]
    {
        table.push(row(&server, status).await);
    }

    insta::assert_snapshot!(table.join("\n"), @r#"
    400 invalid_request_error bad_request - - | InvalidArgument BAD_REQUEST -
    401 invalid_request_error invalid_api_key Bearer - | Unauthenticated INVALID_API_KEY -
    403 invalid_request_error forbidden - - | PermissionDenied FORBIDDEN -
    404 invalid_request_error not_found - - | NotFound NOT_FOUND -
    405 invalid_request_error method_not_supported - - | Unimplemented METHOD_NOT_SUPPORTED -
    408 invalid_request_error request_timeout - - | DeadlineExceeded REQUEST_TIMEOUT -
    409 invalid_request_error conflict - - | Aborted CONFLICT -
    413 invalid_request_error request_too_large - - | ResourceExhausted REQUEST_TOO_LARGE -
    415 invalid_request_error unsupported_media_type - - | Unimplemented UNSUPPORTED_MEDIA_TYPE -
    418 invalid_request_error im_a_teapot - - | FailedPrecondition IM_A_TEAPOT -
    422 invalid_request_error unprocessable_entity - - | FailedPrecondition UNPROCESSABLE_ENTITY -
    429 requests rate_limit_exceeded - 1000 | ResourceExhausted RATE_LIMIT_EXCEEDED 1s
    499 invalid_request_error client_closed_request - - | Cancelled CLIENT_CLOSED_REQUEST -
    500 server_error internal_error - - | Internal INTERNAL_ERROR -
    501 server_error not_implemented - - | Unimplemented NOT_IMPLEMENTED -
    502 server_error bad_gateway - - | Unavailable BAD_GATEWAY -
    503 server_error service_unavailable - 1000 | Unavailable SERVICE_UNAVAILABLE 1s
    504 server_error gateway_timeout - - | DeadlineExceeded GATEWAY_TIMEOUT -
    529 overloaded_error overloaded - - | Unavailable OVERLOADED -
    599 server_error - - - | Unknown SERVER_ERROR -
    "#);
}
