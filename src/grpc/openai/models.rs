//! ModelService.

use tonic::{Request, Response, Status};

use crate::pb::model_service_server::ModelService;
use crate::pb::{GetModelRequest, GetModelResponse, ListModelsRequest, ListModelsResponse, Model};
use crate::service::{Call, Service, models};

/// The served models, over gRPC.
pub(crate) struct Models {
    service: Service,
}

impl Models {
    /// The models of `service`.
    pub(crate) fn new(service: Service) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl ModelService for Models {
    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let models = self.service.list_models(&Call::of(request.extensions())?).await?;
        Ok(Response::new(ListModelsResponse { data: models.into_iter().map(Model::from).collect() }))
    }

    async fn get_model(
        &self,
        request: Request<GetModelRequest>,
    ) -> Result<Response<GetModelResponse>, Status> {
        let call = Call::of(request.extensions())?;
        let model = self.service.get_model(&call, &request.get_ref().model).await?;
        Ok(Response::new(GetModelResponse { model: Some(model.into()) }))
    }
}

impl From<models::Model> for Model {
    fn from(models::Model { id, created }: models::Model) -> Self {
        Self { id, created, owned_by: models::Model::OWNER.into() }
    }
}
