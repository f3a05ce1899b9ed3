//! What both protocols share between a request and its answer: admit, generate, measure, end.
//!
//! A facade fills in an [`ApiRequest`](crate::api::ApiRequest), calls [`Service::generate`] and renders the events of
//! the [`Answer`] that comes back.

mod admission;
mod answer;
pub(crate) mod models;
mod render;
mod workers;

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{Extensions, HeaderMap};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use answer::Answer;
pub(crate) use render::{Output, Render, Rendered};

use crate::api::Validation;
use crate::engine::Engine;
use crate::error::{ApiError, InvalidRequest};
use crate::ops::exchange::Exchange;
use crate::ops::lifecycle::Lifecycle;
use crate::ops::limits::RequestLimits;
use crate::ops::memory::{MemoryBudget, Reservation};
use crate::ops::metrics::Metrics;
use crate::simulation::{Directives, SimulationOptions};
use models::{ModelOptions, Models};
use workers::Workers;

/// The service behind every listener; clones are the same.
#[derive(Clone)]
pub(crate) struct Service(Arc<Inner>);

struct Inner {
    engine: Arc<dyn Engine>,
    models: Models,
    options: ServiceOptions,
    limits: RequestLimits,
    generations: Arc<Semaphore>,
    open_calls: Arc<Semaphore>,
    workers: Workers,
    memory: MemoryBudget,
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
    /// Example: --reply-prefix "Echo: "
    #[arg(long, value_name = "TEXT", default_value = crate::engine::EchoEngine::DEFAULT_PREFIX, hide_short_help = true)]
    pub reply_prefix: String,

    #[command(flatten)]
    #[expect(missing_docs, reason = "flattened: its fields are documented")]
    pub simulation: SimulationOptions,
}

/// What is known of a request before its handler is reached.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The exchange that it opened.
    pub exchange: Exchange,
    /// What its body holds of the budget of all bodies.
    pub reservation: Reservation,
    /// What its headers ask of the simulation.
    directives: Result<Directives, InvalidRequest>,
}

impl Call {
    /// The call of a request with these headers.
    pub(crate) fn new(exchange: Exchange, reservation: Reservation, headers: &HeaderMap) -> Self {
        Self { exchange, reservation, directives: Directives::from_headers(headers) }
    }

    /// What the access log left in a request's extensions.
    ///
    /// # Errors
    /// [`ApiError::Internal`] where it is missing: no handler is reached without it.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, ApiError> {
        extensions.get().cloned().ok_or(ApiError::Internal)
    }
}

impl Service {
    /// A service in front of `engine`.
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        options: ServiceOptions,
        limits: RequestLimits,
        lifecycle: Lifecycle,
    ) -> Self {
        Self(Arc::new(Inner {
            engine,
            models: Models::new(&options.models, unix_time()),
            generations: Arc::new(Semaphore::new(limits.max_generations)),
            open_calls: Arc::new(Semaphore::new(limits.max_open_calls)),
            workers: Workers::one_a_processor(),
            memory: MemoryBudget::new(limits.max_inflight_body()),
            metrics: Metrics::new(),
            options,
            limits,
            lifecycle,
        }))
    }

    /// Does `work` for a call: in place, or on a worker where the call holds much of the memory budget.
    ///
    /// # Errors
    /// Those of `work`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        call: &Call,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.0.workers.run(call.reservation.bytes(), work).await
    }

    /// A slot among the calls that may stay open without a key.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`] where there is none.
    pub(crate) fn open_call(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.0.open_calls).try_acquire_owned().map_err(|_| {
            let limit = self.0.limits.max_open_calls;
            ApiError::too_many(format!("Too many calls without a key are open (the limit is {limit})"))
        })
    }

    /// The model that answers a request which names none.
    pub(crate) fn default_model(&self) -> &str {
        self.0.models.default_name()
    }

    /// How much requests are held to the API's rules.
    pub(crate) fn validation(&self) -> Validation {
        self.0.options.validation
    }

    /// What bounds requests.
    pub(crate) fn limits(&self) -> &RequestLimits {
        &self.0.limits
    }

    /// The memory of all requests together.
    pub(crate) fn memory(&self) -> &MemoryBudget {
        &self.0.memory
    }

    /// What is counted and measured.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Where the server is between its start and its end.
    pub(crate) fn lifecycle(&self) -> &Lifecycle {
        &self.0.lifecycle
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("options", &self.0.options).finish_non_exhaustive()
    }
}

/// Seconds since 1970, as the API dates things.
pub(crate) fn unix_time() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
