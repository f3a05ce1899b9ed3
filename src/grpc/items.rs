//! The messages of a streamed answer, one an event; the status of a failure ends them.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tonic::Status;

use crate::service::{Answer, Output, Render, Rendered};

/// A message, or the status that ends the stream.
pub(super) type Item<M> = Option<Result<M, Status>>;

/// The messages of an answer.
pub(super) type Items<M> = BoxStream<'static, Result<M, Status>>;

impl<M> Output for Item<M> {
    fn is_empty(&self) -> bool {
        self.is_none()
    }

    fn is_full(&self) -> bool {
        self.is_some()
    }
}

/// The messages that `renderer` makes of `answer`. tonic joins those that are ready together into one frame.
pub(super) fn items<M: Send + 'static>(answer: Answer, renderer: impl Render<Output = Item<M>>) -> Items<M> {
    Rendered::new(answer, renderer).filter_map(std::future::ready).boxed()
}
