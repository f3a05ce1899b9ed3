//! `GET /v1/models` and `GET /v1/models/{model}`.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;

use crate::error::{ApiError, InvalidRequest};
use crate::service::models::Model;
use crate::service::{Call, Service};

/// The API's model object.
#[derive(Serialize)]
pub(crate) struct ModelObject {
    id: String,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
}

impl From<Model> for ModelObject {
    fn from(Model { id, created }: Model) -> Self {
        Self { id, object: "model", created, owned_by: Model::OWNER }
    }
}

/// The API's list of models.
#[derive(Serialize)]
pub(crate) struct ModelList {
    object: &'static str,
    data: Vec<ModelObject>,
}

/// Lists the served models.
pub(crate) async fn list(State(service): State<Service>, call: Call) -> Result<Json<ModelList>, ApiError> {
    let models = service.list_models(&call).await?;
    Ok(Json(ModelList { object: "list", data: models.into_iter().map(ModelObject::from).collect() }))
}

/// One model, whose name may hold slashes.
pub(crate) async fn get(
    State(service): State<Service>,
    call: Call,
    name: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Json<ModelObject>, ApiError> {
    let Path(name) =
        name.map_err(|_| InvalidRequest::value("model", "Invalid 'model': the path is not UTF-8."))?;
    Ok(Json(service.get_model(&call, &name).await?.into()))
}
