//! Where the server is between its start and its end. Probes, health and open streams ask here; the server
//! alone moves it on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture, WaitForCancellationFutureOwned};

/// The phases of a server's life, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Not everything is bound yet.
    Starting,
    /// Serving, and telling so.
    Ready,
    /// Still serving, but telling balancers to go elsewhere.
    Draining,
    /// Taking no new connections; what is open may end.
    Closing,
    /// Open streams end now, with a proper error.
    Ending,
}

/// When an answer has to end even if its client reads nothing of it; put into a response's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(pub Instant);

/// The server's phase, shared by everything that asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    phase: Arc<watch::Sender<Phase>>,
    /// Beside the phase, because ten thousand streams wait for this one only.
    ending: CancellationToken,
    is_ending: Arc<AtomicBool>,
}

impl Lifecycle {
    /// A server that is starting.
    pub(crate) fn starting() -> Self {
        Self {
            phase: Arc::new(watch::Sender::new(Phase::Starting)),
            ending: CancellationToken::new(),
            is_ending: Arc::default(),
        }
    }

    /// Moves on to `phase`; a server never moves back.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = *now < phase;
            if later {
                *now = phase;
            }
            later
        });
        if phase == Phase::Ending {
            self.is_ending.store(true, Ordering::Relaxed);
            self.ending.cancel();
        }
    }

    /// Whether requests are to be sent here, as probes ask.
    pub(crate) fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Ready
    }

    /// Whether requests that come now are too late.
    pub(crate) fn is_closing(&self) -> bool {
        *self.phase.borrow() >= Phase::Closing
    }

    /// Follows the phase.
    pub(crate) fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Waits until `phase` is reached.
    pub(crate) async fn reached(&self, phase: Phase) {
        let mut watch = self.watch();
        // The sender lives as long as `self`, so this ends only when the phase is reached.
        let _ = watch.wait_for(|now| *now >= phase).await;
    }

    /// Whether open streams have to end; asked for every token, so it takes no lock.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Waits until open streams have to end.
    pub(crate) fn ending(&self) -> WaitForCancellationFuture<'_> {
        self.ending.cancelled()
    }

    /// The same, for a stream that keeps it.
    pub(crate) fn ending_owned(&self) -> WaitForCancellationFutureOwned {
        self.ending.clone().cancelled_owned()
    }
}
