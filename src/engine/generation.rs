//! Generation: what a request asks around any engine, as one stream of events.
//!
//! Puts the choices of a request on one schedule and tells what happens. A generation runs when polled and
//! ends when dropped: there is no task, channel or flag to mind.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytestring::ByteString;
use futures_util::Stream;
use tokio::time::Instant;

use super::choice::{Bounds, RunningChoice};
use super::request::GenerationRequest;
use super::schedule::Schedule;
use super::stop::StopSequences;
use super::tokens::Tokens;
use super::{Engine, Event, Pacing, Reply, Usage};
use crate::error::{ApiError, InvalidRequest};

/// The most that one generation may say, over all its choices.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Tokens of all choices together.
    pub tokens: usize,
    /// Bytes of all choices together.
    pub bytes: usize,
}

/// One request's answer in the making: a stream of [`Event`]s that ends with its usage or its first failure.
pub struct Generation {
    choices: Vec<Speaker>,
    schedule: Schedule,
    /// Which token is being said, from 0, and when it was due.
    step: u32,
    due: Option<Instant>,
    phase: Phase,
    usage: Usage,
}

#[derive(Clone, Copy)]
enum Phase {
    Start,
    /// Until the step's deadline; choices that have nothing more to say finish meanwhile.
    Waiting,
    /// The choices say the step's token, in the order of their index.
    Speaking {
        choice: usize,
    },
    Done,
}

/// A choice and what it will say next.
struct Speaker {
    choice: RunningChoice,
    next: Option<Result<ByteString, ApiError>>,
    opened: bool,
    finished: bool,
}

impl Generation {
    /// Admits `request`: asks `engine` for its replies and puts them on the schedule.
    ///
    /// # Errors
    /// [`InvalidRequest`] where the choices together ask for more than `budget`. A single reply, and one that
    /// is longer than it seemed, is cut there instead, with `length`.
    pub fn new(
        engine: &dyn Engine,
        request: &GenerationRequest,
        pacing: Pacing,
        budget: Budget,
        start: Instant,
    ) -> Result<Self, InvalidRequest> {
        let share =
            Budget { tokens: budget.tokens / request.choices(), bytes: budget.bytes / request.choices() };
        check_demand(request, share)?;
        let replies = engine.replies(request);
        for reply in &replies {
            check_reply(reply, request, share)?;
        }
        let bounds = Bounds {
            max_tokens: request.max_tokens.unwrap_or(usize::MAX),
            share,
            min_tokens: request.min_tokens,
            endless: request.ignore_eos,
            stop: StopSequences::new(request.stop.clone()),
        };
        let choices = replies.into_iter().map(|reply| Speaker {
            choice: RunningChoice::new(reply, bounds.clone()),
            next: None,
            opened: false,
            finished: false,
        });
        Ok(Self {
            choices: choices.collect(),
            schedule: Schedule::new(pacing, start),
            step: 0,
            due: None,
            phase: Phase::Start,
            usage: Usage { prompt_tokens: request.prompt_tokens(), completion_tokens: 0 },
        })
    }

    /// What it has cost so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The end of a choice that said its last token in an earlier step: it does not wait for the next one.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        let open =
            self.choices.iter_mut().enumerate().filter(|(_, choice)| choice.opened && !choice.finished);
        for (choice, speaker) in open {
            if speaker.poll_next(cx).is_ready() && speaker.next.is_none() {
                return Some(speaker.finish(choice));
            }
        }
        None
    }

    /// What the choice says in this step.
    fn poll_speak(&mut self, choice: usize, cx: &mut Context<'_>) -> Poll<Option<Result<Event, ApiError>>> {
        let speaker = &mut self.choices[choice];
        if speaker.finished {
            self.phase = Phase::Speaking { choice: choice + 1 };
            return Poll::Ready(None);
        }
        ready!(speaker.poll_next(cx));
        if !speaker.opened {
            speaker.opened = true;
            return Poll::Ready(Some(Ok(Event::Opened { choice })));
        }
        self.phase = Phase::Speaking { choice: choice + 1 };
        Poll::Ready(Some(match speaker.next.take() {
            Some(Ok(text)) => {
                self.usage.completion_tokens += 1;
                Ok(Event::Delta { choice, text, due: self.due })
            }
            Some(Err(error)) => {
                self.phase = Phase::Done;
                Err(error)
            }
            None => Ok(speaker.finish(choice)),
        }))
    }
}

impl Speaker {
    /// Ready once it is known what comes next: `next`, or the end where that is `None`.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.next.is_none() {
            self.next = ready!(self.choice.poll_token(cx));
        }
        Poll::Ready(())
    }

    fn finish(&mut self, choice: usize) -> Event {
        self.finished = true;
        let (reason, by_server) = self.choice.finish();
        Event::Finished { choice, reason, by_server }
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
                        return Poll::Ready(Some(Ok(Event::Usage(this.usage))));
                    }
                    this.due = ready!(this.schedule.poll_due(this.step, cx));
                    this.phase = Phase::Speaking { choice: 0 };
                }
                Phase::Speaking { choice } if choice == this.choices.len() => {
                    this.step += 1;
                    this.phase = Phase::Waiting;
                }
                Phase::Speaking { choice } => {
                    if let Some(event) = ready!(this.poll_speak(choice, cx)) {
                        return Poll::Ready(Some(event));
                    }
                }
                Phase::Done => return Poll::Ready(None),
            }
        }
    }
}

/// Refuses choices that are told to say more than their share, whatever the engine replies.
fn check_demand(request: &GenerationRequest, share: Budget) -> Result<(), InvalidRequest> {
    let endless = if request.ignore_eos { request.max_tokens.unwrap_or(0) } else { 0 };
    if request.n > 1 && endless.max(request.min_tokens) > share.tokens {
        return Err(too_many_choices(request.n));
    }
    Ok(())
}

/// Refuses choices whose reply is known to be longer than their share.
fn check_reply(reply: &Reply, request: &GenerationRequest, share: Budget) -> Result<(), InvalidRequest> {
    let Reply::Text(text) = reply else { return Ok(()) };
    if request.n == 1 {
        return Ok(());
    }
    let mut said = Budget { tokens: 0, bytes: 0 };
    for token in Tokens::of(text.clone()).take(request.max_tokens.unwrap_or(usize::MAX)) {
        said = Budget { tokens: said.tokens + 1, bytes: said.bytes + token.len() };
        if said.tokens > share.tokens || said.bytes > share.bytes {
            return Err(too_many_choices(request.n));
        }
    }
    Ok(())
}

fn too_many_choices(n: usize) -> InvalidRequest {
    InvalidRequest::value(
        "n",
        format!("Invalid 'n': {n} choices of this length are more than this server says in one generation."),
    )
}
