//! The token source of a choice: an engine's reply, whole or live, whose text repeats if the request asks for more.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytestring::ByteString;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::tokens::Tokens;
use super::{Body, CallStart, Delta, FinishReason, Piece, Reply, Run, Segment, Token, Usage};
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
        /// The text tokens so far; kept only if they may be repeated.
        text: Option<Vec<ByteString>>,
    },
    /// Repeats the text of a live reply.
    Again {
        text: Vec<ByteString>,
        next: usize,
    },
}

/// Segments being split into tokens.
#[derive(Clone)]
struct Whole {
    segments: Arc<[Segment]>,
    /// The index of the next segment.
    next: usize,
    /// The rest of the current segment's text, and what it adds to.
    tokens: Tokens,
    part: ReplyPart,
    /// How many calls have started.
    calls: u16,
    /// Whether this is a repetition, which has only the text.
    is_repeat: bool,
}

/// What a segment's text adds to.
#[derive(Clone, Copy)]
enum ReplyPart {
    Text,
    Reasoning,
    Refusal,
    /// The arguments of the last call.
    Arguments,
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
    /// A reply that is known whole; equal choices share its `segments`.
    pub(crate) fn whole(segments: Arc<[Segment]>) -> Self {
        let tokens = Tokens::of(ByteString::new());
        Self::new(State::Whole(Whole {
            segments,
            next: 0,
            tokens,
            part: ReplyPart::Text,
            calls: 0,
            is_repeat: false,
        }))
    }

    fn new(state: State) -> Self {
        Self { state, finish: None, usage: None, has_called: false }
    }

    /// Keeps the text of a live reply for [`Self::repeat`].
    pub(crate) fn keep_text(&mut self) {
        if let State::Live { text, .. } = &mut self.state {
            *text = Some(Vec::new());
        }
    }

    /// The tokens, without consuming them, if the reply is whole; used to measure it in advance.
    pub(crate) fn preview(&self) -> Option<impl Iterator<Item = Token> + use<>> {
        match &self.state {
            State::Whole(whole) => Some(whole.clone()),
            State::Live { .. } | State::Again { .. } => None,
        }
    }

    /// The next tokens, at most `most`, none of them empty; `None` at the end.
    pub(super) fn poll_run(
        &mut self,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Run, ApiError>>> {
        let run = match &mut self.state {
            State::Whole(whole) => whole.run(most),
            State::Again { text, next } => {
                *next += 1;
                text.get(*next - 1).map(|text| Run::one(Token::new(text.clone())))
            }
            State::Live { .. } => match ready!(self.poll_live(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(token)) => Some(Run::one(token)),
                None => None,
            },
        };
        self.has_called |= matches!(&run, Some(run) if matches!(run.delta, Delta::Call(_)));
        Poll::Ready(run.map(Ok))
    }

    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Token, ApiError>>> {
        let State::Live { pieces, text } = &mut self.state else { return Poll::Ready(None) };
        loop {
            match ready!(pieces.poll_next_unpin(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(Piece::Finish(reason))) => self.finish = Some(reason),
                Some(Ok(Piece::Usage(usage))) => self.usage = Some(usage),
                Some(Ok(Piece::Token(token))) if token.is_empty() => {}
                Some(Ok(Piece::Token(token))) => {
                    if let (Some(kept), Delta::Text(text)) = (text, &token.delta) {
                        kept.push(text.clone());
                    }
                    return Poll::Ready(Some(Ok(token)));
                }
            }
        }
    }

    /// Starts again with the text only: tool calls are not repeated. Returns false without text, or if it was not
    /// kept.
    pub(crate) fn repeat(&mut self) -> bool {
        match &mut self.state {
            State::Whole(whole) => {
                (whole.next, whole.is_repeat) = (0, true);
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
                let has_text = !text.is_empty();
                self.state = State::Again { text, next: 0 };
                has_text
            }
        }
    }

    /// Why the reply ended by itself.
    pub(crate) fn finish(&self) -> FinishReason {
        let by_content =
            if self.has_called { FinishReason::ToolCalls } else { FinishReason::Stop { sequence: None } };
        self.finish.unwrap_or(by_content)
    }

    /// The usage that the engine reported for the reply.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl Iterator for Whole {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.run(1).map(|run| Token::new(run.delta))
    }
}

impl Whole {
    /// The next tokens of one segment, at most `most`.
    fn run(&mut self, most: usize) -> Option<Run> {
        loop {
            if let Some((text, tokens)) = self.tokens.run(most) {
                let delta = match self.part {
                    ReplyPart::Text => Delta::Text(text),
                    ReplyPart::Reasoning => Delta::Reasoning(text),
                    ReplyPart::Refusal => Delta::Refusal(text),
                    ReplyPart::Arguments => Delta::Arguments { call: self.calls - 1, text },
                };
                return Some(Run { delta, tokens: u32::try_from(tokens).unwrap_or(u32::MAX) });
            }
            if let ControlFlow::Break(end_or_call) = self.begin_segment() {
                return end_or_call.map(Run::one);
            }
        }
    }

    /// Starts the next segment or skips it; breaks with the token that opens a tool call, or at the end.
    fn begin_segment(&mut self) -> ControlFlow<Option<Token>> {
        let Some(segment) = self.segments.get(self.next) else { return ControlFlow::Break(None) };
        self.next += 1;
        if self.is_repeat && !matches!(segment, Segment::Text(_)) {
            return ControlFlow::Continue(());
        }
        let (part, text) = match segment {
            Segment::Text(text) => (ReplyPart::Text, text),
            Segment::Reasoning(text) => (ReplyPart::Reasoning, text),
            Segment::Refusal(text) => (ReplyPart::Refusal, text),
            Segment::ToolCall { arguments, .. } => (ReplyPart::Arguments, arguments),
        };
        (self.part, self.tokens) = (part, Tokens::of(text.clone()));
        let Segment::ToolCall { kind, id, name, .. } = segment else { return ControlFlow::Continue(()) };
        self.calls += 1;
        let (id, name) = (id.clone(), name.clone());
        ControlFlow::Break(Some(Token::new(CallStart { call: self.calls - 1, kind: *kind, id, name })))
    }
}
