//! What a generation tells while it runs, and the whole answer those events add up to.

use bytestring::ByteString;
use futures_util::{Stream, StreamExt, pin_mut};
use tokio::time::Instant;

use crate::error::ApiError;

/// One thing that happened in a generation, in no protocol's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The request is admitted; comes at once.
    Started,
    /// A choice begins to speak: right before its first delta, or its end if it says nothing.
    Opened {
        /// Index of the choice, from 0.
        choice: usize,
    },
    /// One token of a choice.
    Delta {
        /// Index of the choice, from 0.
        choice: usize,
        /// The token's text, never empty.
        text: ByteString,
        /// When the token was due; `None` where no delay was asked for.
        due: Option<Instant>,
    },
    /// A choice has said everything.
    Finished {
        /// Index of the choice, from 0.
        choice: usize,
        /// Why it ended.
        reason: FinishReason,
        /// Whether it was cut by the server's own budget, and not by what the request asks.
        by_server: bool,
    },
    /// What it all cost; the last event.
    Usage(Usage),
}

/// Why a choice ended (`finish_reason` in the API reference).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The reply was at its end, or a stop sequence came.
    Stop,
    /// A token limit cut the reply.
    Length,
}

impl FinishReason {
    /// The API's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Tokens counted, as `usage` reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of all texts of the request, and three for each message and for the reply's opening.
    pub prompt_tokens: u32,
    /// Tokens said, summed over the choices.
    pub completion_tokens: u32,
}

impl Usage {
    /// Prompt and completion together.
    pub fn total_tokens(self) -> u32 {
        self.prompt_tokens + self.completion_tokens
    }
}

/// A whole answer: what the events of a generation add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// The choices, by their index.
    pub choices: Vec<Choice>,
    /// What it cost.
    pub usage: Usage,
}

/// One finished choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Everything it said.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

impl Completion {
    /// Waits for the end of a generation, as long as its stream would have lasted.
    ///
    /// # Errors
    /// The first failure of the generation.
    pub async fn collect(events: impl Stream<Item = Result<Event, ApiError>>) -> Result<Self, ApiError> {
        let mut completion = Self::default();
        pin_mut!(events);
        while let Some(event) = events.next().await {
            // A reply without delays is always ready; this lets other requests in between its tokens.
            tokio::task::consume_budget().await;
            match event? {
                Event::Started => {}
                Event::Opened { .. } => {
                    completion
                        .choices
                        .push(Choice { text: String::new(), finish_reason: FinishReason::Stop });
                }
                Event::Delta { choice, text, .. } => completion.choices[choice].text.push_str(&text),
                Event::Finished { choice, reason, .. } => completion.choices[choice].finish_reason = reason,
                Event::Usage(usage) => completion.usage = usage,
            }
        }
        Ok(completion)
    }
}
