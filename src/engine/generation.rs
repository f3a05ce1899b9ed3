//! Generation: applies a request to an engine's replies, as one stream of events.
//!
//! Runs the choices of a request on one schedule. A generation runs when polled and ends when dropped: it owns no
//! task, channel or flag.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio::time::Instant;

use super::choice::{Bounds, RunningChoice};
use super::source::Source;
use super::stop::StopSequences;
use super::{Delta, Event, GenerationRequest, Run, Schedule, Usage};
use crate::error::{ApiError, InvalidRequest};

/// The limits of one generation, over all its choices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Tokens of all choices together.
    pub tokens: usize,
    /// Bytes of all choices together.
    pub bytes: usize,
}

/// Tokens without a delay between them are handled together, up to so many: as chunks they fill about one write.
const MAX_RUN: usize = 64;

/// The answer to one request: a stream of [`Event`]s that ends with its usage or its first failure.
pub(crate) struct Generation {
    choices: Vec<Emitter>,
    schedule: Schedule,
    /// How many tokens of a choice a step has at most.
    most: usize,
    /// The index of the current token, from 0, and when it was due.
    step: u32,
    due: Option<Instant>,
    phase: Phase,
    usage: Usage,
}

#[derive(Clone, Copy)]
enum Phase {
    Start,
    /// Waiting for the step's deadline; choices without more tokens finish meanwhile.
    Waiting,
    /// Emitting the step's token of each choice, in index order.
    Emitting {
        choice: usize,
    },
    Done,
}

/// A choice and its next tokens.
struct Emitter {
    choice: RunningChoice,
    next: Option<Result<Run, ApiError>>,
    opened: bool,
    finished: bool,
}

impl Generation {
    /// Gets the replies from `engine` and runs them on `schedule`.
    ///
    /// # Errors
    /// The engine's errors, and those of [`Self::new`].
    #[cfg(any(test, fuzzing))]
    pub(crate) async fn begin(
        engine: &dyn super::Engine,
        request: &std::sync::Arc<GenerationRequest>,
        schedule: Schedule,
        budget: Budget,
    ) -> Result<Self, ApiError> {
        let sources = engine.generate(request)?.sources(request.choices()).await?;
        Ok(Self::new(request, sources, schedule, budget)?)
    }

    /// Runs the choices of `request`, one for each of `sources`, on `schedule`.
    ///
    /// # Errors
    /// [`InvalidRequest`] if several choices together exceed `budget`. A single reply, and one whose length is not
    /// known in advance, is cut at its share instead, with [`FinishReason::Length`](super::FinishReason::Length).
    pub(crate) fn new(
        request: &GenerationRequest,
        sources: Vec<Source>,
        schedule: Schedule,
        budget: Budget,
    ) -> Result<Self, InvalidRequest> {
        let choices = sources.len().max(1);
        let share = Budget { tokens: budget.tokens / choices, bytes: budget.bytes / choices };
        if choices > 1 {
            check_demand(request, share)?;
            sources.iter().try_for_each(|source| check_length(source, request, share))?;
        }
        let bounds = Bounds {
            max_tokens: request.max_tokens.unwrap_or(usize::MAX),
            share,
            min_tokens: request.min_tokens,
            endless: request.ignore_eos,
            stop: StopSequences::new(request.stop.clone()),
        };
        let choices = sources.into_iter().map(|source| Emitter {
            choice: RunningChoice::new(source, bounds.clone()),
            next: None,
            opened: false,
            finished: false,
        });
        let choices: Vec<_> = choices.collect();
        // Several choices take turns, token by token.
        let most = if choices.len() == 1 && schedule.is_one_step() { MAX_RUN } else { 1 };
        Ok(Self {
            choices,
            schedule,
            most,
            step: 0,
            due: None,
            phase: Phase::Start,
            usage: Usage { prompt_tokens: request.prompt_tokens(), ..Usage::default() },
        })
    }

    /// The usage so far, counted in tokens.
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// The total usage: as the engine reports it for all choices, else as counted.
    fn total(&self) -> Usage {
        let reported = self.choices.iter().map(|emitter| emitter.choice.usage());
        let sum = |sum: Usage, choice: Option<Usage>| {
            choice.map(|choice| Usage {
                prompt_tokens: sum.prompt_tokens.max(choice.prompt_tokens),
                completion_tokens: sum.completion_tokens + choice.completion_tokens,
                reasoning_tokens: sum.reasoning_tokens + choice.reasoning_tokens,
            })
        };
        reported.into_iter().try_fold(Usage::default(), sum).unwrap_or(self.usage)
    }

