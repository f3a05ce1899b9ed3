//! The echo: a reply made of the caller's own words.

use bytestring::ByteString;

use super::request::{GenerationRequest, Message, Role};
use super::{Engine, Reply};

/// Says the text of the last message from the caller's side, behind a prefix.
///
/// The caller's side is the roles user, tool and function: what a system or developer message says changes
/// nothing, and an agent's loop ends, because a reply never answers itself.
#[derive(Clone, Debug)]
pub struct EchoEngine {
    prefix: String,
}

impl EchoEngine {
    /// What stands before the echo unless told otherwise.
    pub const DEFAULT_PREFIX: &'static str = "As a mock AI Assistant, I can only echo your last message: ";

    /// An echo behind `prefix`, taken as it is; empty for the bare echo.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    fn say(&self, request: &GenerationRequest) -> String {
        let is_callers =
            |message: &&Message| matches!(message.role, Role::User | Role::Tool | Role::Function);
        if let Some(message) = request.prompt.messages().iter().rev().find(is_callers) {
            return format!("{}{}", self.prefix, message.text());
        }
        let prefix = self.prefix.trim_end();
        match prefix.strip_suffix(':').unwrap_or(prefix).trim_end() {
            "" => "There were no messages!".into(),
            prefix => format!("{prefix}, but there were no messages!"),
        }
    }
}

impl Default for EchoEngine {
    fn default() -> Self {
        Self::new(Self::DEFAULT_PREFIX)
    }
}

impl Engine for EchoEngine {
    fn reply(&self, request: &GenerationRequest, _choice: usize) -> Reply {
        Reply::text(self.say(request))
    }

    fn replies(&self, request: &GenerationRequest) -> Vec<Reply> {
        let text = ByteString::from(self.say(request));
        (0..request.choices()).map(|_| Reply::Text(text.clone())).collect()
    }
}
