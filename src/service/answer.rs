//! An answer: a generation that is counted while it is open, measured token by token, and ended with a proper error
//! when the server has to stop or the engine fails.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tracing::{error, info};

use super::admission::Slot;
use super::{Call, Service, unix_time};
use crate::api::Head;
use crate::engine::{Completion, Event, FinishReason, Generation, Limit, Usage};
use crate::error::ApiError;
use crate::ops::exchange::Exchange;
use crate::ops::memory::Reservation;
use crate::units;

/// A stream of events; dropping it is cancelling, and nothing outlives it.
pub(crate) struct Answer {
    head: Head,
    generation: Generation,
    /// Made when the generation first has to wait.
    ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    is_over: bool,
    meter: Meter,
    _slot: Slot,
    /// The reply is made of the body, so it keeps what the body held.
    reservation: Reservation,
}

impl Answer {
    /// Takes a generation into care.
    pub(super) fn new(
        service: &Service,
        call: &Call,
        model: String,
        generation: Generation,
        slot: Slot,
    ) -> Self {
        let prompt_tokens = generation.usage().prompt_tokens;
        Self {
            generation,
            ending: None,
            is_over: false,
            meter: Meter::start(service.clone(), call.exchange.clone(), prompt_tokens),
            head: Head { id: rand::random(), created: unix_time(), model },
            _slot: slot,
            reservation: call.reservation.clone(),
        }
    }

    /// What every object of the answer repeats.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Waits for the whole answer, as long as its stream would have lasted. What it grows to is held of the budget
    /// of all bodies.
    ///
    /// # Errors
    /// The first failure, or that there is no room for it.
    pub(crate) async fn complete(self) -> Result<Completion, ApiError> {
        /// Held of the budget at once, before it is used.
        const STEP: usize = 1024;

        let reservation = self.reservation.clone();
        let mut room = 0;
        Completion::collect(self.map(|event| {
            if let Ok(Event::Delta { run, .. }) = &event {
                let length = run.delta.text().len();
                if length > room {
                    reservation.hold(length.max(STEP))?;
                    room += length.max(STEP);
                }
                room -= length;
            }
            event
        }))
        .await
    }

    /// Notes that the engine, or what writes the answer, has panicked.
    pub(super) fn panicked(&self) -> ApiError {
        let exchange = &self.meter.exchange;
        error!(request_id = exchange.id(), "the engine panicked in the middle of an answer");
        exchange.note_error(&ApiError::Internal);
        ApiError::Internal
    }

    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let lifecycle = self.meter.service.lifecycle();
        self.ending.get_or_insert_with(|| Box::pin(lifecycle.ending_owned())).as_mut().poll(cx)
    }
}

impl Stream for Answer {
    type Item = Result<Event, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        // Asked beforehand as well: a generation without delays never has to wait.
        let event = if self.meter.service.lifecycle().is_ending() {
            Some(Err(ApiError::Draining))
        } else {
            match Pin::new(&mut self.generation).poll_next(cx) {
                Poll::Ready(event) => event,
                Poll::Pending if self.poll_ending(cx).is_ready() => Some(Err(ApiError::Draining)),
                Poll::Pending => return Poll::Pending,
            }
        };
        match &event {
            Some(Ok(event)) => self.meter.note(event),
            Some(Err(error)) => {
                self.meter.exchange.note_error(error);
                self.is_over = true;
            }
            None => self.is_over = true,
        }
        Poll::Ready(event)
    }
}

/// Measures one answer; what it found is noted when it is dropped.
struct Meter {
    service: Service,
    exchange: Exchange,
    usage: Usage,
    has_been_cut: bool,
    ttft: Option<Duration>,
    /// When the first choice last spoke.
    last: Option<Instant>,
}

impl Meter {
    fn start(service: Service, exchange: Exchange, prompt_tokens: u32) -> Self {
        service.metrics().prompt_tokens.inc_by(prompt_tokens.into());
        let usage = Usage { prompt_tokens, ..Usage::default() };
        Self { service, exchange, usage, has_been_cut: false, ttft: None, last: None }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Delta { choice, run, due } => self.note_tokens(*choice, run.tokens, *due),
            Event::Finished { reason: FinishReason::Length { by }, .. } => self.note_cut(*by),
            Event::Usage(usage) => self.usage = *usage,
            Event::Started | Event::Opened { .. } | Event::Finished { .. } => {}
        }
    }

    fn note_tokens(&mut self, choice: usize, count: u32, due: Option<Instant>) {
        let metrics = self.service.metrics();
        self.usage.completion_tokens += count;
        if self.ttft.is_none() {
            let ttft = self.exchange.started().elapsed();
            self.ttft = Some(ttft);
            metrics.first_token(ttft.as_secs_f64());
        }
        // Tokens without a delay have no time at which they ought to leave; the clock is not asked for them.
        let Some(due) = due else { return };
        let now = Instant::now();
        metrics.lateness.observe((now - due).as_secs_f64());
        if choice == 0
            && let Some(last) = self.last.replace(now)
        {
            metrics.itl.observe((now - last).as_secs_f64());
        }
    }

    /// Logs, once a request, that a limit of the server has cut a reply.
    fn note_cut(&mut self, by: Limit) {
        if self.has_been_cut {
            return;
        }
        let limits = self.service.limits();
        let limit = match by {
            Limit::Request => return,
            Limit::ServerTokens => format!("--max-generation-tokens {}", limits.max_generation_tokens),
            Limit::ServerBytes => {
                format!("--max-generation-bytes {}", units::shown_size(limits.max_generation_bytes))
            }
        };
        self.has_been_cut = true;
        info!(request_id = self.exchange.id(), limit, "a limit of the server cut a reply");
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.service.metrics().completion_tokens.inc_by(self.usage.completion_tokens.into());
        self.exchange.note_generation(self.ttft, self.usage);
    }
}
