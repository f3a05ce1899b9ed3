//! Pacing: when each token is sent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The delays of one generation. Zero means no delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pacing {
    /// Time to first token.
    pub ttft: Duration,
    /// Inter-token latency: the time between two tokens.
    pub itl: Duration,
}

/// The deadlines of one generation, counted from its start: token k is due at `start + ttft + k * itl`.
///
/// They are absolute, so a late token does not delay the ones after it.
#[derive(Debug)]
pub(crate) struct Schedule {
    pacing: Pacing,
    start: Instant,
    /// Created at the first wait, then reset for each deadline.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Schedule {
    /// Deadlines that count from `start`.
    pub(crate) fn new(pacing: Pacing, start: Instant) -> Self {
        Self { pacing, start, timer: None }
    }

    /// Whether all tokens are due at the same time.
    pub(crate) fn is_one_step(&self) -> bool {
        self.pacing.itl.is_zero()
    }

    /// Ready when token `k` (from 0) is due; returns its deadline, `None` without a delay.
    pub(crate) fn poll_due(&mut self, k: u32, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        let delay = self.pacing.ttft + self.pacing.itl * k;
        if delay.is_zero() {
            return Poll::Ready(None);
        }
        let due = self.start + delay;
        match &mut self.timer {
            _ if due <= Instant::now() => return Poll::Ready(Some(due)),
            Some(timer) if timer.deadline() == due => {}
            Some(timer) => timer.as_mut().reset(due),
            None => self.timer = Some(Box::pin(sleep_until(due))),
        }
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(Some(due))
    }
}
