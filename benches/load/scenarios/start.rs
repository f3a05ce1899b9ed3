//! What a server takes before it has work: the time from the start of its process to the first answer, memory, and
//! the size of its file.

use std::fs;
use std::time::Duration;

use super::QUIET;
use crate::Outcome;
use crate::clients::{self, Call, Reply};
use crate::options::Scale;
use crate::servers::{Server, TOKENECHO};
use crate::table::{Measure, Row};

pub async fn measure(scale: &Scale) -> Outcome<[Row; 3]> {
    let call = clients::http(Reply::Whole);
    let answers = call.record(Server::tokenecho(Duration::ZERO, QUIET).await?.address).await?;
    let (mut starts, mut memory) = (<[Vec<f64>; 2]>::default(), <[Vec<f64>; 2]>::default());
    for _ in 0..scale.rounds {
        for (index, kind) in [None, Some("hyper")].into_iter().enumerate() {
            let server = match kind {
                None => Server::tokenecho(Duration::ZERO, QUIET).await?,
                Some(kind) => Server::bare(kind, &answers).await?,
            };
            starts[index].push(first_answer(&server, &call).await?);
            memory[index].push(server.resident()? / 1024.0);
        }
    }
    let row = |measure, [tokenecho, bare]: [Vec<f64>; 2]| Row {
        measure,
        load: None,
        tokenecho,
        bare,
        has_ratio: true,
    };
    Ok([
        row(Measure("start to the first 200", "ms"), starts),
        row(Measure("memory after one request", "MiB"), memory),
        row(Measure("binary with its symbols", "MiB"), [vec![size()?], Vec::new()]),
    ])
}

/// In milliseconds.
async fn first_answer(server: &Server, call: &Call) -> Outcome<f64> {
    let mut caller = call.callers(server.address, 1).await?.pop().ok_or("no connection")?;
    caller.call(call).await?;
    Ok(server.age().as_secs_f64() * 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "a file is smaller than 2^52 bytes")]
fn size() -> Outcome<f64> {
    Ok(fs::metadata(TOKENECHO)?.len() as f64 / f64::from(1 << 20))
}
