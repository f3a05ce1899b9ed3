//! ChatService: the rpcs. What goes in and out is turned in `convert`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::convert;
use crate::error::ApiError;
use crate::pb::chat_service_server::ChatService;
use crate::pb::{CreateChatCompletionRequest, CreateChatCompletionResponse, StreamChatCompletionResponse};
use crate::service::{Answer, Call, Service};

/// Chat completions over gRPC.
pub struct Chat {
    service: Service,
}

impl Chat {
    /// The chat of `service`.
    pub fn new(service: Service) -> Self {
        Self { service }
    }

    async fn answer(
        &self,
        request: Request<CreateChatCompletionRequest>,
        streamed: bool,
    ) -> Result<Answer, ApiError> {
        let call = Call::of(request.extensions())?;
        let admit = move |service: &Service, call: &Call| {
            let (parameters, steering) = convert::read(request.into_inner(), streamed)?;
            service.generate(call, parameters, steering)
        };
        self.service.admit(&call, admit).await
    }
}

#[tonic::async_trait]
impl ChatService for Chat {
    type StreamChatCompletionStream = Items;

    async fn create_chat_completion(
        &self,
        request: Request<CreateChatCompletionRequest>,
    ) -> Result<Response<CreateChatCompletionResponse>, Status> {
        let (heading, completion) = self.answer(request, false).await?.complete().await?;
        Ok(Response::new(convert::completion(heading, completion)))
    }

    async fn stream_chat_completion(
        &self,
        request: Request<CreateChatCompletionRequest>,
    ) -> Result<Response<Items>, Status> {
        Ok(Response::new(Items(self.answer(request, true).await?)))
    }
}

/// The items of a streamed answer: those events that chat completions tell.
pub struct Items(Answer);

impl Stream for Items {
    type Item = Result<StreamChatCompletionResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let item = match ready!(Pin::new(&mut self.0).poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(event)) => convert::item(&self.0.heading, event, self.0.include_usage),
            };
            if let Some(item) = item {
                return Poll::Ready(Some(Ok(item)));
            }
        }
    }
}
