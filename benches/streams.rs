//! Streams: how punctual 2 000 open streams are, and what memory each takes.
//!
//! `cargo bench --bench streams` (half a minute) opens 2 000 streams of 200 tokens within a second, 50 ms
//! between tokens: over HTTP with a connection each, then over gRPC with eight for all. It shows how late
//! tokens were, by the server's own histogram and as the client sees it, and what the server took with all
//! streams open: processor time as a share of one core, and memory, beside what it had before and has after.
//!
//! The server counts from the time a token was due (p50 and p99 are the upper bounds of their buckets); the
//! client from the arrival of the stream's first token, so that a late first token makes the others early
//! there. Both share the processors, and the client's figure holds its own delays too. Memory is what is
//! resident: what the kernel keeps for a socket is not in it. HTTP takes an open file a stream on either
//! side: `ulimit -n 4096`.

mod support;

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;
use std::{fmt, fs};

use http_body_util::{BodyExt, Full};
use hyper::{Request, header};
use tokenecho::pb::chat_message::Content;
use tokenecho::pb::chat_service_client::ChatServiceClient;
use tokenecho::pb::{ChatMessage, CreateChatCompletionRequest, Role};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use support::{
    Connection, KEY, OTHER_EVENTS, Outcome, Server, TOKENS, answer, chat, line_ends, long_message,
};

const STREAMS: u32 = 2_000;
const RAMP: Duration = Duration::from_secs(1);
const ITL: Duration = Duration::from_millis(50);
/// How long all streams are surely open.
const PLATEAU: Duration = Duration::from_secs(8);
const GRPC_CONNECTIONS: usize = 8;

const HEAD: [&str; 2] = [
    "      ms late, server    ms late, client             cores    MiB                         KiB",
    "         p50      p99      p50      p99      max      used   idle    open   after    a stream",
];

/// When each token of a stream came.
type Arrivals = Vec<Instant>;

#[tokio::main]
async fn main() -> Outcome<()> {
    if !support::is_bench() {
        return Ok(());
    }
    let mut table = std::io::stdout();
    writeln!(table, "{STREAMS} streams of {TOKENS} tokens, {ITL:?} apart\n")?;
    writeln!(table, "{}", HEAD.join("\n"))?;
    let server = start().await?;
    let address = server.address;
    writeln!(table, "HTTP {}", measure(&server, |_| http_stream(address)).await?)?;
    drop(server);
    let server = start().await?;
    let channels = channels(&server).await?;
    let stream = |index: usize| grpc_stream(channels[index % GRPC_CONNECTIONS].clone());
    writeln!(table, "gRPC {}", measure(&server, stream).await?)?;
    Ok(())
}

/// A server that has answered once, so that memory allocated at the first request is not counted for the streams.
async fn start() -> Outcome<Server> {
    let itl = format!("{}ms", ITL.as_millis());
    let server = Server::tokenecho("warn", &["--itl", &itl, "--api-metrics"]).await?;
    answer(server.address, &chat(false)?).await?;
    Ok(server)
}

/// The result of all streams together; shown as a row of the table.
struct Measured {
    /// In seconds, by the server's histogram.
    p50: f64,
    p99: f64,
    /// In seconds, by the client; in order.
    lateness: Vec<f64>,
    cores: f64,
    /// In KiB.
    idle: u32,
    open: u32,
    after: u32,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |seconds: f64| format!("≤{}", seconds * 1e3);
        let client = |percent: usize| self.lateness[(self.lateness.len() - 1) * percent / 100] * 1e3;
        let mebibytes = |kibibytes: u32| f64::from(kibibytes) / 1024.0;
        write!(f, "{:>7} {:>8}", bound(self.p50), bound(self.p99))?;
        write!(f, " {:>8.2} {:>8.2} {:>8.2} {:>9.2}", client(50), client(99), client(100), self.cores)?;
        write!(f, " {:>6.1} {:>7.1}", mebibytes(self.idle), mebibytes(self.open))?;
        let a_stream = (f64::from(self.open) - f64::from(self.idle)) / f64::from(STREAMS);
        write!(f, " {:>7.1} {a_stream:>11.1}", mebibytes(self.after))
    }
}

