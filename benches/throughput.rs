//! Throughput: what tokenecho serves without pacing, beside a bare hyper server in the same run.
//!
//! `cargo bench --bench throughput` (about a minute) shows requests a second for unary answers, SSE events a
//! second for streams, each as a share of what hyper does, and the server's processor time for one request.
//!
//! The bare server runs on the same runtime, does nothing but answer, and gives the very bytes that tokenecho
//! gave: a stream as one body. The client is the same, 64 keep-alive connections, and takes its part of the
//! same processors: with all of them busy, rates are of client and server together. The server's own
//! processor time is the figure that does not depend on the client. Rounds alternate, so that a slower minute
//! hits all alike; each line is the median round. By default tokenecho logs a line for each request: it is
//! measured with and without.

mod support;

use std::io::Write;
use std::process::Command;
use std::time::Duration;
use std::{env, iter};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use support::{Connection, OTHER_EVENTS, Outcome, Server, TOKENS, answer, chat, line_ends};

const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(1);
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;

const UNARY_HEAD: &str = "unary                of hyper   requests/s   CPU µs each";
const STREAM_HEAD: &str = "SSE                  of hyper   requests/s   CPU µs each     events/s     MB/s";

#[tokio::main]
async fn main() -> Outcome<()> {
    if let Some(port) = env::args().skip_while(|argument| argument != "--bare").nth(1) {
        return bare_server(port.parse()?).await;
    }
    if !support::is_bench() {
        return Ok(());
    }
    let mut table = std::io::stdout();
    writeln!(table, "{CONNECTIONS} connections, median of {ROUNDS} rounds of {ROUND:?}\n\n{UNARY_HEAD}")?;
    for Standing { name, score, share } in compare(&chat(false)?).await? {
        let rate = score.per_second(score.requests);
        writeln!(table, "{name:<20} {share:>8.2} {rate:>12.0} {:>12.1}", score.cost())?;
    }
    writeln!(table, "\n{STREAM_HEAD}")?;
    for Standing { name, score, share } in compare(&chat(true)?).await? {
        let (rate, cost) = (score.per_second(score.requests), score.cost());
        write!(table, "{name:<20} {share:>8.2} {rate:>12.0} {cost:>12.1}")?;
        let (events, megabytes) = (score.per_second(score.events()), score.per_second(score.bytes) / 1e6);
        writeln!(table, " {events:>12.0} {megabytes:>8.0}")?;
    }
    Ok(())
}

/// A contender's median round.
struct Standing {
    name: &'static str,
    score: Score,
    /// Of the bare server's rate.
    share: f64,
}

/// Measures `request` on the bare server, then on tokenecho without and with a log line for each.
async fn compare(request: &Request<Full<Bytes>>) -> Outcome<Vec<Standing>> {
    let quiet = Server::tokenecho("warn", &["--itl", "0"]).await?;
    let logging = Server::tokenecho("info", &["--itl", "0"]).await?;
    let body = answer(quiet.address, request).await?;
    check(&body)?;
    let bare = start_bare_server(&body).await?;
    let servers = [("bare hyper", bare), ("tokenecho", quiet), ("tokenecho, logging", logging)];
    let mut contenders = servers.map(|(name, server)| (name, server, Vec::new()));
    for (_, server, _) in &contenders {
        play(server, request, WARM_UP).await?;
    }
    for _ in 0..ROUNDS {
        for (_, server, scores) in &mut contenders {
            scores.push(play(server, request, ROUND).await?);
        }
    }
    let medians = contenders.map(|(name, _, scores)| (name, median(scores)));
    let rate = |score: &Score| score.per_second(score.requests);
    let whole = rate(&medians[0].1);
    let standing = |(name, score)| Standing { name, share: rate(&score) / whole, score };
    Ok(medians.into_iter().map(standing).collect())
}

/// Checks what [`Score::events`] relies on: an event of a stream is two line ends.
fn check(body: &[u8]) -> Outcome<()> {
    let text = std::str::from_utf8(body)?;
    let events = text.lines().filter(|line| line.starts_with("data: ")).count();
    if events == 0 || (events == TOKENS + OTHER_EVENTS && line_ends(body) == 2 * events) {
        return Ok(());
    }
    Err(format!("a stream of {events} events with {} line ends", line_ends(body)).into())
}

/// The result of one round.
#[derive(Clone, Copy, Default)]
struct Score {
    requests: usize,
    line_ends: usize,
    bytes: usize,
    elapsed: Duration,
    /// Processor time of the server.
    worked: Duration,
}

impl Score {
    fn events(&self) -> usize {
        self.line_ends / 2
    }

    fn cost(&self) -> f64 {
        self.worked.as_secs_f64() * 1e6 / float(self.requests)
    }

    fn per_second(&self, count: usize) -> f64 {
        float(count) / self.elapsed.as_secs_f64()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}

fn median(mut scores: Vec<Score>) -> Score {
    scores.sort_by(|a, b| a.per_second(a.requests).total_cmp(&b.per_second(b.requests)));
    scores[scores.len() / 2]
}

/// Sends `request` again and again over all connections, for as long as `length`.
async fn play(server: &Server, request: &Request<Full<Bytes>>, length: Duration) -> Outcome<Score> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(server.address).await?);
    }
    let (start, worked) = (Instant::now(), server.processor_time()?);
    let mut callers: JoinSet<_> = iter::zip(connections, iter::repeat(request.clone()))
        .map(|(connection, request)| call(connection, request, start + length))
        .collect();
    let mut total = Score::default();
    while let Some(score) = callers.join_next().await {
        let score = score??;
        total.requests += score.requests;
        total.line_ends += score.line_ends;
        total.bytes += score.bytes;
    }
    Ok(Score { elapsed: start.elapsed(), worked: server.processor_time()?.saturating_sub(worked), ..total })
}

/// One connection's part of a round.
async fn call(mut connection: Connection, request: Request<Full<Bytes>>, end: Instant) -> Outcome<Score> {
    let mut score = Score::default();
    while Instant::now() < end {
        let mut body = connection.send(&request).await?.into_body();
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame?.data_ref() {
                score.line_ends += line_ends(data);
                score.bytes += data.len();
            }
        }
        score.requests += 1;
    }
    Ok(score)
}

/// The variable that passes the bare server its answer.
const ANSWER: &str = "TOKENECHO_BENCH_ANSWER";

/// This program again, as the bare server that answers everything with `body`.
async fn start_bare_server(body: &[u8]) -> Outcome<Server> {
    let (program, body) = (env::current_exe()?, std::str::from_utf8(body)?);
    Server::start(|port| {
        let mut command = Command::new(program);
        command.args(["--bare", port]).env(ANSWER, body);
        command
    })
    .await
}

/// What tokenecho is compared with: hyper, and nothing else. It reads a request, and answers with constant
/// bytes.
async fn bare_server(port: u16) -> Outcome<()> {
    // It ends by itself, in case the process that started it is killed.
    const LIFE: Duration = Duration::from_secs(300);
    let answer = Bytes::from(env::var(ANSWER)?);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let serve = async {
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let answer = answer.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    request.into_body().collect().await?;
                    Ok::<_, hyper::Error>(Response::new(Full::new(answer)))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    };
    timeout(LIFE, serve).await.unwrap_or(Ok(()))
}
