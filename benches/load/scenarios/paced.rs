//! Open streams with a token every 50 ms: how punctual they are, and what a server takes for them.
//!
//! Token k is due at k times 50 ms after its request was sent. Lateness is how much later the client has it, which
//! includes the request's way and the client's own delays. Drift is by how much the whole stream took longer from its
//! first token to its last than it was to take: a server that sleeps after each token would drift more with each.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Percentile, QUIET};
use crate::Outcome;
use crate::clients::{self, Call, Http1, Reply};
use crate::options::Scale;
use crate::servers::{ITL, Server};
use crate::table::{Load, Measure, Row, quantile, quantile_of_sorted};

/// Events of a stream without a token: the role, which comes first; the finish and `[DONE]`.
const BEFORE: usize = 1;
const AFTER: usize = 2;

/// Measures whose ratio means nothing: all streams are complete or the run is void, and drift has a sign and is about
/// zero.
const COMPLETE: &str = "complete streams";
const DRIFT: &str = "drift p50";

/// The result of a round.
struct Round {
    /// Of all tokens, in milliseconds and in order.
    lateness: Vec<f64>,
    /// Of all streams, in milliseconds.
    drift: Vec<f64>,
    /// The share of streams with all their events.
    complete: f64,
    /// The server's processor time for a token, in microseconds.
    cost: f64,
    /// The memory that each stream added, in KiB.
    memory: f64,
}

/// Alternates rounds of so many streams on servers that are new in each.
pub async fn measure(streams: u32, percentiles: &[Percentile], scale: &Scale) -> Outcome<Vec<Row>> {
    let call = clients::http(Reply::Stream { tokens: scale.tokens });
    let pieces = pieces(&call).await?;
    let mut rounds: [Vec<Round>; 2] = Default::default();
    for _ in 0..scale.long_rounds {
        rounds[0].push(round(&Server::tokenecho(ITL, QUIET).await?, &call, streams, scale).await?);
        rounds[1].push(round(&Server::bare("paced", &pieces).await?, &call, streams, scale).await?);
    }
    let row = |name, unit, value: &dyn Fn(&Round) -> f64| {
        let [tokenecho, bare] = [&rounds[0], &rounds[1]].map(|rounds| rounds.iter().map(value).collect());
        let has_ratio = name != COMPLETE && name != DRIFT;
        Row { measure: Measure(name, unit), load: Some(Load(streams, "streams")), tokenecho, bare, has_ratio }
    };
    let mut rows = vec![
        row(COMPLETE, "%", &|round| round.complete * 100.0),
        row("CPU a token", "µs", &|round| round.cost),
        row("memory an open stream", "KiB", &|round| round.memory),
        row(DRIFT, "ms", &|round| quantile(&round.drift, 0.5)),
    ];
    for Percentile(name, share) in percentiles {
        rows.push(row(name, "ms", &|round| quantile_of_sorted(&round.lateness, *share)));
    }
    Ok(rows)
}

/// What a bare server has to write at each token's time: the role comes with the first token, the end with the last.
async fn pieces(call: &Call) -> Outcome<Vec<Bytes>> {
    let events = call.record(Server::tokenecho(Duration::ZERO, QUIET).await?.address).await?;
    let last = events.len().checked_sub(AFTER + 1).ok_or("a stream without a token")?;
    let mut pieces = vec![events[..=BEFORE].concat().into()];
    pieces.extend_from_slice(&events[BEFORE + 1..last]);
    pieces.push(events[last..].concat().into());
    Ok(pieces)
}

/// Opens all streams, evenly over the ramp, and waits for their ends.
async fn round(server: &Server, call: &Call, streams: u32, scale: &Scale) -> Outcome<Round> {
    // Memory that the first request takes is not the streams'.
    let ready = tokio::spawn(arrivals(server.address, call.clone(), 1, Instant::now()));
    ready.await??;
    let (start, idle) = (Instant::now(), server.resident()?);
    let events = BEFORE + scale.tokens as usize + AFTER;
    let mut open = JoinSet::new();
    for index in 0..streams {
        let opening = start + scale.ramp * index / streams;
        open.spawn(arrivals(server.address, call.clone(), events, opening));
    }
    let plateau = plateau(server, start, scale).await?;
    let memory = (plateau.memory - idle) / f64::from(streams);
    let tokens = f64::from(streams) * plateau.length.div_duration_f64(ITL);
    let cost = plateau.worked.as_secs_f64() * 1e6 / tokens;

    let (mut lateness, mut drift) = (Vec::new(), Vec::new());
    while let Some(stream) = open.join_next().await {
        if let Ok(Stream { sent, arrivals }) = stream? {
            let tokens: Vec<f64> = late(sent, &arrivals[BEFORE..events - AFTER]).collect();
            drift.push(tokens.last().unwrap_or(&f64::NAN) - tokens.first().unwrap_or(&f64::NAN));
            lateness.extend(tokens);
        }
    }
    lateness.sort_by(f64::total_cmp);
    let complete = f64::from(u32::try_from(drift.len())?) / f64::from(streams);
    Ok(Round { lateness, drift, complete, cost, memory })
}

/// What a server took while all streams were open.
struct Plateau {
    length: Duration,
    worked: Duration,
    /// At the end, in KiB.
    memory: f64,
}

/// Waits for the plateau: from the end of the ramp until the first stream is about to end.
async fn plateau(server: &Server, start: Instant, scale: &Scale) -> Outcome<Plateau> {
    sleep_until(start + scale.ramp).await;
    let (begun, worked) = (Instant::now(), server.processor_time()?);
    sleep_until(start + ITL * (scale.tokens - 4)).await;
    let worked = server.processor_time()?.saturating_sub(worked);
    Ok(Plateau { length: begun.elapsed(), worked, memory: server.resident()? })
}

/// When a request was sent, and when each event of its answer came.
struct Stream {
    sent: Instant,
    arrivals: Vec<Instant>,
}

/// Opens a stream at its time. One that takes half a minute longer than it should is not complete.
async fn arrivals(server: SocketAddr, call: Call, events: usize, opening: Instant) -> Outcome<Stream> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let Call::Http(request) = call else { return Err("paced streams are HTTP".into()) };
    sleep_until(opening).await;
    let connection = Http1::open(server).await?;
    let sent = Instant::now();
    let due = ITL * u32::try_from(events)?;
    let arrivals = timeout(due + PATIENCE, connection.arrivals(&request, events)).await??;
    Ok(Stream { sent, arrivals })
}

/// How many milliseconds the tokens came after their time.
fn late(sent: Instant, tokens: &[Instant]) -> impl Iterator<Item = f64> {
    let due = (0..).map(move |k: u32| sent + ITL * k);
    tokens.iter().zip(due).map(|(arrival, due)| {
        let late = arrival.saturating_duration_since(due).as_secs_f64();
        let early = due.saturating_duration_since(*arrival).as_secs_f64();
        (late - early) * 1e3
    })
}