/// Opens all streams, evenly over the ramp, and waits for their ends.
async fn measure<F>(server: &Server, stream: impl Fn(usize) -> F) -> Outcome<Measured>
where
    F: Future<Output = Outcome<Arrivals>> + Send + 'static,
{
    let (start, idle) = (Instant::now(), resident(server)?);
    let mut streams = JoinSet::new();
    for index in 0..STREAMS {
        let (opening, stream) = (start + RAMP * index / STREAMS, stream(index as usize));
        streams.spawn(async move {
            sleep_until(opening).await;
            stream.await
        });
    }
    sleep_until(start + RAMP).await;
    let worked = server.processor_time()?;
    sleep_until(start + RAMP + PLATEAU).await;
    let (worked, open) = (server.processor_time()?.saturating_sub(worked), resident(server)?);

    let mut lateness = Vec::new();
    while let Some(arrivals) = streams.join_next().await {
        lateness.extend(late(&arrivals??));
    }
    lateness.sort_by(f64::total_cmp);
    sleep(Duration::from_secs(1)).await;
    let after = resident(server)?;
    let metrics = Request::get("/metrics").header(header::HOST, "localhost").body(Full::default())?;
    let metrics = answer(server.address, &metrics).await?;
    let histogram = Histogram::read(std::str::from_utf8(&metrics)?, "tokenecho_lateness_seconds")?;
    let (p50, p99) = (histogram.quantile(0.5), histogram.quantile(0.99));
    Ok(Measured { p50, p99, lateness, cores: worked.div_duration_f64(PLATEAU), idle, open, after })
}

/// The memory that a server has resident, in KiB.
fn resident(server: &Server) -> Outcome<u32> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(size.parse()?)
}

/// How many seconds the tokens of one stream came after their time, counted from the first one.
fn late(arrivals: &[Instant]) -> impl Iterator<Item = f64> {
    let seconds = |instant: &Instant| (*instant - arrivals[0]).as_secs_f64();
    let due = (0..).map(|k: u32| (ITL * k).as_secs_f64());
    arrivals.iter().zip(due).skip(1).map(move |(arrival, due)| seconds(arrival) - due)
}

/// A Prometheus histogram.
struct Histogram {
    /// Upper bounds, and how many observations are below.
    buckets: Vec<(f64, f64)>,
}

impl Histogram {
    /// Finds it in a text of metrics.
    fn read(metrics: &str, name: &str) -> Outcome<Self> {
        let mut buckets = Vec::new();
        for line in metrics.lines() {
            let bucket = line.strip_prefix(name).and_then(|line| line.strip_prefix("_bucket{le=\""));
            if let Some((bound, count)) = bucket.and_then(|bucket| bucket.split_once("\"} ")) {
                buckets.push((bound.parse()?, count.parse()?));
            }
        }
        if buckets.is_empty() {
            Err(format!("no {name} among the metrics").into())
        } else {
            Ok(Self { buckets })
        }
    }

    /// The upper bound of the bucket that a quantile is in.
    fn quantile(&self, quantile: f64) -> f64 {
        let all = self.buckets.last().map_or(0.0, |(_, count)| *count);
        let bucket = self.buckets.iter().find(|(_, count)| *count >= all * quantile);
        bucket.map_or(f64::INFINITY, |(bound, _)| *bound)
    }
}

async fn http_stream(address: SocketAddr) -> Outcome<Arrivals> {
    let mut body = Connection::open(address).await?.send(&chat(true)?).await?.into_body();
    let (mut ends, mut arrivals) = (0, Arrivals::with_capacity(TOKENS + OTHER_EVENTS));
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            ends += line_ends(data);
            arrivals.resize(ends / 2, Instant::now());
        }
    }
    // The role comes first; the finish and `[DONE]` last.
    let tokens = arrivals.get(1..arrivals.len().saturating_sub(OTHER_EVENTS - 1)).unwrap_or_default();
    whole(tokens.to_vec())
}

async fn grpc_stream(channel: Channel) -> Outcome<Arrivals> {
    let message = ChatMessage {
        role: Role::User.into(),
        content: Some(Content::Text(long_message())),
        ..Default::default()
    };
    let max_tokens = Some(i32::try_from(TOKENS)?);
    let mut request = tonic::Request::new(CreateChatCompletionRequest {
        messages: vec![message],
        max_tokens,
        ..Default::default()
    });
    request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Bearer {KEY}"))?);
    let mut stream = ChatServiceClient::new(channel).stream_chat_completion(request).await?.into_inner();
    let mut arrivals = Arrivals::with_capacity(TOKENS);
    while let Some(item) = stream.message().await? {
        let text = item.choices.first().and_then(|choice| choice.delta.as_ref()?.content.as_deref());
        if text.is_some_and(|text| !text.is_empty()) {
            arrivals.push(Instant::now());
        }
    }
    whole(arrivals)
}

fn whole(arrivals: Arrivals) -> Outcome<Arrivals> {
    match arrivals.len() {
        TOKENS => Ok(arrivals),
        tokens => Err(format!("a stream of {tokens} tokens").into()),
    }
}

/// The connections of all gRPC streams. Each has room for what comes while the client is busy with others.
async fn channels(server: &Server) -> Outcome<Vec<Channel>> {
    let mut channels = Vec::new();
    for _ in 0..GRPC_CONNECTIONS {
        let endpoint = Endpoint::new(format!("http://{}", server.address))?;
        channels.push(endpoint.initial_connection_window_size(64 << 20).connect().await?);
    }
    Ok(channels)
}
