//! One choice: an engine's reply, repeated and cut to what the request asks.
//!
//! Works ahead of time: a token that may begin a stop sequence is held until what follows is read, before
//! pacing sees it, so that stop sequences make no token late.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytestring::ByteString;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::stop::{Found, StopMatcher, StopSequences};
use super::tokens::Tokens;
use super::{Budget, FinishReason, Reply};
use crate::error::ApiError;

/// What bounds one choice.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// At most so many tokens, as the request asks.
    pub max_tokens: usize,
    /// The choice's part of what the server lets one generation say.
    pub share: Budget,
    /// At least so many tokens: the reply is repeated until then, and no stop sequence counts before.
    pub min_tokens: usize,
    /// The reply is repeated without end.
    pub endless: bool,
    /// What ends the reply where it appears.
    pub stop: StopSequences,
}

/// A choice being said.
pub struct RunningChoice {
    source: Source,
    bounds: Bounds,
    stop: Option<StopMatcher>,
    /// Tokens and bytes taken from the source so far.
    taken: usize,
    taken_bytes: usize,
    /// Taken from the source, in order; the first `cleared` of them may be said.
    ahead: VecDeque<ByteString>,
    cleared: usize,
    /// Bytes of those that may not.
    held_bytes: usize,
    /// Set once nothing more is taken from the source.
    finish: Option<Finish>,
}

/// What ended a choice.
#[derive(Clone, Copy)]
enum Finish {
    /// What the request asks, or the end of the reply.
    Asked(FinishReason),
    /// The choice's share of the server's budget.
    Share,
}

impl RunningChoice {
    /// Begins to say `reply` within `bounds`.
    pub fn new(reply: Reply, bounds: Bounds) -> Self {
        let repeats = bounds.endless || bounds.min_tokens > 0;
        let stop = (!bounds.stop.is_empty()).then(|| StopMatcher::new(bounds.stop.clone()));
        Self {
            source: Source::new(reply, repeats),
            bounds,
            stop,
            taken: 0,
            taken_bytes: 0,
            ahead: VecDeque::new(),
            cleared: 0,
            held_bytes: 0,
            finish: None,
        }
    }

    /// The next token that may be said; `None` at the end, whose reason [`Self::finish_reason`] tells.
    pub fn poll_token(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ByteString, ApiError>>> {
        loop {
            if self.cleared > 0 {
                self.cleared -= 1;
                return Poll::Ready(self.ahead.pop_front().map(Ok));
            }
            if self.finish.is_some() {
                return Poll::Ready(None);
            }
            match ready!(self.poll_take(cx)) {
                Some(Ok(piece)) if self.stop.is_none() => return Poll::Ready(Some(Ok(piece))),
                Some(Ok(piece)) => self.look_for_stop(piece),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.cleared = self.ahead.len(),
            }
        }
    }

    /// Why the choice ended, and whether its share did it; meaningful once [`Self::poll_token`] has said so.
    pub fn finish(&self) -> (FinishReason, bool) {
        match self.finish {
            Some(Finish::Share) => (FinishReason::Length, true),
            Some(Finish::Asked(reason)) => (reason, false),
            None => (FinishReason::Stop, false),
        }
    }

    /// Takes one piece from the source, unless a bound is reached; `None` sets `finish`.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ByteString, ApiError>>> {
        // Asked for before the limit is: a reply that ends exactly there was not cut.
        let piece = loop {
            match ready!(self.source.poll_piece(cx)) {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(piece)) => break Some(piece),
                None if self.is_to_go_on() && self.source.rewind() => {}
                None => break None,
            }
        };
        self.finish = match &piece {
            None => Some(Finish::Asked(FinishReason::Stop)),
            Some(_) if self.taken == self.bounds.max_tokens => Some(Finish::Asked(FinishReason::Length)),
            Some(piece) if self.is_beyond_share(piece) => Some(Finish::Share),
            Some(piece) => {
                self.taken += 1;
                self.taken_bytes += piece.len();
                None
            }
        };
        Poll::Ready(if self.finish.is_some() { None } else { piece.map(Ok) })
    }

    fn is_to_go_on(&self) -> bool {
        self.taken > 0 && (self.bounds.endless || self.taken < self.bounds.min_tokens)
    }

    fn is_beyond_share(&self, piece: &ByteString) -> bool {
        let share = self.bounds.share;
        self.taken == share.tokens || self.taken_bytes + piece.len() > share.bytes
    }

    fn look_for_stop(&mut self, piece: ByteString) {
        let counts = self.taken > self.bounds.min_tokens;
        let found = match &mut self.stop {
            Some(stop) if counts => stop.read(&piece),
            _ => Found::Nothing { held: 0 },
        };
        self.held_bytes += piece.len();
        self.ahead.push_back(piece);
        match found {
            Found::Nothing { held } => self.clear_all_but(held),
            Found::Match { from_end } => {
                self.drop_last(from_end);
                self.cleared = self.ahead.len();
                self.finish = Some(Finish::Asked(FinishReason::Stop));
            }
        }
    }

    /// Clears the pieces that the last `bytes` bytes do not touch. Each is looked at until it is cleared and never
    /// again, so that a reply held whole costs no more than another.
    fn clear_all_but(&mut self, bytes: usize) {
        while let Some(piece) = self.ahead.get(self.cleared)
            && self.held_bytes - piece.len() >= bytes
        {
            self.held_bytes -= piece.len();
            self.cleared += 1;
        }
    }

    /// Takes back the last `bytes` bytes; of a piece cut in two the beginning stays.
    fn drop_last(&mut self, mut bytes: usize) {
        while let Some(piece) = self.ahead.pop_back() {
            if piece.len() > bytes {
                self.ahead.push_back(piece.slice_ref(&piece[..piece.len() - bytes]));
                return;
            }
            bytes -= piece.len();
        }
    }
}

/// Where the pieces of a reply come from, again and again if need be.
enum Source {
    Text(Tokens),
    Pieces {
        pieces: BoxStream<'static, Result<ByteString, ApiError>>,
        /// What was said, kept only where it may have to be said again.
        said: Option<VecDeque<ByteString>>,
    },
    Replay {
        said: VecDeque<ByteString>,
        position: usize,
    },
}

impl Source {
    fn new(reply: Reply, repeats: bool) -> Self {
        match reply {
            Reply::Text(text) => Self::Text(Tokens::of(text)),
            Reply::Pieces(pieces) => Self::Pieces { pieces, said: repeats.then(VecDeque::new) },
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ByteString, ApiError>>> {
        match self {
            Self::Text(tokens) => Poll::Ready(tokens.next().map(Ok)),
            Self::Pieces { pieces, said } => {
                let piece = ready!(pieces.poll_next_unpin(cx));
                if let (Some(said), Some(Ok(piece))) = (said, &piece) {
                    said.push_back(piece.clone());
                }
                Poll::Ready(piece)
            }
            Self::Replay { said, position } => {
                let piece = said.get(*position).cloned().map(Ok);
                *position += 1;
                Poll::Ready(piece)
            }
        }
    }

    /// Starts again from the beginning; false where that was not prepared.
    fn rewind(&mut self) -> bool {
        match self {
            Self::Text(tokens) => tokens.rewind(),
            Self::Replay { position, .. } => *position = 0,
            Self::Pieces { said, .. } => match said.take() {
                Some(said) => *self = Self::Replay { said, position: 0 },
                None => return false,
            },
        }
        true
    }
}
