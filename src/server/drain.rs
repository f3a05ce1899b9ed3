//! The way out: readiness first, then the listeners, then the open streams, in form.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::connection::Connections;
use crate::config::DoorOptions;
use crate::service::lifecycle::{Lifecycle, Phase};
use crate::units;

/// What streams have to send their last words after they were told to end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Ends a server: probes and health turn at once, requests are served for the delay, open streams for the
/// timeout. Whatever is left is ended in form, and a second later closed.
pub async fn drain(lifecycle: &Lifecycle, options: &DoorOptions, connections: &Connections) {
    let shown = |duration| units::shown(duration).to_string();
    info!(delay = shown(options.shutdown_delay), timeout = shown(options.shutdown_timeout), "draining");
    lifecycle.enter(Phase::Draining);
    sleep(options.shutdown_delay).await;
    lifecycle.enter(Phase::Closing);
    if timeout(options.shutdown_timeout, connections.ended()).await.is_err() {
        warn!("streams were still open at the shutdown timeout: they end now");
        lifecycle.enter(Phase::Ending);
        if timeout(LAST_WORDS, connections.ended()).await.is_err() {
            connections.end();
            connections.ended().await;
        }
    }
    info!("drained");
}

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
