//! grpc.health.v1: whether this server is to be sent requests, asked once, for every service, or watched.
//!
//! It answers from the server's own [`Lifecycle`], as the HTTP probes do, so that one state serves both; and a watch ends
//! when the server drains, which tonic-health's own never does. tonic-health also lacks List.

use futures_util::stream::{self, BoxStream, StreamExt};
use tonic::{Request, Response, Status};

use super::HEALTH;
use crate::error::{ApiError, Custom};
use crate::ops::lifecycle::{Lifecycle, Phase};
use crate::pb::SERVICES;
use crate::pb::health::health_check_response::ServingStatus;
use crate::pb::health::health_server::Health;
use crate::pb::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};

/// The health of every service, which is the server's.
pub(super) struct HealthService {
    lifecycle: Lifecycle,
}

impl HealthService {
    /// Health by the phase of `lifecycle`.
    pub(super) fn new(lifecycle: Lifecycle) -> Self {
        Self { lifecycle }
    }

    fn now(&self) -> HealthCheckResponse {
        report(serving(*self.lifecycle.watch().borrow()))
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_known(&request.get_ref().service) {
            let unknown = Custom::new(404, "invalid_request_error", "This service is unknown to the server");
            return Err(ApiError::from(unknown).into());
        }
        Ok(Response::new(self.now()))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let statuses = services().map(|service| (service.to_owned(), self.now())).collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !is_known(&request.get_ref().service) {
            // By the protocol a watch of an unknown service reports that and stays: the service may come.
            let unknown = stream::once(async { Ok(report(ServingStatus::ServiceUnknown)) });
            let lifecycle = self.lifecycle.clone();
            let until_draining = Box::pin(async move { lifecycle.reached(Phase::Draining).await });
            return Ok(Response::new(unknown.chain(stream::pending()).take_until(until_draining).boxed()));
        }
        let phases = tokio_stream::wrappers::WatchStream::new(self.lifecycle.watch());
        let answers = phases.scan(false, |is_over, phase| {
            let answer = (!*is_over).then(|| Ok(report(serving(phase))));
            *is_over = phase >= Phase::Draining;
            std::future::ready(answer)
        });
        Ok(Response::new(answers.boxed()))
    }
}

/// The services whose health can be asked for; the empty name is the whole server.
fn services() -> impl Iterator<Item = &'static str> {
    ["", HEALTH].into_iter().chain(SERVICES)
}

fn is_known(service: &str) -> bool {
    services().any(|known| known == service)
}

fn serving(phase: Phase) -> ServingStatus {
    if phase == Phase::Ready { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn report(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
