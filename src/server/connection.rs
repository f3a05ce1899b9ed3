//! The accept loop, the same for every door, and one connection's life.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as TowerService;
use tracing::{debug, warn};

use super::upload::lingering;
use crate::service::Service;
use crate::service::lifecycle::{Lifecycle, Phase};

/// All open connections of a server.
#[derive(Debug)]
pub struct Connections {
    tasks: TaskTracker,
    /// Ends whatever is left, at once.
    end: CancellationToken,
    lifecycle: Lifecycle,
    open: IntGauge,
    http: Builder<TokioExecutor>,
}

/// What a door answers with.
pub trait Routes:
    TowerService<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Routes for S where
    S: TowerService<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

impl Connections {
    /// No connections yet, to the doors of `service`.
    pub fn new(service: &Service) -> Self {
        Self {
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
            lifecycle: service.lifecycle().clone(),
            open: service.metrics().connections_open.clone(),
            http: protocols(),
        }
    }

    /// Accepts connections to a door until the server closes.
    pub fn accept(&self, listener: TcpListener, routes: impl Routes) {
        let serving = Serving {
            tasks: self.tasks.clone(),
            end: self.end.clone(),
            lifecycle: self.lifecycle.clone(),
            open: self.open.clone(),
            http: self.http.clone(),
            routes,
        };
        self.tasks.spawn(serving.accept(listener));
    }

    /// Waits until every connection has ended; no more are accepted by then.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends every connection at once.
    pub fn end(&self) {
        self.end.cancel();
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.end();
    }
}

/// How both protocols are spoken. The limits on peers belong here.
fn protocols() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new());
    http.http2().timer(TokioTimer::new()).max_concurrent_streams(2048).max_send_buf_size(64 * 1024);
    http
}

/// What a door's connections are served with.
#[derive(Clone)]
struct Serving<R> {
    tasks: TaskTracker,
    end: CancellationToken,
    lifecycle: Lifecycle,
    open: IntGauge,
    http: Builder<TokioExecutor>,
    routes: R,
}

impl<R: Routes> Serving<R> {
    async fn accept(self, listener: TcpListener) {
        let mut closing = pin!(self.lifecycle.reached(Phase::Closing));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut closing => return,
                () = self.end.cancelled() => return,
            };
            match accepted {
                Ok((socket, _)) => {
                    self.tasks.spawn(self.clone().serve(socket));
                }
                Err(error) => recover(error).await,
            }
        }
    }

    async fn serve(self, socket: TcpStream) {
        // Without it a token waits 40 ms for the acknowledgement of the one before.
        if let Err(error) = socket.set_nodelay(true) {
            debug!("a connection was gone before it was served: {error}");
            return;
        }
        self.open.inc();
        let routes = self.routes;
        let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
            // axum's routers and our layers are always ready.
            routes.clone().call(lingering(request))
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(socket), answer));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.end.cancelled() => Ok(()),
            () = self.lifecycle.reached(Phase::Closing) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = self.end.cancelled() => Ok(()),
                }
            }
        };
        self.open.dec();
        if let Err(error) = ended {
            debug!("a connection ended: {error}");
        }
    }
}

/// A connection that was gone before it was accepted is nobody's loss. Anything else, such as too many open
/// files, lasts: waiting lets some of it pass, and neither spins nor ends the loop.
async fn recover(error: io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset) {
        warn!("cannot accept a connection: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
