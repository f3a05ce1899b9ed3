//! The accept loop, the same for every door, and one connection's life.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, Request, Response, Version, header};
use futures_util::FutureExt;
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::access_log::AccessLog;
use super::reader::{ReadBody, Reader, StreamExecutor};
use super::requests::Requests;
use super::socket::{self, Socket};
use super::upload::{self, BodyEnd, Bounds};
use crate::service::Service;
use crate::service::lifecycle::{Deadline, Phase};
use crate::service::limits::LimitOptions;

/// All open connections of a server.
#[derive(Clone, Debug)]
pub struct Connections {
    service: Service,
    tasks: TaskTracker,
    /// Ends whatever is left, at once.
    end: CancellationToken,
}

impl Connections {
    /// No connections yet, to the doors of `service`.
    pub fn new(service: Service) -> Self {
        Self { service, tasks: TaskTracker::new(), end: CancellationToken::new() }
    }

    /// Accepts connections to a door until the server closes; beyond `places` they wait.
    pub fn accept(&self, listener: TcpListener, access_log: AccessLog, places: Arc<Semaphore>) {
        self.tasks.spawn(self.clone().accept_all(listener, access_log, places));
    }

    /// Runs something beside the connections until the server closes.
    pub fn beside(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (lifecycle, end) = (self.service.lifecycle().clone(), self.end.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = lifecycle.reached(Phase::Closing) => {}
                () = end.cancelled() => {}
            }
        });
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

    async fn accept_all(self, listener: TcpListener, access_log: AccessLog, places: Arc<Semaphore>) {
        let mut closing = pin!(self.service.lifecycle().reached(Phase::Closing));
        loop {
            // The place after the socket: doors share the places, and one without visitors must not keep any.
            let accept = async {
                let (socket, _) = listener.accept().await?;
                let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes the semaphore");
                Ok((socket, place))
            };
            let accepted = tokio::select! {
                accepted = accept => accepted,
                () = &mut closing => return,
                () = self.end.cancelled() => return,
            };
            match accepted {
                Ok((socket, place)) => {
                    self.tasks.spawn(self.clone().serve(socket, access_log.clone(), place));
                }
                Err(error) => recover(error).await,
            }
        }
    }

    /// One connection, until its peer, its age or the server ends it.
    async fn serve(self, socket: TcpStream, access_log: AccessLog, _place: OwnedSemaphorePermit) {
        let limits = self.service.limits();
        if let Err(error) = socket::configure(&socket, limits) {
            debug!("a connection was gone before it was served: {error}");
            return;
        }
        let _open = OpenConnection::count(&self.service);
        let reader = Reader::new();
        let requests = Arc::new(Requests::default());
        let socket = Socket::new(socket, Arc::clone(&requests), Arc::clone(&reader), limits.head_timeout);
        let peer = Peer {
            service: self.service.clone(),
            access_log,
            requests: Arc::clone(&requests),
            reader: Arc::clone(&reader),
        };
        let answer = hyper::service::service_fn(move |request| peer.clone().answer(request));
        let streams = StreamExecutor { timeout: limits.reader_timeout, requests: Arc::clone(&requests) };
        let protocols = protocols(limits, streams);
        let mut connection = pin!(protocols.serve_connection(TokioIo::new(socket), answer));
        let mut leaving = pin!(self.leaving(&requests).fuse());
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = self.end.cancelled() => break Ok(()),
                // On HTTP/2 each stream has a reader of its own, and this one waits for ever.
                () = reader.stalled(limits.reader_timeout) => break Err("its reader took nothing".into()),
                () = requests.given_up(limits.reader_timeout) => break Err("its readers took nothing".into()),
                () = &mut leaving => connection.as_mut().graceful_shutdown(),
            }
        };
        if let Err(error) = ended {
            debug!("a connection ended: {error}");
        }
    }

    /// Waits until a connection has to be asked to leave: it is old, its readers stall, or the server closes.
    ///
    /// hyper closes an idle HTTP/1 connection at once, over a request that may be on its way. Where there is time, its
    /// peer is told with the next answer; where there is none, a head that has begun is answered.
    async fn leaving(&self, requests: &Requests) {
        let closing = self.service.lifecycle().reached(Phase::Closing);
        let mut closing = pin!(closing);
        tokio::select! {
            () = &mut closing => {}
            () = requests.too_many_stalled() => return,
            () = self.aged() => {
                requests.close_after_next();
                tokio::select! {
                    () = &mut closing => {}
                    () = requests.speaks_http2() => return,
                }
            }
        }
        if requests.is_in_head() {
            // What looked like a head may have been a preface.
            requests.speaks_http2().await;
        }
    }

    /// Waits until a connection that begins now is old.
    async fn aged(&self) {
        let age = self.service.limits().max_connection_age;
        if age.is_zero() {
            std::future::pending::<()>().await;
        }
        // So that clients who came together do not come back together.
        tokio::time::sleep(age.mul_f64(rand::random_range(0.9..=1.1))).await;
    }
}

