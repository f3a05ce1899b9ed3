//! ChatService: the rpcs. `convert` turns messages into requests, and events into messages.

use tonic::{Request, Response, Status};

use super::convert::{self, ItemRenderer};
use crate::api::chat::{ChatHead, Delivery};
use crate::error::ApiError;
use crate::grpc::items::{Items, items};
use crate::pb::chat_service_server::ChatService;
use crate::pb::{CreateChatCompletionRequest, CreateChatCompletionResponse, StreamChatCompletionResponse};
use crate::service::{Answer, Call, Service};

/// Chat completions over gRPC.
pub(crate) struct Chat {
    service: Service,
}

impl Chat {
    /// The chat of `service`.
    pub(crate) fn new(service: Service) -> Self {
        Self { service }
    }

    async fn answer(
        &self,
        request: Request<CreateChatCompletionRequest>,
        streamed: bool,
    ) -> Result<(Answer, Delivery), ApiError> {
        let call = Call::of(request.extensions())?;
        let validation = self.service.validation();
        let read = move || Ok(convert::read(request.into_inner(), streamed, validation)?);
        let request = self.service.run(&call, read).await?;
        let delivery = request.delivery();
        Ok((self.service.generate(&call, request).await?, delivery))
    }
}

#[tonic::async_trait]
impl ChatService for Chat {
    type StreamChatCompletionStream = Items<StreamChatCompletionResponse>;

    async fn create_chat_completion(
        &self,
        request: Request<CreateChatCompletionRequest>,
    ) -> Result<Response<CreateChatCompletionResponse>, Status> {
        let (answer, delivery) = self.answer(request, false).await?;
        let head = ChatHead::new(answer.head().clone(), delivery);
        Ok(Response::new(convert::completion(head, answer.complete().await?)))
    }

    async fn stream_chat_completion(
        &self,
        request: Request<CreateChatCompletionRequest>,
    ) -> Result<Response<Self::StreamChatCompletionStream>, Status> {
        let (answer, delivery) = self.answer(request, true).await?;
        let include_usage = delivery.include_usage;
        let head = ChatHead::new(answer.head().clone(), delivery);
        Ok(Response::new(items(answer, ItemRenderer::new(head, include_usage))))
    }
}
