//! Admission: what every request passes before it is answered, in this order: the server takes requests, the
//! simulation has a plan for it, the request is a good one, its model is served, and there is a slot.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::models::Model;
use super::{Answer, Call, Service};
use crate::api::ApiRequest;
use crate::api::chat::check_model;
use crate::engine::{Budget, Generation, GenerationRequest, Schedule};
use crate::error::{ApiError, shown};
use crate::simulation::{Directives, Place, Plan, Switch};

impl Service {
    /// Admits a request and starts its generation. Directives in the body go before those of the headers, which the
    /// call carries.
    ///
    /// # Errors
    /// Whatever keeps the request from being answered: an error in it, an unknown model, a limit, or the failure that
    /// it asked for.
    pub(crate) async fn generate<R: ApiRequest>(&self, call: &Call, request: R) -> Result<Answer, ApiError> {
        let start = Instant::now();
        let plan = self.admit(call, request.directives()).await?;
        let service = self.clone();
        let request = self.run(call, move || service.check(request)).await?;
        call.exchange.note_model(&request.model);
        let slot = self.slot(call)?;
        // It lives as long as the answer, and may cost more than the body that brought it.
        call.reservation.hold(request.overhead())?;
        let (engine, asked) = (Arc::clone(&self.0.engine), Arc::clone(&request));
        let replies = self.run(call, move || engine.generate(&asked)).await?;
        let sources = replies.sources(request.choices()).await?;
        let (schedule, budget) = (Schedule::new(plan.pacing, start), self.budget());
        let model = request.model.clone();
        let begin = move || Ok(Generation::new(&request, sources, schedule, budget)?);
        let generation = self.run(call, begin).await?;
        Ok(Answer::new(self, call, model, generation, slot))
    }

    /// The served models.
    ///
    /// # Errors
    /// The failure that the request asked for.
    pub(crate) async fn list_models(&self, call: &Call) -> Result<Vec<Model>, ApiError> {
        self.admit_unpaced(call).await?;
        Ok(self.0.models.list())
    }

    /// One served model.
    ///
    /// # Errors
    /// [`ApiError::ModelNotFound`], or the failure that the request asked for.
    pub(crate) async fn get_model(&self, call: &Call, name: &str) -> Result<Model, ApiError> {
        self.admit_unpaced(call).await?;
        check_model(name)?;
        self.0.models.get(name)
    }

    /// Reads the plan of a request; if that asks for a failure, waits for its delay and returns the failure.
    async fn admit(&self, call: &Call, body: Directives) -> Result<Plan, ApiError> {
        let plan = self.plan(call, body)?;
        let Some(status) = plan.failure else { return Ok(plan) };
        self.wait(call, plan.delay).await?;
        Err(ApiError::Simulated(status))
    }

    /// The same for an answer without tokens, which waits for the delay as a whole.
    async fn admit_unpaced(&self, call: &Call) -> Result<(), ApiError> {
        let plan = self.admit(call, Directives::default()).await?;
        self.wait(call, plan.delay).await
    }

    /// What is done with a request beside answering it, where the server still takes requests.
    ///
    /// # Errors
    /// Invalid directives.
    fn plan(&self, call: &Call, body: Directives) -> Result<Plan, ApiError> {
        if self.0.lifecycle.is_closing() {
            // Its head had begun before; the caller's next try goes to another server.
            return Err(ApiError::Draining);
        }
        let options = &self.0.options.simulation;
        if options.directives == Switch::Off {
            return Ok(Plan::new(options, &Directives::default()));
        }
        let headers = call.directives.clone()?;
        body.check_delays(options.max_delay, Place::Body)?;
        headers.check_delays(options.max_delay, Place::Headers)?;
        let asked = body.or(headers);
        if let Some(key) = &asked.ignored {
            warn!(request_id = call.exchange.id(), key = %shown(key).escape_debug(), "'simulation' has an unknown key: ignored");
        }
        if !asked.is_empty() {
            // A failure has no tokens to pace.
            let itl = asked.itl.filter(|_| asked.status.is_none());
            call.exchange.note_applied(Directives { itl, ..asked.clone() }.to_string());
        }
        Ok(Plan::new(options, &asked))
    }

    /// Waits, holding a generation slot, so that the limit of generations also bounds requests that only wait.
    async fn wait(&self, call: &Call, delay: Duration) -> Result<(), ApiError> {
        if !delay.is_zero() {
            let _slot = self.slot(call)?;
            sleep(delay).await;
        }
        Ok(())
    }

    fn slot(&self, call: &Call) -> Result<Slot, ApiError> {
        let permit = Arc::clone(&self.0.generations).try_acquire_owned().map_err(|_| {
            let limit = self.0.limits.max_generations;
            ApiError::too_many(format!("Too many generations are open (the limit is {limit})"))
        })?;
        let open = self.0.metrics.streams_open(call.exchange.route().protocol).clone();
        open.inc();
        Ok(Slot { open, _permit: permit })
    }

    fn check(&self, request: impl ApiRequest) -> Result<Arc<GenerationRequest>, ApiError> {
        let request = request.check(self.0.models.default_name(), self.0.options.validation)?;
        self.0.models.get(&request.model)?;
        Ok(Arc::new(request))
    }

    fn budget(&self) -> Budget {
        let limits = &self.0.limits;
        Budget {
            tokens: limits.max_generation_tokens,
            bytes: usize::try_from(limits.max_generation_bytes).unwrap_or(usize::MAX),
        }
    }
}

/// A slot among the generations, counted as an open one until it is dropped.
pub(super) struct Slot {
    open: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.dec();
    }
}
