//! Admission: what every request passes before it is answered, in this order: the server takes requests, the
//! simulation has a plan for it, the request is a good one, its model is served, and there is a slot.

use std::sync::Arc;

use tokio::time::Instant;

use super::models::Model;
use super::{Answer, Call, Service};
use crate::api::ApiRequest;
use crate::api::chat::check_model;
use crate::engine::{Budget, Generation, GenerationRequest, Schedule};
use crate::error::ApiError;
use crate::simulation::{Directives, Plan, Switch};

impl Service {
    /// Admits a request and starts its generation. Directives in the body go before those of the headers, which the
    /// call carries.
    ///
    /// # Errors
    /// Whatever keeps the request from being answered: an error in it, an unknown model, a limit, or the failure that
    /// it asked for.
    pub(crate) async fn generate<R: ApiRequest>(&self, call: &Call, request: R) -> Result<Answer, ApiError> {
        let start = Instant::now();
        let plan = self.plan(call, request.directives())?;
        let service = self.clone();
        let request = self.run(call, move || service.check(request)).await?;
        call.exchange.note_model(&request.model);
        let slot = Arc::clone(&self.0.generations)
            .try_acquire_owned()
            .map_err(|_| ApiError::too_many("generations are open"))?;
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
    pub(crate) fn list_models(&self, call: &Call) -> Result<Vec<Model>, ApiError> {
        self.plan(call, Directives::default())?;
        Ok(self.0.models.list())
    }

    /// One served model.
    ///
    /// # Errors
    /// [`ApiError::ModelNotFound`], or the failure that the request asked for.
    pub(crate) fn get_model(&self, call: &Call, name: &str) -> Result<Model, ApiError> {
        self.plan(call, Directives::default())?;
        check_model(name)?;
        self.0.models.get(name)
    }

    /// What is done with a request beside answering it, where the server still takes requests.
    fn plan(&self, call: &Call, asked: Directives) -> Result<Plan, ApiError> {
        if self.0.lifecycle.is_closing() {
            // Its head had begun before; the caller's next try goes to another server.
            return Err(ApiError::Draining);
        }
        let options = &self.0.options.simulation;
        if options.directives == Switch::Off {
            return Plan::new(options, Directives::default());
        }
        let asked = asked.or(call.directives.clone()?);
        if asked != Directives::default() {
            call.exchange.note_applied(asked.to_string());
        }
        Plan::new(options, asked)
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
