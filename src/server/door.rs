//! What is behind a door: the layers every request passes, and which protocol answers it.
//!
//! From outside in: the record, the key check, then gRPC or HTTP by the content type, each behind its own
//! catch of panics. The key check is outermost of what could answer, so that unknown paths are 401 as well.

use std::any::Any;
use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use axum::routing::future::RouteFuture;
use axum::routing::get;
use tonic::Status;
use tower::Layer;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::error;

use super::recorded::Recorded;
use crate::auth::{ApiKeys, Caller, Door, Guarded, RequireKey};
use crate::config::{DoorOptions, Reflection};
use crate::error::ApiError;
use crate::service::Service;
use crate::service::record::{Endpoint, Protocol, Record};
use crate::{grpc, http};

/// What stands behind a door of the API.
pub type ApiRoutes = Recorded<Guarded<Dispatch, ApiDoor>>;
/// What stands behind the operators' door.
pub type AdminRoutes = Recorded<Router>;

/// What a door of the API knows of its routes.
#[derive(Clone, Debug)]
pub struct ApiDoor {
    service: Service,
    api_metrics: bool,
    reflection: Reflection,
}

impl ApiDoor {
    /// A door of `service`.
    pub fn new(service: Service, options: &DoorOptions) -> Self {
        Self { service, api_metrics: options.api_metrics, reflection: options.reflection }
    }

    /// Everything behind the door.
    pub fn routes(self, keys: ApiKeys) -> ApiRoutes {
        let service = self.service.clone();
        let dispatch = Dispatch {
            http: http::router(service.clone(), self.api_metrics)
                .layer(CatchPanicLayer::custom(|panic: Panic| panicked(&*panic).into_response())),
            grpc: grpc::router(service.clone(), self.reflection != Reflection::Off).layer(
                CatchPanicLayer::custom(|panic: Panic| Status::from(panicked(&*panic)).into_http::<Body>()),
            ),
        };
        let api_metrics = self.api_metrics;
        let guarded = RequireKey::new(keys, self).layer(dispatch);
        Recorded::new(guarded, service, move |protocol, path| endpoint(protocol, path, api_metrics))
    }
}

/// Everything behind the operators' door; no key is asked for.
pub fn admin(service: Service) -> AdminRoutes {
    let routes = http::operations()
        .route("/metrics", get(http::metrics))
        .fallback(http::unknown_url)
        .method_not_allowed_fallback(http::method_not_supported)
        .with_state(service.clone());
    Recorded::new(routes, service, |_, path| endpoint(Protocol::Http, path, true))
}

/// What a path is for.
fn endpoint(protocol: Protocol, path: &str, metrics: bool) -> Endpoint {
    match protocol {
        Protocol::Http => match path {
            "/v1/chat/completions" => Endpoint::Chat,
            "/v1/models" => Endpoint::Models,
            "/livez" | "/readyz" | "/health" | "/version" => Endpoint::Operations,
            "/metrics" if metrics => Endpoint::Operations,
            _ if path.starts_with("/v1/models/") => Endpoint::Models,
            _ => Endpoint::Unknown,
        },
        Protocol::Grpc => {
            let [chat, models] = grpc::SERVICES;
            match () {
                () if grpc::is_of(path, chat) => Endpoint::Chat,
                () if grpc::is_of(path, models) => Endpoint::Models,
                () if grpc::is_health(path) || grpc::is_reflection(path) => Endpoint::Operations,
                () => Endpoint::Unknown,
            }
        }
    }
}

impl Door<Body, Body> for ApiDoor {
    fn is_open(&self, request: &Request<Body>) -> bool {
        let protocol = protocol_of(request);
        let path = request.uri().path();
        match protocol {
            Protocol::Http => endpoint(protocol, path, self.api_metrics) == Endpoint::Operations,
            Protocol::Grpc => {
                grpc::is_health(path) || self.reflection == Reflection::Open && grpc::is_reflection(path)
            }
        }
    }

    fn admit(&self, request: &Request<Body>, caller: &Caller) {
        if let Some(record) = request.extensions().get::<Record>() {
            record.note_caller(caller.0.clone());
        }
    }

    fn refuse(&self, request: &Request<Body>, error: &ApiError) -> Response<Body> {
        let reason = if matches!(error, ApiError::MissingKey) { "missing" } else { "wrong" };
        self.service.metrics().auth_failure(reason);
        match protocol_of(request) {
            Protocol::Http => error.clone().into_response(),
            Protocol::Grpc => Status::from(error.clone()).into_http(),
        }
    }
}

/// The protocol of a request, which its record has noted already.
fn protocol_of<B>(request: &Request<B>) -> Protocol {
    request.extensions().get::<Record>().map_or(Protocol::Http, Record::protocol)
}

/// Both facades, told apart request by request: their routers cannot be merged, each has its own "not found".
#[derive(Clone)]
pub struct Dispatch {
    http: Router,
    grpc: Router,
}

impl tower::Service<Request<Body>> for Dispatch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match protocol_of(&request) {
            Protocol::Http => self.http.call(request),
            Protocol::Grpc => self.grpc.call(request),
        }
    }
}

/// What a panic was given to say.
type Panic = Box<dyn Any + Send>;

fn panicked(panic: &(dyn Any + Send)) -> ApiError {
    let reason = panic.downcast_ref::<String>().map(String::as_str);
    let reason = reason.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
    error!(reason, "a handler panicked");
    ApiError::Internal
}
