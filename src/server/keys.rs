//! Key files that change while the server runs.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::auth::{ApiKeys, AuthOptions};
use crate::service::Service;

/// How often key files are looked at. A mounted Secret is swapped as a link, which notifications miss.
const EVERY: Duration = Duration::from_secs(2);

/// Reads the key files again when they may have changed: every two seconds, and on SIGHUP.
pub async fn follow(keys: ApiKeys, options: AuthOptions, service: Service) {
    let mut hangup = signal(SignalKind::hangup()).expect("a runtime with IO can listen for signals");
    let mut told = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = hangup.recv() => {}
        }
        // Files are read where waiting for a disk holds up no stream.
        let reload = {
            let (keys, options) = (keys.clone(), options.clone());
            move || keys.reload(&options)
        };
        let failure = match tokio::task::spawn_blocking(reload).await.expect("reading keys does not panic") {
            Ok(false) => None,
            Ok(true) => {
                info!(keys = keys.count(), "the keys have changed");
                None
            }
            Err(failure) => Some(failure),
        };
        // The same failure every two seconds is one failure.
        if failure != told {
            if let Some(failure) = &failure {
                service.metrics().key_reload_failures.inc();
                warn!("the keys stay as they were: {failure}");
            }
            told = failure;
        }
    }
}
