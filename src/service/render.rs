//! How an endpoint writes a stream: one trait for both protocols, so that a new dialect, or a body that a fault cuts, is
//! a new implementation and no new stream.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;

use super::Answer;
use crate::engine::Event;
use crate::error::ApiError;

/// Writes the stream of one answer.
pub(crate) trait Render: Send + Unpin + 'static {
    /// What it writes to: bytes, or a message.
    type Output: Output;

    /// An empty output.
    fn output(&self) -> Self::Output;

    /// Writes what `event` means, if anything.
    fn event(&mut self, event: Event, output: &mut Self::Output);

    /// Writes the end of a stream that is complete.
    fn end(&mut self, output: &mut Self::Output);

    /// Writes the failure that cuts the stream; nothing follows it.
    fn failure(&mut self, error: ApiError, output: &mut Self::Output);
}

/// What is written at once: the events that are ready together, as far as there is room for them.
pub(crate) trait Output {
    /// Whether nothing has been written.
    fn is_empty(&self) -> bool;

    /// Whether the next event has to wait.
    fn is_full(&self) -> bool;
}

/// An answer as its renderer writes it. A panic, of the engine or of the renderer, cuts it with
/// [`ApiError::Internal`].
pub(crate) struct Rendered<R> {
    answer: Answer,
    renderer: R,
    is_over: bool,
}

impl<R: Render> Rendered<R> {
    /// Lets `renderer` write `answer`.
    pub(crate) fn new(answer: Answer, renderer: R) -> Self {
        Self { answer, renderer, is_over: false }
    }

    /// Writes what is ready.
    fn write(&mut self, cx: &mut Context<'_>, output: &mut R::Output) {
        while !self.is_over && !output.is_full() {
            match Pin::new(&mut self.answer).poll_next(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(event))) => self.renderer.event(event, output),
                Poll::Ready(Some(Err(error))) => {
                    self.is_over = true;
                    self.renderer.failure(error, output);
                }
                Poll::Ready(None) => {
                    self.is_over = true;
                    self.renderer.end(output);
                }
            }
        }
    }
}

impl<R: Render> Stream for Rendered<R> {
    type Item = R::Output;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<R::Output>> {
        let this = &mut *self;
        let mut output = this.renderer.output();
        if catch_unwind(AssertUnwindSafe(|| this.write(cx, &mut output))).is_err() {
            this.is_over = true;
            this.renderer.failure(this.answer.panicked(), &mut output);
        }
        match (output.is_empty(), this.is_over) {
            (false, _) => Poll::Ready(Some(output)),
            (true, true) => Poll::Ready(None),
            (true, false) => Poll::Pending,
        }
    }
}
