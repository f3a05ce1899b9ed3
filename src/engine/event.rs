//! What happens while a generation runs.

use tokio::time::Instant;

use super::Token;

/// One thing that happened in a generation, in no protocol's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The request is admitted; comes at once.
    Started,
    /// A choice begins: right before its first token, or its end if it has none.
    Opened {
        /// Index of the choice, from 0.
        choice: usize,
        /// Whether it begins with a tool call, and so without any text.
        calls: bool,
    },
    /// One token of a choice.
    Delta {
        /// Index of the choice, from 0.
        choice: usize,
        /// The token.
        token: Token,
        /// When the token was due; `None` where no delay was asked for.
        due: Option<Instant>,
    },
    /// A choice is complete.
    Finished {
        /// Index of the choice, from 0.
        choice: usize,
        /// Why it ended.
        reason: FinishReason,
    },
    /// What it all cost; the last event.
    Usage(Usage),
}

/// Why a choice ended (`finish_reason` in the API reference).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The reply was at its end, or a stop sequence came.
    Stop {
        /// Which of the request's stop sequences it was.
        sequence: Option<u8>,
    },
    /// A token limit cut the reply.
    Length {
        /// Whose limit it was.
        by: Limit,
    },
    /// It calls tools.
    ToolCalls,
    /// A content filter cut the reply.
    ContentFilter,
}

/// Whose limit cut a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The request's own.
    Request,
    /// The server's, for all requests.
    Server,
}

/// Tokens counted, as `usage` reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of all texts of the request, and three for each message and for the reply's opening.
    pub prompt_tokens: u32,
    /// Tokens of all choices; a tool call's name is one.
    pub completion_tokens: u32,
    /// Those of them that were reasoning.
    pub reasoning_tokens: u32,
}

impl Usage {
    /// Prompt and completion together.
    pub fn total_tokens(self) -> u32 {
        self.prompt_tokens + self.completion_tokens
    }
}