/// Who is at the other end of a connection, and what answers there.
#[derive(Clone)]
struct Peer {
    service: Service,
    access_log: AccessLog,
    requests: Arc<Requests>,
    reader: Arc<Reader>,
}

impl Peer {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<ReadBody>, Infallible> {
        let reader = Reader::current(&self.reader);
        let open = self.requests.begin(!request.body().is_end_stream());
        if self.requests.open() == self.service.limits().max_streams_per_connection {
            self.service.metrics().connections_at_stream_limit.inc();
        }
        let is_http2 = request.version() == Version::HTTP_2;
        let (head, body) = request.into_parts();
        let route = self.access_log.classify(&head);
        let upload = self.service.uploads().upload();
        let uploaded = CancellationToken::new();
        let end = BodyEnd { requests: Arc::clone(&self.requests), uploaded: uploaded.clone() };
        let bounds = Bounds { route, service: &self.service, upload: upload.clone(), end };
        let body = upload::bounded(&head, body, bounds);
        let request = Request::from_parts(head, body);
        let mut response = self.access_log.answer(route, upload.clone(), request).await;
        let is_last = self.requests.is_last() || self.service.lifecycle().is_closing();
        if !is_http2 && is_last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(Deadline(deadline)) = response.extensions().get() {
            reader.ends_at(*deadline);
        }
        Ok(response.map(|body| ReadBody::new(body, reader, is_http2.then_some(uploaded), (open, upload))))
    }
}

/// How both protocols are spoken, and what bounds their peers.
///
/// hyper panics over a timeout without a timer. Its limits on resets that a peer causes, in number and at once,
/// are left at their defaults: they end a rapid reset with GOAWAY.
fn protocols(limits: &LimitOptions, streams: StreamExecutor) -> Builder<StreamExecutor> {
    const HEAD: usize = 64 * 1024;
    const HEAD_HTTP2: u32 = 16 * 1024;
    // hyper's 400 KiB a stream would be 4 GB for ten thousand readers that take nothing.
    const SEND_BUFFER: usize = 64 * 1024;

    let mut http = Builder::new(streams);
    // It runs while a connection is idle as well; the shorter time of a head is the socket's to keep.
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle_timeout).max_buf_size(HEAD);
    let pings = (!limits.ping_interval.is_zero()).then_some(limits.ping_interval);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::try_from(limits.max_streams_per_connection).unwrap_or(u32::MAX))
        .max_header_list_size(HEAD_HTTP2)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(pings)
        .keep_alive_timeout(limits.ping_timeout);
    http
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

/// A connection that was gone before it was accepted is nobody's loss. Anything else, such as too many open
/// files, lasts: waiting lets some of it pass, and neither spins nor ends the loop.
async fn recover(error: io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset) {
        warn!("cannot accept a connection: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
