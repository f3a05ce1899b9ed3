//! One choice: an engine's reply, repeated or cut as the request asks.
//!
//! Reads ahead of the pacing: a token that may start a stop sequence is held until the tokens after it are read, so
//! that stop sequences delay no token.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytestring::ByteString;

use super::source::Source;
use super::stop::{Found, StopMatcher, StopSequences};
use super::{Budget, Delta, FinishReason, Limit, Run, Token, Usage, tokens};
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

    /// The next tokens to send, at most `most`; `None` at the end.
    pub(super) fn poll_run(
        &mut self,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Run, ApiError>>> {
        loop {
            if self.cleared > 0 {
                self.cleared -= 1;
                return Poll::Ready(self.ahead.pop_front().map(|token| Ok(Run::one(token))));
            }
            if self.end.is_some() {
                return Poll::Ready(None);
            }
            match ready!(self.poll_take(self.room(most), cx)) {
                Some(Ok(run)) if self.stop.is_none() => return Poll::Ready(Some(Ok(run))),
                Some(Ok(run)) => self.look_for_stop(Token::new(run.delta)),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.cleared = self.ahead.len(),
            }
        }
    }

    /// How many of `most` tokens may be taken at once: those that surely are within all bounds, and at least one, which is
    /// then looked at by itself.
    fn room(&self, most: usize) -> usize {
        let Bounds { max_tokens, share, .. } = &self.bounds;
        let bytes = share.bytes.saturating_sub(self.taken_bytes);
        if self.stop.is_some() || bytes / tokens::LONGEST < most {
            return 1;
        }
        most.min(max_tokens - self.taken).min(share.tokens - self.taken).max(1)
    }

    /// Why the choice ended; valid once [`Self::poll_run`] has returned `None`.
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

    /// Takes at most `most` tokens from the source; at its end or at a bound, sets `end` and returns `None`.
    fn poll_take(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<Option<Result<Run, ApiError>>> {
        // Read before the limit is checked: a reply that ends exactly there was not cut.
        let run = loop {
            match ready!(self.source.poll_run(most, cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(run)) => break Some(run),
                None if self.goes_on() && self.source.repeat() => self.has_repeated = true,
                None => break None,
            }
        };
        self.end = match &run {
            None => Some(End::Source),
            Some(run) => self.limit_before(run).map(|by| End::Cut(FinishReason::Length { by })),
        };
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        if let Some(run) = &run {
            self.taken += run.tokens as usize;
            self.taken_bytes += run.delta.text().len();
        }
        Poll::Ready(run.map(Ok))
    }

    fn goes_on(&self) -> bool {
        self.taken > 0 && (self.bounds.endless || self.taken < self.bounds.min_tokens)
    }

    /// The limit that leaves no room for `run`, if any.
    fn limit_before(&self, run: &Run) -> Option<Limit> {
        let Bounds { max_tokens, share, .. } = &self.bounds;
        if self.taken == *max_tokens {
            Some(Limit::Request)
        } else if self.taken == share.tokens {
            Some(Limit::ServerTokens)
        } else if self.taken_bytes + run.delta.text().len() > share.bytes {
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
