//! The requests of one connection: noted where its bytes come in and where its answers leave, and asked for by
//! whoever has to end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// What is known of one connection, noted where its bytes come in and where its requests are handed on.
#[derive(Debug, Default)]
pub struct Requests {
    begun: AtomicUsize,
    open: AtomicUsize,
    /// Whether the bytes that come belong to a request's body.
    in_body: AtomicBool,
    /// Whether a head has begun to come and has not been handed on.
    in_head: AtomicBool,
    is_http2: AtomicBool,
    /// Wakes the one who waits for that.
    is_told_http2: Notify,
    /// Set once the next answer is to be the connection's last.
    is_last: AtomicBool,
    /// HTTP/2 streams that were given up because their reader took nothing.
    stalled: AtomicUsize,
    /// Wakes the one who waits for them, and the one who waits for too many.
    changed: Notify,
    too_many: Notify,
}

impl Requests {
    /// Counts a request, which has a body or not; it is open until the guard is dropped.
    pub fn begin(self: &Arc<Self>, has_body: bool) -> OpenRequest {
        self.in_head.store(false, Ordering::Relaxed);
        self.in_body.store(has_body, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenRequest(Arc::clone(self))
    }

    /// How many have begun so far.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// Notes that a head has begun to come.
    pub fn begin_head(&self) {
        self.in_head.store(true, Ordering::Relaxed);
    }

    /// Notes that nothing more of a request's body comes.
    pub fn end_body(&self) {
        self.in_body.store(false, Ordering::Relaxed);
    }

    /// Whether the bytes that come belong to a request's body.
    pub fn is_in_body(&self) -> bool {
        self.in_body.load(Ordering::Relaxed)
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether a request of an HTTP/1 connection is on its way in, and would be lost if the connection went.
    pub fn is_in_head(&self) -> bool {
        self.in_head.load(Ordering::Relaxed) && !self.is_http2()
    }

    /// Notes that the peer speaks HTTP/2.
    pub fn note_http2(&self) {
        self.is_http2.store(true, Ordering::Relaxed);
        self.is_told_http2.notify_one();
    }

    /// Whether the peer speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    /// Waits until it is known that the peer speaks HTTP/2.
    pub async fn speaks_http2(&self) {
        until(&self.is_told_http2, || self.is_http2()).await;
    }

    /// Makes the next answer of an HTTP/1 connection its last.
    pub fn close_after_next(&self) {
        self.is_last.store(true, Ordering::Relaxed);
    }

    /// Notes that a stream was given up because its reader took nothing.
    pub fn note_stall(&self) {
        self.stalled.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        self.too_many.notify_one();
    }

    /// Waits until streams were given up and nothing else has been open for `patience`. What they had been given
    /// stays with h2 until their reader takes it, so the connection is all there is to end.
    pub async fn given_up(&self, patience: Duration) {
        loop {
            let changed = self.changed.notified();
            if self.stalled.load(Ordering::Relaxed) == 0 || self.open() > 0 {
                changed.await;
            } else if tokio::time::timeout(patience, changed).await.is_err() {
                return;
            }
        }
    }

    /// Waits until so many streams were given up that the connection is worth no more of them.
    pub async fn too_many_stalled(&self) {
        const TOO_MANY: usize = 64;
        until(&self.too_many, || self.stalled.load(Ordering::Relaxed) >= TOO_MANY).await;
    }

    /// Whether this answer is the connection's last.
    pub fn is_last(&self) -> bool {
        self.is_last.load(Ordering::Relaxed)
    }
}

/// Waits until something `is_so`, which `changed` tells its only listener to look at again.
async fn until(changed: &Notify, is_so: impl Fn() -> bool) {
    while !is_so() {
        // A change since the last look has left its permit behind.
        changed.notified().await;
    }
}

/// A request that has not been answered to its end.
#[derive(Debug)]
pub struct OpenRequest(Arc<Requests>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        if self.0.stalled.load(Ordering::Relaxed) > 0 {
            self.0.changed.notify_one();
        }
    }
}
