//! The one door to the engine for both protocols: admit, generate, measure, end in form.
//!
//! A facade turns its wire types into [`ChatParameters`], calls [`Service::generate`] and renders the events
//! of the [`Answer`] that comes back. Everything both protocols share happens in between, once.

mod answer;
pub mod lifecycle;
pub mod limits;
pub mod metrics;
pub mod models;
pub mod record;
pub mod simulation;
pub mod uploads;

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::Extensions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use answer::{Answer, Heading};

use crate::auth::Caller;
use crate::engine::{Budget, ChatParameters, Engine, Generation, Pacing, Validation, check_model};
use crate::error::ApiError;
use lifecycle::Lifecycle;
use limits::LimitOptions;
use metrics::Metrics;
use models::{Model, ModelOptions, Models};
use record::Record;
use simulation::{Simulation, Switch};
use uploads::{Upload, UploadBudget};

/// The service behind every door; cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    engine: Arc<dyn Engine>,
    models: Models,
    options: ServiceOptions,
    limits: LimitOptions,
    pacing: Pacing,
    generations: Arc<Semaphore>,
    open_calls: Arc<Semaphore>,
    /// For work that would hold others up.
    threads: Arc<Semaphore>,
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

    /// Whether a request may steer its own simulation (x-mock-ttft, x-mock-itl, x-mock-status)
    ///
    /// Example: --directives off
    #[arg(long, value_enum, value_name = "SWITCH", default_value = "on", hide_short_help = true)]
    pub directives: Switch,
}

/// What is known of a request before its handler is reached.
#[derive(Clone, Debug)]
pub struct Call {
    /// The holder of the key.
    pub caller: Caller,
    /// The request's record.
    pub record: Record,
    /// What its body holds of the budget of all bodies.
    pub upload: Upload,
}

impl Call {
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
        pacing: Pacing,
        lifecycle: Lifecycle,
    ) -> Self {
        Self(Arc::new(Inner {
            engine,
            models: Models::new(&options.models, unix_time()),
            generations: Arc::new(Semaphore::new(limits.max_generations)),
            open_calls: Arc::new(Semaphore::new(limits.max_open_calls)),
            threads: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get))),
            uploads: UploadBudget::new(limits.max_inflight_body()),
            metrics: Metrics::new(),
            options,
            limits,
            pacing,
            lifecycle,
        }))
    }

    /// Admits a request and starts its generation. Steering asked for in the body goes before that of the
    /// headers, which the call carries.
    ///
    /// # Errors
    /// Whatever keeps the request from being answered: a fault in it, an unknown model, a limit, or the
    /// failure that it asked for.
    pub fn generate(
        &self,
        call: &Call,
        mut parameters: ChatParameters,
        steering: Simulation,
    ) -> Result<Answer, ApiError> {
        let inner = &*self.0;
        let pacing = self.steer(call, steering)?;
        if inner.options.validation != Validation::Strict {
            parameters.model.get_or_insert_with(|| inner.models.default_name().to_owned());
        }
        let request = parameters.validate(inner.options.validation)?;
        inner.models.get(&request.model)?;
        call.record.note_model(&request.model);
        let permit = Arc::clone(&inner.generations)
            .try_acquire_owned()
            .map_err(|_| limits::too_many("generations are open"))?;
        // It lives as long as the answer, and costs more than the body that brought it.
        call.upload.hold(request.memory_of_stops())?;
        let budget = Budget {
            tokens: inner.limits.max_generation_tokens,
            bytes: usize::try_from(inner.limits.max_generation_bytes).unwrap_or(usize::MAX),
        };
        let generation = Generation::new(&*inner.engine, &request, pacing, budget)?;
        Ok(Answer::new(self, call, request, generation, permit))
    }

    /// Does the `work` of reading a request and admitting it, unless the server closes meanwhile.
    ///
    /// # Errors
    /// Those of `work`, and [`ApiError::Draining`].
    pub async fn admit<T: Send + 'static>(
        &self,
        call: &Call,
        work: impl FnOnce(&Self, &Call) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.compute(call, |service, call| {
            if service.lifecycle().is_closing() {
                return Err(ApiError::Draining);
            }
            work(service, call)
        })
        .await
    }

    /// Does `work` for a call: in place, or where it holds much of the budget, on a thread of its own, one for each
    /// processor, or every other request would wait for it.
    ///
    /// # Errors
    /// Those of `work`, and [`ApiError::Draining`] where open requests have to end before it is done.
    pub async fn compute<T: Send + 'static>(
        &self,
        call: &Call,
        work: impl FnOnce(&Self, &Call) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        // Read and counted in some milliseconds.
        const SMALL: u64 = 128 * 1024;
        if call.upload.bytes() <= SMALL {
            return work(self, call);
        }
        tokio::select! {
            done = self.compute_apart(call.clone(), work) => done,
            () = self.lifecycle().ending() => Err(ApiError::Draining),
        }
    }

    async fn compute_apart<T: Send + 'static>(
        &self,
        call: Call,
        work: impl FnOnce(&Self, &Call) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = Arc::clone(&self.0.threads).acquire_owned().await.expect("nobody closes the semaphore");
        let service = self.clone();
        // The place goes with the work, which goes on when the caller leaves.
        let work = move || {
            let done = work(&service, &call);
            drop(place);
            done
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(failure) => std::panic::resume_unwind(failure.into_panic()),
        }
    }

    /// A place among the calls that may stay open without a key.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`] where there is none.
    pub fn open_call(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.0.open_calls).try_acquire_owned().map_err(|_| limits::too_many("calls are open"))
    }

    /// The served models.
    ///
    /// # Errors
    /// The failure that the request asked for.
    pub fn list_models(&self, call: &Call) -> Result<Vec<Model>, ApiError> {
        self.steer(call, Simulation::default())?;
        Ok(self.0.models.list())
    }

    /// One served model.
    ///
    /// # Errors
    /// [`ApiError::ModelNotFound`], or the failure that the request asked for.
    pub fn get_model(&self, call: &Call, name: &str) -> Result<Model, ApiError> {
        self.steer(call, Simulation::default())?;
        check_model(name)?;
        self.0.models.get(name)
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

    /// The pacing this request gets, where it gets an answer at all.
    fn steer(&self, call: &Call, steering: Simulation) -> Result<Pacing, ApiError> {
        if self.0.lifecycle.is_closing() {
            // Its head had begun before; the caller's next try goes to another server.
            return Err(ApiError::Draining);
        }
        if self.0.options.directives == Switch::Off {
            return Ok(self.0.pacing);
        }
        let simulation = steering.or(call.record.steering()?);
        call.record.note_applied(&simulation);
        simulation.apply(self.0.pacing)
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
