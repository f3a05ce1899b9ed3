//! The gRPC facade: its services.
//!
//! The contract is in `proto/`, and its comments are the reference. Beside the two services of ours stand
//! health (Check and Watch) and reflection (v1 and v1alpha).

mod call;
pub(crate) mod codec;
mod deadline;
mod health;
mod items;
mod openai;
pub(crate) mod status;

#[cfg(any(test, fuzzing))]
pub(crate) use codec::decode;
#[cfg(any(test, fuzzing))]
pub(crate) use openai::read_chat_request;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use crate::pb::chat_service_server::ChatServiceServer;
use crate::pb::model_service_server::ModelServiceServer;
use crate::route::{Access, Endpoint, Route, Row};
use crate::service::Service;

/// The services of ours, by their full names.
pub(crate) const SERVICES: [&str; 2] = ["tokenecho.v1.ChatService", "tokenecho.v1.ModelService"];
const HEALTH: &str = "grpc.health.v1.Health";

/// Every method, and which of them are open: probes send no metadata.
pub(crate) const ROUTES: &[Row<()>] = &[
    method("/tokenecho.v1.ChatService/CreateChatCompletion", Endpoint::ChatCompletions, Access::Key),
    method("/tokenecho.v1.ChatService/StreamChatCompletion", Endpoint::ChatCompletions, Access::Key),
    method("/tokenecho.v1.ModelService/ListModels", Endpoint::Models, Access::Key),
    method("/tokenecho.v1.ModelService/GetModel", Endpoint::Models, Access::Key),
    method("/grpc.health.v1.Health/Check", Endpoint::Health, Access::Open),
    method("/grpc.health.v1.Health/Watch", Endpoint::HealthWatch, Access::Open),
];

/// Whether a content type is `application/grpc` or `application/grpc+proto`, in any case and with any parameters.
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    [&b"application/grpc"[..], b"application/grpc+proto"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
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
    // Messages are bounded here and not by tonic's own default of 4 MiB; `call` reports one that is too large.
    let most = usize::try_from(service.limits().max_body).unwrap_or(usize::MAX);
    let chat = ChatServiceServer::new(openai::Chat::new(service.clone())).max_decoding_message_size(most);
    let models =
        ModelServiceServer::new(openai::Models::new(service.clone())).max_decoding_message_size(most);
    let health = HealthServer::new(health::HealthService::new(service.lifecycle().clone()));
    let mut routes = Routes::new(chat).add_service(models).add_service(health);
    if reflection {
        routes = routes
            .add_service(described().build_v1().expect(DESCRIBED))
            .add_service(described().build_v1alpha().expect(DESCRIBED));
    }
    routes.into_axum_router().layer(from_fn_with_state(service, call::serve))
}

const DESCRIBED: &str = "the descriptors were made by the build";

/// What reflection reports: our services and health, by name.
fn described() -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(crate::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(HEALTH);
    SERVICES.into_iter().fold(builder, tonic_reflection::server::Builder::with_service_name)
}