    /// Finishes a choice without more tokens, before the deadline of the next step.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        let most = self.most;
        let open =
            self.choices.iter_mut().enumerate().filter(|(_, choice)| choice.opened && !choice.finished);
        for (choice, emitter) in open {
            if emitter.poll_next(most, cx).is_ready() && emitter.next.is_none() {
                return Some(emitter.finish(choice));
            }
        }
        None
    }

    /// The next event of a choice in this step.
    fn poll_emit(&mut self, choice: usize, cx: &mut Context<'_>) -> Poll<Option<Result<Event, ApiError>>> {
        let (most, emitter) = (self.most, &mut self.choices[choice]);
        if emitter.finished {
            self.phase = Phase::Emitting { choice: choice + 1 };
            return Poll::Ready(None);
        }
        ready!(emitter.poll_next(most, cx));
        if !emitter.opened {
            emitter.opened = true;
            return Poll::Ready(Some(Ok(Event::Opened { choice, calls: emitter.calls() })));
        }
        self.phase = Phase::Emitting { choice: choice + 1 };
        Poll::Ready(Some(match emitter.next.take() {
            Some(Ok(run)) => {
                self.usage.completion_tokens += run.tokens;
                if matches!(run.delta, Delta::Reasoning(_)) {
                    self.usage.reasoning_tokens += run.tokens;
                }
                Ok(Event::Delta { choice, run, due: self.due })
            }
            Some(Err(error)) => {
                self.phase = Phase::Done;
                Err(error)
            }
            None => Ok(emitter.finish(choice)),
        }))
    }
}

impl Emitter {
    /// Ready when `next` is the next tokens, at most `most`, or `None` because the choice has ended.
    fn poll_next(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<()> {
        if self.next.is_none() {
            self.next = ready!(self.choice.poll_run(most, cx));
        }
        Poll::Ready(())
    }

    /// Whether its next token starts a tool call.
    fn calls(&self) -> bool {
        matches!(&self.next, Some(Ok(run)) if matches!(run.delta, Delta::Call(_)))
    }

    fn finish(&mut self, choice: usize) -> Event {
        self.finished = true;
        Event::Finished { choice, reason: self.choice.finish() }
    }
}

impl Stream for Generation {
    type Item = Result<Event, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match this.phase {
                Phase::Start => {
                    this.phase = Phase::Waiting;
                    return Poll::Ready(Some(Ok(Event::Started)));
                }
                Phase::Waiting => {
                    if let Some(end) = this.poll_finish(cx) {
                        return Poll::Ready(Some(Ok(end)));
                    }
                    if this.choices.iter().all(|choice| choice.finished) {
                        this.phase = Phase::Done;
                        return Poll::Ready(Some(Ok(Event::Usage(this.total()))));
                    }
                    this.due = ready!(this.schedule.poll_due(this.step, cx));
                    this.phase = Phase::Emitting { choice: 0 };
                }
                Phase::Emitting { choice } if choice == this.choices.len() => {
                    this.step += 1;
                    this.phase = Phase::Waiting;
                }
                Phase::Emitting { choice } => {
                    if let Some(event) = ready!(this.poll_emit(choice, cx)) {
                        return Poll::Ready(Some(event));
                    }
                }
                Phase::Done => return Poll::Ready(None),
            }
        }
    }
}

/// Rejects choices that would exceed their share with any reply.
fn check_demand(request: &GenerationRequest, share: Budget) -> Result<(), InvalidRequest> {
    let endless = if request.ignore_eos { request.max_tokens.unwrap_or(0) } else { 0 };
    if endless.max(request.min_tokens) > share.tokens {
        return Err(too_many_choices(request.n));
    }
    Ok(())
}

/// Rejects choices whose reply is known to exceed their share.
fn check_length(source: &Source, request: &GenerationRequest, share: Budget) -> Result<(), InvalidRequest> {
    let Some(tokens) = source.preview() else { return Ok(()) };
    let mut length = Budget { tokens: 0, bytes: 0 };
    for token in tokens.take(request.max_tokens.unwrap_or(usize::MAX)) {
        length = Budget { tokens: length.tokens + 1, bytes: length.bytes + token.delta.text().len() };
        if length.tokens > share.tokens || length.bytes > share.bytes {
            return Err(too_many_choices(request.n));
        }
    }
    Ok(())
}

fn too_many_choices(n: usize) -> InvalidRequest {
    InvalidRequest::value(
        "n",
        format!(
            "Invalid 'n': {n} choices of this length are more than this server generates for one request."
        ),
    )
}
