//! How many connections may be open at once. Those beyond wait to be accepted, which is counted, and logged once a
//! minute.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tracing::warn;

/// The slots of one or more listeners; clones are the same slots.
#[derive(Clone)]
pub(in crate::server) struct Slots(Arc<Inner>);

struct Inner {
    free: Arc<Semaphore>,
    most: usize,
    /// The listener, for the log.
    listener: &'static str,
    /// Counts connections that wait.
    full: IntCounter,
    warned: Mutex<Option<Instant>>,
}

/// How often a full server logs that it is full.
const EVERY: Duration = Duration::from_secs(60);

impl Slots {
    /// So many slots of this listener; `full` counts the connections that wait for one, once a minute each.
    pub(in crate::server) fn new(most: usize, listener: &'static str, full: IntCounter) -> Self {
        let free = Arc::new(Semaphore::new(most));
        Self(Arc::new(Inner { free, most, listener, full, warned: Mutex::default() }))
    }

    /// Takes a slot, and waits for one while all are taken. The wait is counted and logged at once and then every minute: an
    /// alert that looks for increases has to see a server that stays full.
    pub(super) async fn take(&self) -> OwnedSemaphorePermit {
        let free = Arc::clone(&self.0.free);
        if let Ok(slot) = Arc::clone(&free).try_acquire_owned() {
            return slot;
        }
        let mut slot = pin!(free.acquire_owned());
        loop {
            self.note_full();
            if let Ok(slot) = timeout(EVERY, &mut slot).await {
                return slot.expect("the semaphore is never closed");
            }
        }
    }

    fn note_full(&self) {
        self.0.full.inc();
        let mut warned = self.0.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|at| at.elapsed() >= EVERY) {
            *warned = Some(Instant::now());
            warn!(
                listener = self.0.listener,
                connections = self.0.most,
                "the connection limit is reached: new connections wait until another ends"
            );
        }
    }
}
