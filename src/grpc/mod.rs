//! The gRPC facade: its services.
//!
//! The contract is in `proto/`, and its comments are the reference. Beside the two services of ours stand health and
//! reflection (v1 and v1alpha).

mod call;
pub(crate) mod codec;
mod deadline;
mod health;
mod items;
mod openai;
mod reflection;
pub(crate) mod status;

#[cfg(any(test, fuzzing))]
pub(crate) use codec::decode;
#[cfg(any(test, fuzzing))]
pub(crate) use openai::read_chat_request;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::from_fn_with_state;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

use crate::pb::chat_service_server::ChatServiceServer;
use crate::pb::health::health_server::HealthServer;
use crate::pb::model_service_server::ModelServiceServer;
use crate::route::{Access, Endpoint, Route, Row};
use crate::service::Service;

const HEALTH: &str = "grpc.health.v1.Health";

/// Every method, and which of them are open: probes send no metadata.
pub(crate) const ROUTES: &[Row<()>] = &[
    method("/tokenecho.v1.ChatService/CreateChatCompletion", Endpoint::ChatCompletions, Access::Key),
    method("/tokenecho.v1.ChatService/StreamChatCompletion", Endpoint::ChatCompletions, Access::Key),
    method("/tokenecho.v1.ModelService/ListModels", Endpoint::Models, Access::Key),
    method("/tokenecho.v1.ModelService/GetModel", Endpoint::Models, Access::Key),
    method("/grpc.health.v1.Health/Check", Endpoint::Health, Access::Open),
    method("/grpc.health.v1.Health/List", Endpoint::Health, Access::Open),
    method("/grpc.health.v1.Health/Watch", Endpoint::HealthWatch, Access::Open),
];

/// Whether a content type is `application/grpc` or `application/grpc+proto`, in any case and with any parameters.
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    [&b"application/grpc"[..], b"application/grpc+proto"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
}

/// Adds the headers that every answer has.
pub(crate) fn add_headers(headers: &mut HeaderMap) {
    const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(call::ENCODINGS));
}

/// The methods of reflection, which have rows where it is served.
pub(crate) const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

const fn method(path: &'static str, endpoint: Endpoint, access: Access) -> Row<()> {
    Row { path, route: Route::grpc(endpoint, access), handler: () }
}

/// Every service, with or without `reflection`.
pub(crate) fn router(service: Service, reflection: bool) -> Router {
    // Messages are bounded here and not by tonic's own default of 4 MiB; `call` reports one that is too large. Once
    // inflated, a message is bounded by the same number. Test: `a_compressed_message_is_bounded_by_what_it_inflates_to`.
    let limits = service.limits();
    let bytes = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    let (message, question) = (bytes(limits.max_body), bytes(limits.max_question()));
    macro_rules! bounded {
        ($server:expr, $most:expr) => {
            $server.max_decoding_message_size($most).accept_compressed(CompressionEncoding::Gzip)
        };
    }
    let health = health::HealthService::new(service.lifecycle().clone());
    let mut routes =
        Routes::new(bounded!(ChatServiceServer::new(openai::Chat::new(service.clone())), message))
            .add_service(bounded!(ModelServiceServer::new(openai::Models::new(service.clone())), message))
            .add_service(bounded!(HealthServer::new(health), question));
    if reflection {
        routes = routes
            .add_service(bounded!(reflection::v1(), question))
            .add_service(bounded!(reflection::v1alpha(), question));
    }
    routes.into_axum_router().layer(from_fn_with_state(service, call::serve))
}
