//! gRPC reflection, v1 and v1alpha: the contract, for clients without proto files.
//!
//! tonic-reflection provides the messages; its own service ends the stream at the first unknown name, and registers enum
//! values under wrong full names. Both versions have the same messages on the wire, so v1 serves both.

mod index;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use prost::Message;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse, ServiceResponse,
};
use tonic_reflection::pb::{v1, v1alpha};

use crate::error::shown;
use index::INDEX;

/// The service of `grpc.reflection.v1`.
pub(super) fn v1() -> v1::server_reflection_server::ServerReflectionServer<Reflection> {
    v1::server_reflection_server::ServerReflectionServer::new(Reflection)
}

/// The service of `grpc.reflection.v1alpha`.
pub(super) fn v1alpha() -> v1alpha::server_reflection_server::ServerReflectionServer<Reflection> {
    v1alpha::server_reflection_server::ServerReflectionServer::new(Reflection)
}

/// Answers questions about the contract, as long as its client asks.
pub(super) struct Reflection;

type Answers<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl v1::server_reflection_server::ServerReflection for Reflection {
    type ServerReflectionInfoStream = Answers<v1::ServerReflectionResponse>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<v1::ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        Ok(Response::new(request.into_inner().map(|question| Ok(answer(question?))).boxed()))
    }
}

#[tonic::async_trait]
impl v1alpha::server_reflection_server::ServerReflection for Reflection {
    type ServerReflectionInfoStream = Answers<v1alpha::ServerReflectionResponse>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<v1alpha::ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let answers = request.into_inner().map(|question| Ok(translated(&answer(translated(&question?)))));
        Ok(Response::new(answers.boxed()))
    }
}

/// A message of one version as that of the other.
fn translated<T: Message + Default>(message: &impl Message) -> T {
    T::decode(message.encode_to_vec().as_slice()).expect("both versions have the same fields")
}

fn answer(question: v1::ServerReflectionRequest) -> v1::ServerReflectionResponse {
    let answer = match &question.message_request {
        Some(request) => look_up(request),
        None => Err((Code::InvalidArgument, "the request asks nothing".to_owned())),
    };
    let message_response = answer.unwrap_or_else(|(code, error_message)| {
        MessageResponse::ErrorResponse(ErrorResponse { error_code: code.into(), error_message })
    });
    v1::ServerReflectionResponse {
        valid_host: question.host.clone(),
        original_request: Some(question),
        message_response: Some(message_response),
    }
}

fn look_up(request: &MessageRequest) -> Result<MessageResponse, (Code, String)> {
    match request {
        MessageRequest::FileByFilename(name) => {
            INDEX.file(name).map(files).ok_or_else(|| not_found("file", name))
        }
        MessageRequest::FileContainingSymbol(name) => {
            INDEX.file_of(name).map(files).ok_or_else(|| not_found("symbol", name))
        }
        // No message in the index has extensions.
        MessageRequest::FileContainingExtension(extension) => {
            Err(not_found("extension of", &extension.containing_type))
        }
        MessageRequest::AllExtensionNumbersOfType(name) if INDEX.has_message(name) => {
            let none = ExtensionNumberResponse { base_type_name: name.clone(), extension_number: Vec::new() };
            Ok(MessageResponse::AllExtensionNumbersResponse(none))
        }
        MessageRequest::AllExtensionNumbersOfType(name) => Err(not_found("message", name)),
        MessageRequest::ListServices(_) => {
            let services = INDEX.services().iter();
            let service = services.map(|name| ServiceResponse { name: name.clone() }).collect();
            Ok(MessageResponse::ListServicesResponse(ListServiceResponse { service }))
        }
    }
}

fn files(file_descriptor_proto: Vec<Vec<u8>>) -> MessageResponse {
    MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto })
}

fn not_found(what: &str, name: &str) -> (Code, String) {
    (Code::NotFound, format!("unknown {what} {}", shown(name)))
}
