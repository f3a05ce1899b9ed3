//! What an engine returns: replies, at once or later, whole or live.

use std::sync::Arc;

use bytestring::ByteString;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use tracing::error;

use super::source::Source;
use super::{Delta, FinishReason, Segment, Token, Usage};
use crate::error::ApiError;

/// The replies to one request.
pub enum Replies {
    /// The same reply for every choice.
    Same(Vec<Segment>),
    /// One reply for each choice, in the order of the prompts.
    Each(Vec<Reply>),
    /// Replies that take time. The response starts after them, so that an error still becomes its status. The wait
    /// ends at the caller's deadline, when the caller disconnects, and when the server stops.
    Later(BoxFuture<'static, Result<Vec<Reply>, ApiError>>),
}

impl Replies {
    /// Waits for the replies; returns the token source of each of `choices` choices.
    ///
    /// # Errors
    /// The engine's error, or [`ApiError::Internal`] if it returned another number of replies.
    pub(crate) async fn sources(self, choices: usize) -> Result<Vec<Source>, ApiError> {
        let replies = match self {
            Self::Same(segments) => {
                let segments: Arc<[Segment]> = segments.into();
                return Ok((0..choices).map(|_| Source::whole(Arc::clone(&segments))).collect());
            }
            Self::Each(replies) => replies,
            Self::Later(replies) => replies.await?,
        };
        if replies.len() != choices {
            error!(replies = replies.len(), choices, "the engine did not return one reply for each choice");
            return Err(ApiError::Internal);
        }
        Ok(replies.into_iter().map(Source::from).collect())
    }
}

/// The reply for one choice.
pub struct Reply {
    /// Its content.
    pub body: Body,
    /// Why it ends, unless the request ends it earlier; `None` means [`FinishReason::ToolCalls`] after a tool call,
    /// else [`FinishReason::Stop`].
    pub finish: Option<FinishReason>,
    /// Its token usage, if the engine knows better than a count of its tokens. Reported if all replies have one and
    /// none of them was cut.
    pub usage: Option<Usage>,
}

/// The content of a reply.
pub enum Body {
    /// Known whole; texts and arguments are split into [`tokens`](super::tokens).
    Whole(Vec<Segment>),
    /// Streamed by the engine. A token that arrives after it is due is sent at once; an error ends the stream.
    Live(BoxStream<'static, Result<Piece, ApiError>>),
}

/// A piece of a live reply.
#[derive(Clone, Debug)]
pub enum Piece {
    /// A token.
    Token(Token),
    /// Why the reply ends; overrides [`Reply::finish`].
    Finish(FinishReason),
    /// Its token usage; overrides [`Reply::usage`].
    Usage(Usage),
}

impl Reply {
    /// A reply of one text, known whole.
    pub fn text(text: impl Into<ByteString>) -> Self {
        Self::whole(vec![Segment::Text(text.into())])
    }

    /// A reply of segments, known whole.
    pub fn whole(segments: Vec<Segment>) -> Self {
        Self { body: Body::Whole(segments), finish: None, usage: None }
    }

    /// A reply streamed as tokens or pieces.
    pub fn live<P: Into<Piece>>(pieces: impl Stream<Item = Result<P, ApiError>> + Send + 'static) -> Self {
        let pieces = pieces.map(|piece| piece.map(Into::into));
        Self { body: Body::Live(pieces.boxed()), finish: None, usage: None }
    }
}

impl<T: Into<Delta>> From<T> for Piece {
    fn from(delta: T) -> Self {
        Self::Token(Token::new(delta))
    }
}

impl From<Token> for Piece {
    fn from(token: Token) -> Self {
        Self::Token(token)
    }
}
