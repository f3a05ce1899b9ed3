//! Key files that change while the server runs.

use std::pin::pin;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::auth::{ApiKeys, AuthOptions, KeyFileError, PATIENCE};
use crate::service::Service;

/// How often key files are looked at. A mounted Secret is swapped as a link, which notifications miss.
const EVERY: Duration = Duration::from_secs(2);

/// Reads the key files again when they may have changed: every two seconds, and on SIGHUP.
pub(super) async fn follow(keys: ApiKeys, options: AuthOptions, service: Service) {
    let mut hangup = signal(SignalKind::hangup()).expect("a runtime with IO can listen for signals");
    let mut told = None;
    // The same failure every two seconds is one failure.
    let mut tell = |failure: Option<KeyFileError>| {
        if failure != told {
            if let Some(failure) = &failure {
                service.metrics().key_reload_failures.inc();
                warn!("the keys stay as they were: {failure}");
            }
            told = failure;
        }
    };
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = hangup.recv() => {}
        }
        let mut reload = pin!(keys.reload(&options));
        let reloaded = if let Ok(reloaded) = timeout(PATIENCE, &mut reload).await {
            reloaded
        } else {
            tell(Some(KeyFileError::too_slow(&options)));
            // One reader that is stuck is enough.
            reload.await
        };
        if let Ok(true) = reloaded {
            info!(keys = keys.count(), "the keys have changed");
        }
        tell(reloaded.err());
    }
}
