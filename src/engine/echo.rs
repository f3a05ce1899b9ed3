//! The echo: replies with the caller's own text.

use std::sync::Arc;

use bytestring::ByteString;

use super::request::{GenerationRequest, Message, Prompt, Role};
use super::{Engine, Replies, Reply, Segment};
use crate::error::ApiError;

/// Answers with a prefix and the text of the caller's last message.
///
/// The caller's messages are those with the roles user, tool and function. System and developer messages are ignored.
/// Assistant messages are not echoed, so an agent's loop ends. A text prompt is echoed whole, and token ids are echoed
/// as numbers.
#[derive(Clone, Debug)]
pub struct EchoEngine {
    prefix: String,
}

impl EchoEngine {
    /// The prefix unless another is configured.
    pub const DEFAULT_PREFIX: &'static str = "As a mock AI Assistant, I can only echo your last message: ";

    /// An echo with this prefix, used verbatim; empty for none.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    fn answer(&self, messages: &[Message]) -> String {
        let is_callers =
            |message: &&Message| matches!(message.role, Role::User | Role::Tool | Role::Function);
        if let Some(message) = messages.iter().rev().find(is_callers) {
            return format!("{}{}", self.prefix, message.text());
        }
        let prefix = self.prefix.trim_end();
        match prefix.strip_suffix(':').unwrap_or(prefix).trim_end() {
            "" => "There were no messages!".into(),
            prefix => format!("{prefix}, but there were no messages!"),
        }
    }

    fn repeat(&self, prompts: impl Iterator<Item = String>, n: usize) -> Replies {
        let replies = prompts.flat_map(|prompt| {
            let text = ByteString::from(format!("{}{prompt}", self.prefix));
            (0..n).map(move |_| Reply::text(text.clone()))
        });
        Replies::Each(replies.collect())
    }
}

impl Default for EchoEngine {
    fn default() -> Self {
        Self::new(Self::DEFAULT_PREFIX)
    }
}

impl Engine for EchoEngine {
    fn generate(&self, request: &Arc<GenerationRequest>) -> Result<Replies, ApiError> {
        Ok(match &request.prompt {
            Prompt::Chat(messages) => Replies::Same(vec![Segment::Text(self.answer(messages).into())]),
            Prompt::Text(texts) => self.repeat(texts.iter().map(ByteString::to_string), request.n),
            Prompt::Ids(prompts) => {
                let numbers = |ids: &Vec<u32>| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
                self.repeat(prompts.iter().map(numbers), request.n)
            }
        })
    }
}
