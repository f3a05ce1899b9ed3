//! The whole answer, folded from the events of a generation.

use futures_util::{Stream, StreamExt, pin_mut};

use super::{CallStart, Delta, Event, FinishReason, ToolCall, Usage};
use crate::error::ApiError;

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Completion {
    /// The choices, by their index.
    pub choices: Vec<Choice>,
    /// Its token usage.
    pub usage: Usage,
}

/// One finished choice.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Its text.
    pub text: String,
    /// The reasoning before its text.
    pub reasoning: String,
    /// Its refusal, if it refuses.
    pub refusal: Option<String>,
    /// The tools it calls.
    pub calls: Vec<ToolCall>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

impl Choice {
    fn new() -> Self {
        Self {
            text: String::new(),
            reasoning: String::new(),
            refusal: None,
            calls: Vec::new(),
            finish_reason: FinishReason::Stop { sequence: None },
        }
    }

    /// Its text, refusal and calls; an empty text is `None` beside a refusal or calls.
    pub(crate) fn content(self) -> (Option<String>, Option<String>, Vec<ToolCall>) {
        let has_content = !self.text.is_empty() || (self.calls.is_empty() && self.refusal.is_none());
        (has_content.then_some(self.text), self.refusal, self.calls)
    }

    fn add(&mut self, delta: Delta) {
        match delta {
            Delta::Text(text) => self.text.push_str(&text),
            Delta::Reasoning(text) => self.reasoning.push_str(&text),
            Delta::Refusal(text) => self.refusal.get_or_insert_default().push_str(&text),
            Delta::Call(start) => self.calls.push(begun(*start)),
            Delta::Arguments { call, text } => {
                if let Some(call) = self.calls.get_mut(usize::from(call)) {
                    call.arguments.push_str(&text);
                }
            }
        }
    }
}

fn begun(CallStart { kind, id, name, .. }: CallStart) -> ToolCall {
    ToolCall { id: Some(id.to_string()), kind, name: name.to_string(), arguments: String::new() }
}

impl Completion {
    /// Bytes of all texts, refusals and arguments.
    pub(crate) fn text_bytes(&self) -> usize {
        let bytes = |choice: &Choice| {
            let calls = choice.calls.iter().map(|call| call.arguments.len());
            choice.text.len() + choice.refusal.as_ref().map_or(0, String::len) + calls.sum::<usize>()
        };
        self.choices.iter().map(bytes).sum()
    }

    /// Collects a generation to its end, which takes as long as its stream would.
    ///
    /// # Errors
    /// The first failure of the generation.
    pub(crate) async fn collect(
        events: impl Stream<Item = Result<Event, ApiError>>,
    ) -> Result<Self, ApiError> {
        let mut completion = Self::default();
        pin_mut!(events);
        while let Some(event) = events.next().await {
            // A reply without delays is always ready; this lets other requests run between its tokens.
            tokio::task::consume_budget().await;
            match event? {
                Event::Started => {}
                Event::Opened { .. } => completion.choices.push(Choice::new()),
                Event::Delta { choice, run, .. } => completion.choices[choice].add(run.delta),
                Event::Finished { choice, reason } => completion.choices[choice].finish_reason = reason,
                Event::Usage(usage) => completion.usage = usage,
            }
        }
        Ok(completion)
    }
}
