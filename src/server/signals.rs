//! The signals that stop a server.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
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
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Ends the process at the next of them, however far the drain is.
    pub(super) fn exit_at_next(mut self) {
        tokio::spawn(async move {
            self.next().await;
            warn!("a second signal: gone");
            // That line is written by a thread of its own, which the exit does not wait for.
            sleep(Duration::from_millis(50)).await;
            std::process::exit(130);
        });
    }
}

fn listen(kind: SignalKind) -> Signal {
    signal(kind).expect("a runtime with IO can listen for signals")
}
