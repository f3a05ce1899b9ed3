//! The events of a generation.

use tokio::time::Instant;

use super::Run;

/// One event of a generation, independent of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The request is admitted; the first event, without delay.
    Started,
    /// A choice starts: directly before its first token, or before its end without any.
    Opened {
        /// Index of the choice, from 0.
        choice: usize,
        /// Whether it starts with a tool call, and so without text.
        calls: bool,
    },
    /// Tokens of a choice that are due together.
    Delta {
        /// Index of the choice, from 0.
        choice: usize,
        /// The tokens.
        run: Run,
        /// When they were due; `None` without a delay.
        due: Option<Instant>,
    },
    /// A choice is complete.
    Finished {
        /// Index of the choice, from 0.
        choice: usize,
        /// Why it ended.
        reason: FinishReason,
    },
    /// The total token usage; the last event.
    Usage(Usage),
}

/// Why a choice ended (`finish_reason` in the API reference).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The reply ended, or a stop sequence matched.
    Stop {
        /// The index of the stop sequence that matched, if any.
        sequence: Option<u8>,
    },
    /// A limit cut the reply.
    Length {
        /// Whose limit it was.
        by: Limit,
    },
    /// The reply calls tools.
    ToolCalls,
    /// A content filter cut the reply.
    ContentFilter,
}

/// Whose limit cut a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A limit of the request.
    Request,
    /// The server's limit of tokens.
    ServerTokens,
    /// The server's limit of bytes.
    ServerBytes,
}

/// Token counts, as reported in `usage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of all texts of the request, plus three per message and three for the start of the reply.
    pub prompt_tokens: u32,
    /// Tokens of all choices; the name of a tool call counts as one.
    pub completion_tokens: u32,
    /// The completion tokens that are reasoning.
    pub reasoning_tokens: u32,
}

impl Usage {
    /// Prompt and completion tokens together.
    pub fn total_tokens(self) -> u32 {
        self.prompt_tokens + self.completion_tokens
    }
}
