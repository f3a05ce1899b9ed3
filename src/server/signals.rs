//! The signals that stop a server.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};
use tracing::warn;

/// SIGTERM and SIGINT, listened for from the moment this is made: one that comes during the start counts too.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Listened for only so that it ends nothing: it means that keys are to be read again, if there are files.
    _hangup: Signal,
}

impl Signals {
    /// Listens, in place of the signals' default, which ends the process. Needs a tokio runtime.
    pub fn listen() -> Self {
        Self {
            terminate: listen(SignalKind::terminate()),
            interrupt: listen(SignalKind::interrupt()),
            _hangup: listen(SignalKind::hangup()),
        }
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        self.next_kind().await;
    }

    async fn next_kind(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }

    /// Waits for the first of them, and from then on ends the process at the next, however far the drain is. The same
    /// signal again within a second is the first one: GNU `timeout` sends it to the process and to its group.
    pub(super) async fn first(mut self) {
        const SAME: Duration = Duration::from_secs(1);

        let first = self.next_kind().await;
        let since = Instant::now();
        tokio::spawn(async move {
            while self.next_kind().await == first && since.elapsed() < SAME {}
            warn!("a second signal: exiting at once");
            // That line is written by a thread of its own, which the exit does not wait for.
            sleep(Duration::from_millis(50)).await;
            std::process::exit(130);
        });
    }
}

/// A signal that stops a server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Terminate,
    Interrupt,
}

fn listen(kind: SignalKind) -> Signal {
    signal(kind).expect("a runtime with IO can listen for signals")
}
