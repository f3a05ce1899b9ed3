//! The messages of a streamed answer; the status of a failure ends them.

use futures_util::stream::{self, BoxStream, StreamExt};
use tonic::Status;

use crate::service::{Answer, Output, Render, Rendered};

/// The messages of an answer.
pub(super) type Items<M> = BoxStream<'static, Result<M, Status>>;

/// Messages that are ready together, and the status that ends the stream behind them.
pub(super) struct Batch<M>(Vec<Result<M, Status>>);

impl<M> Default for Batch<M> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<M> Batch<M> {
    /// Adds a message.
    pub(super) fn push(&mut self, message: M) {
        self.0.push(Ok(message));
    }

    /// Makes room for so many messages more.
    pub(super) fn reserve(&mut self, messages: usize) {
        self.0.reserve(messages);
    }

    /// Ends the stream with a failure.
    pub(super) fn fail(&mut self, status: Status) {
        self.0.push(Err(status));
    }
}

impl<M> Output for Batch<M> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// tonic joins what is ready together into one frame, up to 32 KiB: some of these fill it.
    fn is_full(&self) -> bool {
        const MOST: usize = 64;
        self.0.len() >= MOST
    }
}

/// The messages that `renderer` makes of `answer`.
pub(super) fn items<M: Send + 'static>(answer: Answer, renderer: impl Render<Output = Batch<M>>) -> Items<M> {
    Rendered::new(answer, renderer).flat_map(|batch| stream::iter(batch.0)).boxed()
}
