//! Answers whose client reads nothing, found out from outside of their body.
//!
//! hyper polls a body for more only while there is room for it (hyper#1628), so the body cannot notice that its client
//! has stopped reading. What it can do is note when it last gave data away and was not polled again; what
//! runs the answer's task looks at that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// Watches whether the client of an answer takes what it is given.
#[derive(Debug)]
pub(super) struct StallWatch {
    base: Instant,
    /// Milliseconds from the base to when data was last given and has not been asked to follow up; 0 while the
    /// client waits for the server.
    given: AtomicU64,
    /// Milliseconds from the base to when the answer has to end anyway; 0 for never.
    ends: AtomicU64,
    /// Wakes the wait for a stall when that is set.
    changed: Notify,
    /// Whether the client was found to have read nothing for too long.
    has_stalled: AtomicBool,
}

impl StallWatch {
    /// A watch over a client that waits.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            given: AtomicU64::new(0),
            ends: AtomicU64::new(0),
            changed: Notify::new(),
            has_stalled: AtomicBool::new(false),
        })
    }

    /// Ends an answer whose client reads nothing at `deadline` at the latest, and a moment later for its last bytes.
    pub(super) fn ends_at(&self, deadline: Instant) {
        const LAST_BYTES: Duration = Duration::from_millis(500);
        self.ends.store(self.since_base(deadline + LAST_BYTES), Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Waits until the client has read nothing for `timeout`, or nothing of an answer that has to end by now.
    pub(super) async fn stalled(&self, timeout: Duration) {
        loop {
            let now = self.since_base(Instant::now());
            let ends = self.ends.load(Ordering::Relaxed);
            let (is_given, stalls) = match self.given.load(Ordering::Relaxed) {
                0 => (false, now + milliseconds(timeout)),
                given => (true, given + milliseconds(timeout)),
            };
            let until = if is_given && ends > 0 { stalls.min(ends) } else { stalls };
            if until <= now {
                // A call may also end by its deadline.
                self.has_stalled.store(stalls <= now, Ordering::Relaxed);
                return;
            }
            // While the client waits, an end that has passed is looked at again now and then.
            let until = if ends > 0 { until.min(ends.max(now + 500)) } else { until };
            tokio::select! {
                () = sleep(Duration::from_millis(until - now)) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Whether the answer ends because its client read nothing for too long.
    pub(super) fn has_stalled(&self) -> bool {
        self.has_stalled.load(Ordering::Relaxed)
    }

    fn since_base(&self, at: Instant) -> u64 {
        milliseconds(at.saturating_duration_since(self.base)).max(1)
    }

    /// Notes that data was given away.
    pub(super) fn gave(&self) {
        self.given.store(self.since_base(Instant::now()), Ordering::Relaxed);
    }

    /// Notes that some of what was given has been written to the socket.
    pub(super) fn progressed(&self) {
        if self.given.load(Ordering::Relaxed) != 0 {
            self.gave();
        }
    }

    /// Notes that all that was given has been taken: the client waits.
    pub(super) fn taken(&self) {
        self.given.store(0, Ordering::Relaxed);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
