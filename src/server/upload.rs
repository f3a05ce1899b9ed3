//! A request body that is never left half read: what a handler does not want is read and dropped for a while,
//! or the answer that refused it would be lost with the connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Version, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};

/// How long an upload that nobody wants is read on.
const LINGER: Duration = Duration::from_secs(5);

/// Makes sure that the body of an HTTP/1 request is read to its end. HTTP/2 has its own way to refuse one.
pub fn lingering(request: Request<Incoming>) -> Request<Body> {
    if request.version() == Version::HTTP_2 || request.body().is_end_stream() {
        return request.map(Body::new);
    }
    // A client that waits for `100 Continue` sends nothing unless its body is asked for.
    let waits = request.headers().contains_key(header::EXPECT);
    request.map(|body| Body::new(Lingering { body: Some(body), is_flowing: !waits, has_ended: false }))
}

struct Lingering {
    body: Option<Incoming>,
    /// Whether the client sends without being asked to.
    is_flowing: bool,
    has_ended: bool,
}

impl hyper::body::Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_flowing = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        self.has_ended = !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        if self.has_ended || !self.is_flowing || body.is_end_stream() {
            return;
        }
        // Ends by itself: with the body, with the connection, or when the time is up.
        tokio::spawn(tokio::time::timeout(
            LINGER,
            async move { while let Some(Ok(_)) = body.frame().await {} },
        ));
    }
}
