//! Where the tokens of a choice come from: an engine's reply, whole or live, and its text again where the request
//! asks for more.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytestring::ByteString;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::tokens::Tokens;
use super::{Body, Delta, FinishReason, Piece, Reply, Segment, Token, Usage};
use crate::error::ApiError;

/// The tokens of one choice, in order.
pub(crate) struct Source {
    state: State,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    has_called: bool,
}

enum State {
    Whole(Whole),
    Live {
        pieces: BoxStream<'static, Result<Piece, ApiError>>,
        /// The text tokens so far, kept only where they may have to be repeated.
        text: Option<Vec<ByteString>>,
    },
    /// The text of a live reply, again and again.
    Again {
        text: Vec<ByteString>,
        next: usize,
    },
}

/// Segments being cut into tokens.
#[derive(Clone)]
struct Whole {
    segments: Arc<[Segment]>,
    segment: usize,
    /// What is left of the segment's text; `None` before it has begun.
    tokens: Option<Tokens>,
    /// The index of the next call.
    call: u16,
    /// From the second time on, only text is repeated.
    is_repeat: bool,
}

impl From<Reply> for Source {
    fn from(Reply { body, finish, usage }: Reply) -> Self {
        let source = match body {
            Body::Whole(segments) => Self::whole(segments.into()),
            Body::Live(pieces) => Self::new(State::Live { pieces, text: None }),
        };
        Self { finish, usage, ..source }
    }
}

impl Source {
    /// A reply that is known whole; clones of `segments` are one reply.
    pub(crate) fn whole(segments: Arc<[Segment]>) -> Self {
        Self::new(State::Whole(Whole { segments, segment: 0, tokens: None, call: 0, is_repeat: false }))
    }

    fn new(state: State) -> Self {
        Self { state, finish: None, usage: None, has_called: false }
    }

    /// Prepares for [`Self::repeat`].
    pub(crate) fn keep_text(&mut self) {
        if let State::Live { text, .. } = &mut self.state {
            *text = Some(Vec::new());
        }
    }

    /// The tokens, without taking them, where they are known; to measure a reply beforehand.
    pub(crate) fn preview(&self) -> Option<impl Iterator<Item = Token> + use<>> {
        match &self.state {
            State::Whole(whole) => Some(whole.clone()),
            State::Live { .. } | State::Again { .. } => None,
        }
    }

    /// The next token with any text; `None` at the end.
    pub(crate) fn poll_token(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Token, ApiError>>> {
        loop {
            let token = match &mut self.state {
                State::Whole(whole) => whole.next(),
                State::Again { text, next } => {
                    *next += 1;
                    text.get(*next - 1).map(|text| Token::new(text.clone()))
                }
                State::Live { pieces, text } => match ready!(pieces.poll_next_unpin(cx)) {
                    None => None,
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(Piece::Finish(reason))) => {
                        self.finish = Some(reason);
                        continue;
                    }
                    Some(Ok(Piece::Usage(usage))) => {
                        self.usage = Some(usage);
                        continue;
                    }
                    Some(Ok(Piece::Token(token))) => {
                        if let (Some(kept), Delta::Text(text)) = (text, &token.delta) {
                            kept.push(text.clone());
                        }
                        Some(token)
                    }
                },
            };
            let Some(token) = token else { return Poll::Ready(None) };
            match &token.delta {
                Delta::Call { .. } => self.has_called = true,
                delta if delta.text().is_empty() => continue,
                _ => {}
            }
            return Poll::Ready(Some(Ok(token)));
        }
    }

    /// Starts again, with its text alone: a call that has been made is not made again. False where there is none, or
    /// where it was not kept.
    pub(crate) fn repeat(&mut self) -> bool {
        match &mut self.state {
            State::Whole(whole) => {
                (whole.segment, whole.tokens, whole.is_repeat) = (0, None, true);
                whole
                    .segments
                    .iter()
                    .any(|segment| matches!(segment, Segment::Text(text) if !text.is_empty()))
            }
            State::Again { next, .. } => {
                *next = 0;
                true
            }
            State::Live { text, .. } => {
                let text = text.take().unwrap_or_default();
                let has_text = text.iter().any(|text| !text.is_empty());
                self.state = State::Again { text, next: 0 };
                has_text
            }
        }
    }

    /// Why the reply ends by itself.
    pub(crate) fn finish(&self) -> FinishReason {
        let by_content =
            if self.has_called { FinishReason::ToolCalls } else { FinishReason::Stop { sequence: None } };
        self.finish.unwrap_or(by_content)
    }

    /// What the engine says that the reply cost.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl Iterator for Whole {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let segment = self.segments.get(self.segment)?;
            let Some(tokens) = &mut self.tokens else {
                if let Some(call) = self.begin_segment() {
                    return Some(call);
                }
                continue;
            };
            if let Some(text) = tokens.next() {
                return Some(Token::new(match segment {
                    Segment::Text(_) => Delta::Text(text),
                    Segment::Reasoning(_) => Delta::Reasoning(text),
                    Segment::Refusal(_) => Delta::Refusal(text),
                    Segment::ToolCall { .. } => Delta::Arguments { call: self.call - 1, text },
                }));
            }
            self.tokens = None;
            self.segment += 1;
        }
    }
}

impl Whole {
    /// Begins a segment, or passes over it; gives the token that announces a call.
    fn begin_segment(&mut self) -> Option<Token> {
        let segment = &self.segments[self.segment];
        let (Segment::Text(text) | Segment::Reasoning(text) | Segment::Refusal(text)) = segment else {
            return self.begin_call();
        };
        if self.is_repeat && !matches!(segment, Segment::Text(_)) {
            self.segment += 1;
        } else {
            self.tokens = Some(Tokens::of(text.clone()));
        }
        None
    }

    fn begin_call(&mut self) -> Option<Token> {
        let Segment::ToolCall { kind, id, name, arguments } = &self.segments[self.segment] else {
            return None;
        };
        if self.is_repeat {
            self.segment += 1;
            return None;
        }
        self.tokens = Some(Tokens::of(arguments.clone()));
        self.call += 1;
        Some(Token::new(Delta::Call { call: self.call - 1, kind: *kind, id: id.clone(), name: name.clone() }))
    }
}
