//! What is generated, and when; knows no protocol.
//!
//! An [`Engine`] gives the replies to a request. Everything a request asks around that (n, stop, token limits, usage,
//! pacing) is done here for any engine, by `Generation`. The default engine is [`EchoEngine`].

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
pub use token::{CallStart, Delta, Segment, Token};

use crate::error::ApiError;

/// Where replies come from. Implement this to put an engine of your own behind both protocols; a closure is one too,
/// called once a choice. Its argument's type has to be written out:
///
/// ```
/// use tokenecho::engine::{GenerationRequest, Reply};
///
/// let engine = |request: &GenerationRequest| Reply::text(format!("{} agrees.", request.model));
/// # let _ = tokenecho::Server::builder().engine(engine);
/// ```
///
/// What takes time belongs into [`Replies::Later`] or [`Body::Live`], never into `generate` itself:
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
///             // Ask another server here. An error is still this request's status.
///             Ok((0..choices).map(|_| Reply::text("It agrees.")).collect())
///         })))
///     }
/// }
/// ```
pub trait Engine: Send + Sync + 'static {
    /// The replies to `request`, one for each of its [`choices`](GenerationRequest::choices). Called when the request
    /// is admitted; time to first token counts from there.
    ///
    /// # Errors
    /// An error here is the request's status; an error in a [`Body::Live`] ends the stream that has begun.
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
