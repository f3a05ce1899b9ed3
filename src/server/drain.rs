//! The way out: readiness first, then the API listeners, then the open streams, each with a proper error, and the admin
//! listener last.

use std::time::Duration;

use tokio::time::{Instant, interval_at, sleep, timeout};
use tracing::{info, warn};

use super::Server;
use crate::ops::lifecycle::Phase;
use crate::units;

/// Time for streams to send their error and end, and for an answer of the admin listener.
const GRACE: Duration = Duration::from_secs(1);

/// Ends `server`: probes and health turn at once, requests are served for the delay, open streams for the timeout.
/// What is left then ends with a proper error, and is closed a second later.
pub(super) async fn drain(server: &Server) {
    let (lifecycle, connections) = (server.service.lifecycle(), &server.connections);
    let (delay, time) = (server.config.listeners.shutdown_delay, server.config.listeners.shutdown_timeout);
    log_start(server);
    lifecycle.enter(Phase::Draining);
    sleep(delay).await;
    lifecycle.enter(Phase::Closing);
    let ended = async {
        tokio::select! {
            () = connections.ended() => {}
            () = log_streams(server, Instant::now() + time) => {}
        }
    };
    if timeout(time, ended).await.is_err() {
        warn!(streams = streams(server), "streams were still open at the shutdown timeout: they end now");
        lifecycle.enter(Phase::Ending);
        if timeout(GRACE, connections.ended()).await.is_err() {
            connections.end();
            connections.ended().await;
        }
    }
    server.admin_connections.lifecycle().enter(Phase::Closing);
    // Dropping the server ends what is left of them.
    let _ = timeout(GRACE, server.admin_connections.ended()).await;
    info!("stopped");
}

fn log_start(server: &Server) {
    let (delay, time) = (server.config.listeners.shutdown_delay, server.config.listeners.shutdown_timeout);
    let line = match (streams(server), delay) {
        (0, Duration::ZERO) => "stopping: no streams are open".to_owned(),
        (open, Duration::ZERO) => {
            format!("stopping: {} may go on for {}", counted(open), units::spaced(time))
        }
        (_, delay) => {
            let (delay, time) = (units::spaced(delay), units::spaced(time));
            format!("stopping: requests are served for {delay} more, then open streams may go on for {time}")
        }
    };
    if is_text(server) {
        info!("{line}; Ctrl-C again ends them now");
    } else {
        let (delay, timeout) = (units::shown(delay), units::shown(time));
        info!(streams = streams(server), %delay, %timeout, "{line}");
    }
}

/// Logs how many streams are left, every second where the log is for people; never ends.
async fn log_streams(server: &Server, end: Instant) {
    const EVERY: Duration = Duration::from_secs(1);
    let mut seconds = interval_at(Instant::now() + EVERY, EVERY);
    while is_text(server) {
        seconds.tick().await;
        // To the next full second: the tick comes a moment late.
        let left = (end.saturating_duration_since(Instant::now()) + Duration::from_millis(500)).as_secs();
        let open = streams(server);
        if open > 0 && left > 0 {
            info!("stopping: {} left, for at most {left} s", counted(open));
        }
    }
    std::future::pending::<()>().await;
}

/// Whether the log is text for people.
fn is_text(server: &Server) -> bool {
    server.config.log.log_format.is_text()
}

fn streams(server: &Server) -> i64 {
    server.service.metrics().all_streams_open()
}

fn counted(streams: i64) -> String {
    if streams == 1 { "1 stream".into() } else { format!("{streams} streams") }
}
