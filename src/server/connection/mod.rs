//! The accept loop, the same for every listener, and the life of a connection: find out its protocol, then serve it.
//!
//! HTTP/1 and HTTP/2 have a state each (`http1`, `http2`); what bounds the bodies of both is in `request_body` and
//! `response_body`, and what ends an answer that its client does not read in `stall`.

mod detect;
mod http1;
mod http2;
mod request_body;
mod response_body;
mod slots;
mod socket;
mod stall;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::access_log::{AccessLog, LoggedBody};
use crate::ops::lifecycle::{Lifecycle, Phase};
use crate::ops::limits::ConnectionLimits;
use crate::ops::memory::Reservation;
use crate::service::Service;
use detect::Version;
use request_body::{Bounds, Received};
pub(super) use slots::Slots;

/// All open connections of a server.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    lifecycle: Lifecycle,
    tasks: TaskTracker,
    /// Ends whatever is left, at once.
    end: CancellationToken,
}

/// What the connections of one listener share.
pub(super) struct Context {
    /// What answers their requests.
    pub access_log: AccessLog,
    /// The service behind it.
    pub service: Service,
    /// What bounds them.
    pub limits: ConnectionLimits,
    /// The lifecycle whose `Closing` ends them. The admin listener has its own, so that it can show the API's drain.
    pub lifecycle: Lifecycle,
}

type ServeError = Box<dyn std::error::Error + Send + Sync>;

impl Connections {
    /// No connections yet.
    pub(super) fn new(lifecycle: Lifecycle) -> Self {
        Self { lifecycle, tasks: TaskTracker::new(), end: CancellationToken::new() }
    }

    /// The lifecycle whose `Closing` ends them.
    pub(super) fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Accepts connections until the lifecycle closes; those beyond the `slots` wait.
    pub(super) fn accept(&self, listener: TcpListener, context: Arc<Context>, slots: Slots) {
        self.tasks.spawn(self.clone().accept_all(listener, context, slots));
    }

    /// Runs something beside the connections until the server closes.
    pub(super) fn beside(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (lifecycle, end) = (self.lifecycle.clone(), self.end.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = lifecycle.reached(Phase::Closing) => {}
                () = end.cancelled() => {}
            }
        });
    }

    /// Waits until every connection has ended; no more are accepted by then.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends every connection at once.
    pub(super) fn end(&self) {
        self.end.cancel();
    }

    async fn accept_all(self, listener: TcpListener, context: Arc<Context>, slots: Slots) {
        let mut closing = pin!(self.lifecycle.reached(Phase::Closing));
        loop {
            // The slot after the socket: listeners share the slots, and one without clients must not keep any.
            let accept = async {
                let (socket, _) = listener.accept().await?;
                Ok((socket, slots.take().await))
            };
            let accepted = tokio::select! {
                accepted = accept => accepted,
                () = &mut closing => return,
                () = self.end.cancelled() => return,
            };
            match accepted {
                Ok((socket, slot)) => {
                    self.tasks.spawn(self.clone().run(socket, Arc::clone(&context), slot));
                }
                Err(error) => recover(error).await,
            }
        }
    }

    /// One connection, until its peer, its age or the server ends it.
    async fn run(self, socket: TcpStream, context: Arc<Context>, _slot: OwnedSemaphorePermit) {
        if let Err(error) = socket::configure(&socket, &context.limits) {
            debug!("a connection was gone before it was served: {error}");
            return;
        }
        let _open = OpenConnection::count(&context.service);
        let ended = tokio::select! {
            ended = serve(socket, context) => ended,
            () = self.end.cancelled() => Ok(()),
        };
        if let Err(error) = ended {
            debug!("a connection ended: {error}");
        }
    }
}

/// Serves what the peer turns out to speak. A peer that has sent nothing when the server closes is let go.
async fn serve(socket: TcpStream, context: Arc<Context>) -> Result<(), ServeError> {
    // hyper starts no timer before it has read something (hyper#3756): a silent peer would stay for ever. Test:
    // `a_peer_that_does_not_come_to_the_point_is_gone_in_its_time`.
    let mut deadline = Box::pin(sleep(context.limits.head_timeout));
    let closing = context.lifecycle.reached(Phase::Closing);
    let Some((version, io)) = detect::detect(socket, closing, deadline.as_mut()).await? else {
        return Ok(());
    };
    // Boxed apart, or each connection would take as much memory as the larger kind.
    match version {
        Version::Http1 => Box::pin(http1::serve(io, deadline, context)).await,
        Version::Http2 => {
            drop(deadline);
            Box::pin(http2::serve(io, context)).await
        }
    }
}

impl Context {
    /// Answers one request, whose body is bounded and reported as `received`; gives the answer and what holds it.
    async fn answer(
        &self,
        request: Request<Incoming>,
        received: Received,
    ) -> (Response<LoggedBody>, Reservation) {
        let (head, body) = request.into_parts();
        let exchange = self.access_log.open(&head);
        let reservation = self.service.memory().reservation();
        let bounds = Bounds {
            route: exchange.route(),
            service: &self.service,
            reservation: reservation.clone(),
            received,
        };
        let body = request_body::bounded(&head, body, bounds);
        let request = Request::from_parts(head, body);
        (self.access_log.answer(exchange, reservation.clone(), request).await, reservation)
    }

    /// Waits until a connection that begins now is old.
    async fn aged(&self) {
        let age = self.limits.max_connection_age;
        if age.is_zero() {
            std::future::pending::<()>().await;
        }
        // So that clients who came together do not come back together.
        sleep(age.mul_f64(rand::random_range(0.9..=1.1))).await;
    }
}

/// Marks an HTTP/1 answer as the connection's last.
fn close_after(response: &mut Response<LoggedBody>) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// Counts a connection as open until it is dropped.
struct OpenConnection(prometheus::IntGauge);

impl OpenConnection {
    fn count(service: &Service) -> Self {
        let open = service.metrics().connections_open.clone();
        open.inc();
        Self(open)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A connection that was gone before it was accepted costs nothing. Anything else, such as too many open files, lasts:
/// waiting lets some of it pass, and neither spins nor ends the loop.
async fn recover(error: io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset) {
        warn!("cannot accept a connection: {error}");
        sleep(Duration::from_millis(100)).await;
    }
}
