//! Workers: threads for work that would make every other request of its thread wait.

use std::num::NonZero;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// A request of so many bytes is read, checked and tokenized in some milliseconds.
const SMALL: u64 = 128 * 1024;

/// The slots of all workers; there is no queue but theirs.
pub(super) struct Workers(Arc<Semaphore>);

impl Workers {
    /// One worker for each processor.
    pub(super) fn one_a_processor() -> Self {
        Self(Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get))))
    }

    /// Does `work` on something of `bytes` bytes: in place where that is little, else on a worker. A panic in it is
    /// the caller's. Work that has begun goes on when the caller leaves.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if bytes <= SMALL {
            return work();
        }
        let slot = Arc::clone(&self.0).acquire_owned().await.expect("the semaphore is never closed");
        // The slot goes with the work, not with the caller that waits for it.
        let work = move || {
            let done = work();
            drop(slot);
            done
        };
        match spawn_blocking(work).await {
            Ok(done) => done,
            Err(failure) => std::panic::resume_unwind(failure.into_panic()),
        }
    }
}
