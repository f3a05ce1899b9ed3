//! What is said, and when; knows no protocol.
//!
//! An [`Engine`] says one choice's reply, piece by piece. Everything a request asks around that (n, stop,
//! token limits, usage, pacing) is done here for any engine, by [`Generation`]. The default engine is
//! [`EchoEngine`].

mod choice;
mod echo;
mod event;
mod generation;
mod request;
mod schedule;
mod stop;
pub mod tokens;

use bytestring::ByteString;
use futures_util::stream::BoxStream;

pub use echo::EchoEngine;
pub use event::{Choice, Completion, Event, FinishReason, Usage};
pub use generation::{Budget, Generation};
pub use request::{
    Audio, CallKind, Content, File, GenerationRequest, Image, Message, Part, Prompt, ResponseFormat, Role,
    Tool, ToolCall, ToolChoice,
};
pub use schedule::Pacing;

use crate::error::ApiError;

/// Where replies come from. Implement this to put an engine of your own behind both protocols.
///
/// ```
/// use tokenecho::engine::{Engine, GenerationRequest, Reply};
///
/// struct Yes;
///
/// impl Engine for Yes {
///     fn reply(&self, _request: &GenerationRequest, _choice: usize) -> Reply {
///         Reply::text("Yes, of course.")
///     }
/// }
/// ```
pub trait Engine: Send + Sync + 'static {
    /// The reply of the choice with this index (from 0). Called once a choice, when the request is admitted;
    /// what takes time belongs into the pieces.
    fn reply(&self, request: &GenerationRequest, choice: usize) -> Reply;

    /// The replies of all choices. An engine whose choices say the same overrides this to make it once.
    fn replies(&self, request: &GenerationRequest) -> Vec<Reply> {
        (0..request.choices()).map(|choice| self.reply(request, choice)).collect()
    }
}

/// One choice's reply.
pub enum Reply {
    /// A text that is known whole; it is cut into [`tokens`].
    Text(ByteString),
    /// Pieces as the engine makes them, each counted as one token. An error ends the generation.
    Pieces(BoxStream<'static, Result<ByteString, ApiError>>),
}

impl Reply {
    /// A reply that is known whole.
    pub fn text(text: impl Into<ByteString>) -> Self {
        Self::Text(text.into())
    }
}
