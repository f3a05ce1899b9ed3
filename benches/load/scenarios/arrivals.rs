//! The latency of unary requests that arrive by chance: at a fixed mean rate far below what a server can do, with
//! exponentially distributed gaps (a Poisson process), and whether or not others are still waiting.
//!
//! A latency runs from the time the request is sent. The timer that sends it fires on whole milliseconds, so requests
//! that are due in the same one leave together.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{QUIET, unpaced};
use crate::Outcome;
use crate::clients::{self, Call, Caller, Reply};
use crate::options::Scale;
use crate::table::{Load, Measure, Row, quantile};

/// Arrivals a second.
const RATE: u32 = 500;

/// Connections that no request uses at the moment.
type Idle = Arc<Mutex<Vec<Caller>>>;

pub async fn measure(scale: &Scale) -> Outcome<[Row; 2]> {
    let call = clients::http(Reply::Whole);
    let (pair, _) = unpaced(&call, "hyper", QUIET).await?;
    let (mut p50s, mut p99s) = (<[Vec<f64>; 2]>::default(), <[Vec<f64>; 2]>::default());
    for _ in 0..scale.long_rounds {
        for (index, server) in pair.servers().into_iter().enumerate() {
            let latencies = arrive(server.address, &call, scale.arrivals).await?;
            p50s[index].push(quantile(&latencies, 0.5));
            p99s[index].push(quantile(&latencies, 0.99));
        }
    }
    let load = Some(Load(RATE, "requests/s"));
    let row = |name, [tokenecho, bare]: [Vec<f64>; 2]| Row {
        measure: Measure(name, "µs"),
        load,
        tokenecho,
        bare,
        has_ratio: true,
    };
    Ok([row("HTTP unary: latency p50", p50s), row("HTTP unary: latency p99", p99s)])
}

/// The latencies of a round, in microseconds.
async fn arrive(server: SocketAddr, call: &Call, length: Duration) -> Outcome<Vec<f64>> {
    let idle: Idle = Arc::new(Mutex::new(call.callers(server, 16).await?));
    let mut calls = JoinSet::new();
    let start = Instant::now();
    let mut due = start;
    while due < start + length {
        sleep_until(due).await;
        calls.spawn(latency(server, call.clone(), idle.clone()));
        due += gap();
    }
    let mut latencies = Vec::new();
    while let Some(latency) = calls.join_next().await {
        latencies.push(latency??);
    }
    Ok(latencies)
}

fn gap() -> Duration {
    let chance: f64 = rand::random();
    Duration::from_secs_f64(-(1.0 - chance).ln() / f64::from(RATE))
}

async fn latency(server: SocketAddr, call: Call, idle: Idle) -> Outcome<f64> {
    let free = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let start = Instant::now();
    let mut caller = match free {
        Some(caller) => caller,
        None => call.callers(server, 1).await?.pop().ok_or("no connection")?,
    };
    caller.call(&call).await?;
    let latency = start.elapsed().as_secs_f64() * 1e6;
    idle.lock().unwrap_or_else(PoisonError::into_inner).push(caller);
    Ok(latency)
}
