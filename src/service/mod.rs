//! What both protocols share between a request and its answer: admit, generate, measure, end.
//!
//! A facade fills in an [`ApiRequest`](crate::api::ApiRequest), calls [`Service::generate`] and renders the events of
//! the [`Answer`] that comes back.

mod admission;
mod answer;
pub mod lifecycle;
pub mod limits;
pub mod metrics;
pub mod models;
pub mod record;
mod render;
pub mod uploads;
mod workers;

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{Extensions, HeaderMap};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use answer::Answer;
pub use render::{Output, Render, Rendered};

use crate::api::Validation;
use crate::auth::Caller;
use crate::engine::Engine;
use crate::error::{ApiError, InvalidRequest};
use crate::simulation::{Directives, SimulationOptions};
use lifecycle::Lifecycle;
use limits::LimitOptions;
use metrics::Metrics;
use models::{ModelOptions, Models};
use record::Record;
use uploads::{Upload, UploadBudget};
use workers::Workers;

/// The service behind every listener; clones are the same.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    engine: Arc<dyn Engine>,
    models: Models,
    options: ServiceOptions,
    limits: LimitOptions,
    generations: Arc<Semaphore>,
    open_calls: Arc<Semaphore>,
    workers: Workers,
    uploads: UploadBudget,
    metrics: Metrics,
    lifecycle: Lifecycle,
}

/// What the service answers, and to what.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Answers")]
pub struct ServiceOptions {
    #[command(flatten)]
    #[expect(missing_docs, reason = "flattened: its fields are documented")]
    pub models: ModelOptions,

    /// How much requests are held to the API's rules
    ///
    /// `lenient` also takes what a schema allows and the API refuses, such as `max_tokens: 0`; `default`
    /// refuses what the API refuses; `strict` refuses unknown fields and a missing model too.
    /// Example: --validation strict
    #[arg(long, value_enum, value_name = "MODE", default_value = "default", hide_short_help = true)]
    pub validation: Validation,

    /// What stands before the echo; empty for a bare echo
    ///
    /// Example: --reply-prefix "You said: "
    #[arg(long, value_name = "TEXT", default_value = crate::engine::EchoEngine::DEFAULT_PREFIX, hide_short_help = true)]
    pub reply_prefix: String,

    #[command(flatten)]
    #[expect(missing_docs, reason = "flattened: its fields are documented")]
    pub simulation: SimulationOptions,
}

/// What is known of a request before its handler is reached.
#[derive(Clone, Debug)]
pub struct Call {
    /// The name of the caller's key.
    pub caller: Caller,
    /// The request's record.
    pub record: Record,
    /// What its body holds of the budget of all bodies.
    pub upload: Upload,
    /// What its headers ask of the simulation.
    directives: Result<Directives, InvalidRequest>,
}

impl Call {
    /// The call of a request with these headers.
    pub fn new(caller: Caller, record: Record, upload: Upload, headers: &HeaderMap) -> Self {
        Self { caller, record, upload, directives: Directives::from_headers(headers) }
    }

    /// What the access log left in a request's extensions.
    ///
    /// # Errors
    /// [`ApiError::Internal`] where it is missing: no handler is reached without it.
    pub fn of(extensions: &Extensions) -> Result<Self, ApiError> {
        extensions.get().cloned().ok_or(ApiError::Internal)
    }
}

impl Service {
    /// A service in front of `engine`.
    pub fn new(
        engine: Arc<dyn Engine>,
        options: ServiceOptions,
        limits: LimitOptions,
        lifecycle: Lifecycle,
    ) -> Self {
        Self(Arc::new(Inner {
            engine,
            models: Models::new(&options.models, unix_time()),
            generations: Arc::new(Semaphore::new(limits.max_generations)),
            open_calls: Arc::new(Semaphore::new(limits.max_open_calls)),
            workers: Workers::one_a_processor(),
            uploads: UploadBudget::new(limits.max_inflight_body()),
            metrics: Metrics::new(),
            options,
            limits,
            lifecycle,
        }))
    }

    /// Does `work` for a call: in place, or on a worker where what the call holds of the budget says that it is much.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn run<T: Send + 'static>(
        &self,
        call: &Call,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.0.workers.run(call.upload.bytes(), work).await
    }

    /// A slot among the calls that may stay open without a key.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`] where there is none.
    pub fn open_call(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.0.open_calls).try_acquire_owned().map_err(|_| limits::too_many("calls are open"))
    }

    /// How much requests are held to the API's rules.
    pub fn validation(&self) -> Validation {
        self.0.options.validation
    }

    /// What bounds requests.
    pub fn limits(&self) -> &LimitOptions {
        &self.0.limits
    }

    /// What bodies are held, all together.
    pub fn uploads(&self) -> &UploadBudget {
        &self.0.uploads
    }

    /// What is counted and measured.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Where the server is between its start and its end.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.0.lifecycle
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("options", &self.0.options).finish_non_exhaustive()
    }
}

/// Seconds since 1970, as the API dates things.
pub fn unix_time() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
