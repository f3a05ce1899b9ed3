//! The way out: readiness first, then the listeners, then the open streams, each with a proper error.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::connection::Connections;
use crate::config::ListenerOptions;
use crate::ops::lifecycle::{Lifecycle, Phase};
use crate::units;

/// Time for streams to send their error and end.
const GRACE: Duration = Duration::from_secs(1);

/// Ends a server: probes and health turn at once, requests are served for the delay, open streams for the timeout.
/// What is left then ends with a proper error, and is closed a second later.
pub(super) async fn drain(lifecycle: &Lifecycle, options: &ListenerOptions, connections: &Connections) {
    let shown = |duration| units::shown(duration).to_string();
    info!(delay = shown(options.shutdown_delay), timeout = shown(options.shutdown_timeout), "draining");
    lifecycle.enter(Phase::Draining);
    sleep(options.shutdown_delay).await;
    lifecycle.enter(Phase::Closing);
    if timeout(options.shutdown_timeout, connections.ended()).await.is_err() {
        warn!("streams were still open at the shutdown timeout: they end now");
        lifecycle.enter(Phase::Ending);
        if timeout(GRACE, connections.ended()).await.is_err() {
            connections.end();
            connections.ended().await;
        }
    }
    info!("drained");
}
