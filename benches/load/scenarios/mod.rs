//! What is measured. Each scenario puts the same load on tokenecho and on a bare server in turn, round by round, so
//! that a slow minute of the machine hits both.

mod arrivals;
mod paced;
mod start;
mod throughput;

use std::time::Duration;

use crate::Outcome;
use crate::clients::{self, Call, Reply};
use crate::options::Scale;
use crate::servers::Server;
use crate::table::{Measure, Table};

use throughput::Throughput;

/// How many wait for answers without delays, each for one.
const CALLERS: u32 = 64;

/// A stream without delays; with its role and its finish it is 66 messages over gRPC.
const BURST: Reply = Reply::Stream { tokens: 64 };

/// `RUST_LOG` without and with a line for each request, which is tokenecho's default.
const QUIET: &str = "warn";
const LOGGING: &str = "info";

/// A percentile of lateness by its name, as a share.
#[derive(Clone, Copy)]
struct Percentile(&'static str, f64);

/// Those that the table shows.
const PERCENTILES: [Percentile; 3] =
    [Percentile("lateness p50", 0.5), Percentile("lateness p99", 0.99), Percentile("lateness p99.9", 0.999)];

/// Those that a distribution is drawn from.
const DISTRIBUTION: [Percentile; 13] = [
    Percentile("lateness p1", 0.01),
    Percentile("lateness p5", 0.05),
    Percentile("lateness p10", 0.1),
    Percentile("lateness p20", 0.2),
    Percentile("lateness p30", 0.3),
    Percentile("lateness p50", 0.5),
    Percentile("lateness p70", 0.7),
    Percentile("lateness p80", 0.8),
    Percentile("lateness p90", 0.9),
    Percentile("lateness p95", 0.95),
    Percentile("lateness p99", 0.99),
    Percentile("lateness p99.9", 0.999),
    Percentile("lateness p100", 1.0),
];

/// All rows of the table.
pub async fn all(scale: &Scale, table: &mut Table) -> Outcome<()> {
    table.extend(start::measure(scale).await?)?;
    for throughput in [unary(), logging(), sse(), grpc_unary()?, grpc_stream()?] {
        table.extend(throughput.measure(CALLERS, scale).await?)?;
    }
    table.extend(arrivals::measure(scale).await?)?;
    for streams in scale.streams {
        table.extend(paced::measure(*streams, &PERCENTILES, scale).await?)?;
    }
    Ok(())
}

/// The measures that depend on the number of connections or streams, at many of them.
pub async fn sweep(scale: &Scale, table: &mut Table) -> Outcome<()> {
    for connections in scale.connections {
        table.extend(unary().measure(*connections, scale).await?)?;
    }
    for streams in scale.streams {
        table.extend(paced::measure(*streams, &DISTRIBUTION, scale).await?)?;
    }
    Ok(())
}

fn unary() -> Throughput {
    Throughput {
        call: clients::http(Reply::Whole),
        bare: "hyper",
        log: QUIET,
        rate: Measure("HTTP unary", "requests/s"),
        cost: Measure("HTTP unary: CPU", "µs/request"),
    }
}

fn logging() -> Throughput {
    Throughput {
        log: LOGGING,
        rate: Measure("HTTP unary with a log line", "requests/s"),
        cost: Measure("HTTP unary with a log line: CPU", "µs/request"),
        ..unary()
    }
}

fn sse() -> Throughput {
    Throughput {
        call: clients::http(BURST),
        bare: "hyper",
        log: QUIET,
        rate: Measure("SSE without delay", "events/s"),
        cost: Measure("SSE without delay: CPU", "µs/request"),
    }
}

fn grpc_unary() -> Outcome<Throughput> {
    Ok(Throughput {
        call: clients::grpc(Reply::Whole)?,
        bare: "tonic-unary",
        log: QUIET,
        rate: Measure("gRPC unary", "requests/s"),
        cost: Measure("gRPC unary: CPU", "µs/request"),
    })
}

fn grpc_stream() -> Outcome<Throughput> {
    Ok(Throughput {
        call: clients::grpc(BURST)?,
        bare: "tonic-stream",
        log: QUIET,
        rate: Measure("gRPC stream without delay", "messages/s"),
        cost: Measure("gRPC stream without delay: CPU", "µs/request"),
    })
}

/// tokenecho and a bare server, which answers as tokenecho answered.
struct Pair {
    tokenecho: Server,
    bare: Server,
}

impl Pair {
    /// Both in turn.
    fn servers(&self) -> [&Server; 2] {
        [&self.tokenecho, &self.bare]
    }
}

/// Both without delays, and of how many events or messages their answer consists.
async fn unpaced(call: &Call, bare: &str, log: &str) -> Outcome<(Pair, u32)> {
    let tokenecho = Server::tokenecho(Duration::ZERO, log).await?;
    let answers = call.record(tokenecho.address).await?;
    let bare = Server::bare(bare, &answers).await?;
    Ok((Pair { tokenecho, bare }, u32::try_from(answers.len())?))
}
