#![allow(dead_code, reason = "each benchmark uses a part of it")]

//! What the benchmarks share: servers in processes of their own, and the plain hyper client that calls them.

use std::error::Error;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, net};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// A benchmark ends at its first failure and reports it.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The key of all requests here.
pub const KEY: &str = "123";

/// The tokens of a streamed reply.
pub const TOKENS: usize = 200;

/// The events of a streamed reply that carry no token: the role, the finish, `[DONE]`.
pub const OTHER_EVENTS: usize = 3;

/// A server on loopback, in its own process, which is killed when this value is dropped.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts tokenecho without an admin listener. It writes its log, which is discarded; `log` is its `RUST_LOG`.
    pub async fn tokenecho(log: &str, arguments: &[&str]) -> Outcome<Self> {
        Self::start(|port| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tokenecho"));
            command.args(["--port", port, "--grpc-port", "off", "--admin-port", "off", "--api-key", KEY]);
            command.args(["--log-format", "json"]).args(arguments).env("RUST_LOG", log);
            command.stderr(Stdio::null());
            command
        })
        .await
    }

    /// Starts what `command` makes for a free port, and waits until it accepts connections there.
    pub async fn start(command: impl FnOnce(&str) -> Command) -> Outcome<Self> {
        const PATIENCE: Duration = Duration::from_secs(10);
        // Another process is unlikely to take the port between the end of this listener and the start of the server's.
        let address = net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let child = command(&address.port().to_string()).spawn()?;
        let mut server = Self { child, address };
        let start = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("a server ended at its start, {status}").into());
            }
            if start.elapsed() > PATIENCE {
                return Err("a server did not start".into());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(server)
    }

    /// The processor time it has used so far, to 10 ms.
    pub fn processor_time(&self) -> Outcome<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // After the name, which may contain anything: the state is field 3, utime 14 and stime 15, in 1/100 s.
        let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only if the server is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One keep-alive HTTP/1 connection.
pub struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// Connects to `address`.
    pub async fn open(address: SocketAddr) -> Outcome<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Sends `request`; anything but 200 is a failure. Its body has to be read before the next one.
    pub async fn send(&mut self, request: &Request<Full<Bytes>>) -> Outcome<Response<Incoming>> {
        self.0.ready().await?;
        let response = self.0.send_request(request.clone()).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(format!("answered with {status}").into()),
        }
    }
}

/// The whole body of one answer, over a connection of its own.
pub async fn answer(address: SocketAddr, request: &Request<Full<Bytes>>) -> Outcome<Bytes> {
    let response = Connection::open(address).await?.send(request).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}

/// A request for a chat completion: a short one at once, or a stream of [`TOKENS`].
pub fn chat(streamed: bool) -> Outcome<Request<Full<Bytes>>> {
    let body = if streamed {
        let message = long_message();
        format!(
            r#"{{"stream":true,"max_tokens":{TOKENS},"messages":[{{"role":"user","content":"{message}"}}]}}"#
        )
    } else {
        r#"{"messages":[{"role":"user","content":"Hello there"}]}"#.to_owned()
    };
    Ok(Request::post("/v1/chat/completions")
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {KEY}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body))?)
}

/// A message whose echo has more than [`TOKENS`] tokens.
pub fn long_message() -> String {
    "The quick brown fox jumps over the lazy dog. ".repeat(TOKENS / 9)
}

/// How many events end in `data`, a piece of a stream cut anywhere.
///
/// Both ends of a line are cheaper to find than `data:`, and a client shares the processors with the server
/// it measures. An event of tokenecho is one line and an empty one; line ends in its data are escaped.
pub fn line_ends(data: &[u8]) -> usize {
    data.iter().map(|byte| usize::from(*byte == b'\n')).sum()
}

/// Whether `cargo bench` runs this program; `cargo test --all-targets` runs it too, to see that it starts.
pub fn is_bench() -> bool {
    env::args().any(|argument| argument == "--bench")
}
