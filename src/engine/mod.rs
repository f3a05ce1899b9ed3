//! What is generated, and when; independent of the protocol.
//!
//! An [`Engine`] returns the replies to a request. `Generation` applies the rest of the request to any engine's
//! replies: n, stop, token limits, usage and pacing. The default engine is [`EchoEngine`].

mod choice;
mod completion;
mod echo;
mod event;
mod generation;
mod reply;
mod request;
mod schedule;
mod source;
mod stop;
mod token;
pub mod tokens;

use std::sync::Arc;

pub(crate) use completion::{Choice, Completion};
pub use echo::EchoEngine;
pub(crate) use event::Event;
pub use event::{FinishReason, Limit, Usage};
pub(crate) use generation::{Budget, Generation};
pub use reply::{Body, Piece, Replies, Reply};
pub use request::{
    Audio, CallKind, Content, File, GenerationRequest, Image, Message, Part, Prompt, ResponseFormat, Role,
    Tool, ToolCall, ToolChoice,
};
pub(crate) use schedule::{Pacing, Schedule};
pub(crate) use token::Run;
pub use token::{CallStart, Delta, Segment, Token};

use crate::error::ApiError;

/// Returns the replies. Implement this to serve an engine of your own over both protocols. A closure is an engine too,
/// called once per choice; the type of its argument must be written out:
///
/// ```
/// use tokenecho::engine::{GenerationRequest, Reply};
///
/// let engine = |request: &GenerationRequest| Reply::text(format!("{} agrees.", request.model));
/// # let _ = tokenecho::Server::builder().engine(engine);
/// ```
///
/// `generate` must not block: put slow work into [`Replies::Later`] or [`Body::Live`]:
///
/// ```
/// use std::sync::Arc;
///
/// use tokenecho::engine::{Engine, GenerationRequest, Replies, Reply};
/// use tokenecho::error::ApiError;
///
/// struct Upstream;
///
/// impl Engine for Upstream {
///     fn generate(&self, request: &Arc<GenerationRequest>) -> Result<Replies, ApiError> {
///         let choices = request.choices();
///         Ok(Replies::Later(Box::pin(async move {
///             // Call another server here. An error still becomes the response's status.
///             Ok((0..choices).map(|_| Reply::text("It agrees.")).collect())
///         })))
///     }
/// }
/// ```
pub trait Engine: Send + Sync + 'static {
    /// Returns the replies to `request`, one for each of its [`choices`](GenerationRequest::choices). Called when the
    /// request is admitted, which is when the time to first token starts.
    ///
    /// # Errors
    /// An error here becomes the response's status; an error in a [`Body::Live`] ends a stream that has started.
    fn generate(&self, request: &Arc<GenerationRequest>) -> Result<Replies, ApiError>;
}

impl<F> Engine for F
where
    F: Fn(&GenerationRequest) -> Reply + Send + Sync + 'static,
{
    fn generate(&self, request: &Arc<GenerationRequest>) -> Result<Replies, ApiError> {
        Ok(Replies::Each((0..request.choices()).map(|_| self(request)).collect()))
    }
}

#[cfg(test)]
mod tests;
