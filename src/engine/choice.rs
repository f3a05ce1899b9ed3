//! One choice: an engine's reply, repeated or cut as the request asks.
//!
//! Reads ahead of the pacing: a token that may start a stop sequence is held until the tokens after it are read, so
//! that stop sequences delay no token.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytestring::ByteString;

use super::source::Source;
use super::stop::{Found, StopMatcher, StopSequences};
use super::{Budget, Delta, FinishReason, Limit, Token, Usage};
use crate::error::ApiError;

/// The bounds of one choice.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// The most tokens, as the request asks.
    pub max_tokens: usize,
    /// The choice's share of the server's budget for one generation.
    pub share: Budget,
    /// The fewest tokens: until then the reply repeats, and stop sequences are ignored.
    pub min_tokens: usize,
    /// Whether the reply repeats without end.
    pub endless: bool,
    /// Sequences that end the reply where they appear in its text.
    pub stop: StopSequences,
}

/// A choice being generated.
pub(super) struct RunningChoice {
    source: Source,
    bounds: Bounds,
    stop: Option<StopMatcher>,
    /// Tokens and bytes taken from the source so far.
    taken: usize,
    taken_bytes: usize,
    /// Tokens read ahead, in order; the first `cleared` of them may be sent.
    ahead: VecDeque<Token>,
    cleared: usize,
    /// Bytes of the others, which are all text.
    held_bytes: usize,
    end: Option<End>,
    /// Whether the reply has been given more than once, so that it cost more than its engine knows.
    has_repeated: bool,
}

/// Why reading from the source ended.
#[derive(Clone, Copy)]
enum End {
    /// The reply ended.
    Source,
    /// The reply was cut.
    Cut(FinishReason),
}

impl RunningChoice {
    /// Starts reading the reply from `source`, within `bounds`.
    pub(super) fn new(mut source: Source, bounds: Bounds) -> Self {
        if bounds.endless || bounds.min_tokens > 0 {
            source.keep_text();
        }
        let stop = (!bounds.stop.is_empty()).then(|| StopMatcher::new(bounds.stop.clone()));
        Self {
            source,
            bounds,
            stop,
            taken: 0,
            taken_bytes: 0,
            ahead: VecDeque::new(),
            cleared: 0,
            held_bytes: 0,
            end: None,
            has_repeated: false,
        }
    }

    /// The next token to send; `None` at the end.
    pub(super) fn poll_token(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Token, ApiError>>> {
        loop {
            if self.cleared > 0 {
                self.cleared -= 1;
                return Poll::Ready(self.ahead.pop_front().map(Ok));
            }
            if self.end.is_some() {
                return Poll::Ready(None);
            }
            match ready!(self.poll_take(cx)) {
                Some(Ok(token)) if self.stop.is_none() => return Poll::Ready(Some(Ok(token))),
                Some(Ok(token)) => self.look_for_stop(token),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.cleared = self.ahead.len(),
            }
        }
    }

    /// Why the choice ended; valid once [`Self::poll_token`] has returned `None`.
    pub(super) fn finish(&self) -> FinishReason {
        match self.end {
            Some(End::Cut(reason)) => reason,
            Some(End::Source) | None => self.source.finish(),
        }
    }

    /// The usage that the engine reported; `None` if the choice was cut, as that counts tokens that were not sent.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.source.usage().filter(|_| matches!(self.end, Some(End::Source)) && !self.has_repeated)
    }

    /// Takes one token from the source; at its end or at a bound, sets `end` and returns `None`.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Token, ApiError>>> {
        // Read before the limit is checked: a reply that ends exactly there was not cut.
        let token = loop {
            match ready!(self.source.poll_token(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(token)) => break Some(token),
                None if self.goes_on() && self.source.repeat() => self.has_repeated = true,
                None => break None,
            }
        };
        self.end = match &token {
            None => Some(End::Source),
            Some(token) => self.limit_before(token).map(|by| End::Cut(FinishReason::Length { by })),
        };
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        if let Some(token) = &token {
            self.taken += 1;
            self.taken_bytes += token.delta.text().len();
        }
        Poll::Ready(token.map(Ok))
    }

    fn goes_on(&self) -> bool {
        self.taken > 0 && (self.bounds.endless || self.taken < self.bounds.min_tokens)
    }

    /// The limit that leaves no room for one more token, if any.
    fn limit_before(&self, token: &Token) -> Option<Limit> {
        let Bounds { max_tokens, share, .. } = &self.bounds;
        if self.taken == *max_tokens {
            Some(Limit::Request)
        } else if self.taken == share.tokens {
            Some(Limit::ServerTokens)
        } else if self.taken_bytes + token.delta.text().len() > share.bytes {
            Some(Limit::ServerBytes)
        } else {
            None
        }
    }

    fn look_for_stop(&mut self, token: Token) {
        let (Delta::Text(text), Some(stop)) = (&token.delta, &mut self.stop) else {
            return self.pass(token);
        };
        let found =
            if self.taken > self.bounds.min_tokens { stop.read(text) } else { Found::Nothing { held: 0 } };
        self.held_bytes += text.len();
        self.ahead.push_back(token);
        match found {
            Found::Nothing { held } => self.clear_all_but(held),
            Found::Match { from_end, sequence } => {
                self.drop_last(from_end);
                self.cleared = self.ahead.len();
                self.end = Some(End::Cut(FinishReason::Stop { sequence: Some(sequence) }));
            }
        }
    }

    /// Clears a token that is not text and the tokens held before it: no sequence matches across it.
    fn pass(&mut self, token: Token) {
        if let Some(stop) = &mut self.stop {
            stop.reset();
        }
        self.ahead.push_back(token);
        (self.cleared, self.held_bytes) = (self.ahead.len(), 0);
    }

    /// Clears the tokens that the last `bytes` bytes do not touch. It starts at the first token not yet cleared, so
    /// the total cost stays linear even if the whole reply is held.
    fn clear_all_but(&mut self, bytes: usize) {
        while let Some(token) = self.ahead.get(self.cleared)
            && self.held_bytes - token.delta.text().len() >= bytes
        {
            self.held_bytes -= token.delta.text().len();
            self.cleared += 1;
        }
    }

    /// Drops the last `bytes` bytes of text; a token that is only partly dropped keeps its beginning.
    fn drop_last(&mut self, mut bytes: usize) {
        while let Some(mut token) = self.ahead.pop_back() {
            let Delta::Text(text) = &mut token.delta else { return };
            if text.len() > bytes {
                *text = first(text, text.len() - bytes);
                self.ahead.push_back(token);
                return;
            }
            bytes -= text.len();
        }
    }
}

fn first(text: &ByteString, bytes: usize) -> ByteString {
    text.slice_ref(&text[..bytes])
}
