//! Requests without delays, as many as go: callers that send the next request as soon as they have an answer.
//!
//! All processors are busy, so a rate is of client and server together; the server's processor time for a request
//! does not depend on the client.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::unpaced;
use crate::Outcome;
use crate::clients::{Call, Caller};
use crate::options::Scale;
use crate::servers::Server;
use crate::table::{Load, Measure, Row};

pub struct Throughput {
    pub call: Call,
    /// The bare server to compare with.
    pub bare: &'static str,
    /// `RUST_LOG` of tokenecho.
    pub log: &'static str,
    /// What is counted: requests, or what streams consist of.
    pub rate: Measure,
    /// The server's processor time for a request.
    pub cost: Measure,
}

/// The result of a round.
struct Round {
    requests: u32,
    elapsed: Duration,
    /// Processor time of the server.
    worked: Duration,
}

impl Throughput {
    /// Alternates rounds of so many callers on both servers.
    pub async fn measure(&self, callers: u32, scale: &Scale) -> Outcome<[Row; 2]> {
        let (pair, parts) = unpaced(&self.call, self.bare, self.log).await?;
        for server in pair.servers() {
            self.round(server, callers, scale.round / 4).await?;
        }
        let (mut rates, mut costs) = (<[Vec<f64>; 2]>::default(), <[Vec<f64>; 2]>::default());
        for _ in 0..scale.rounds {
            for (index, server) in pair.servers().into_iter().enumerate() {
                let Round { requests, elapsed, worked } = self.round(server, callers, scale.round).await?;
                rates[index].push(f64::from(requests * parts) / elapsed.as_secs_f64());
                costs[index].push(worked.as_secs_f64() * 1e6 / f64::from(requests));
            }
        }
        let load = Some(Load(callers, "callers"));
        let row = |measure, [tokenecho, bare]: [Vec<f64>; 2]| Row {
            measure,
            load,
            tokenecho,
            bare,
            has_ratio: true,
        };
        Ok([row(self.rate, rates), row(self.cost, costs)])
    }

    async fn round(&self, server: &Server, callers: u32, length: Duration) -> Outcome<Round> {
        let callers = self.call.callers(server.address, callers).await?;
        let (start, worked) = (Instant::now(), server.processor_time()?);
        let end = start + length;
        let mut calls: JoinSet<_> =
            callers.into_iter().map(|caller| keep_calling(caller, self.call.clone(), end)).collect();
        let mut requests = 0;
        while let Some(count) = calls.join_next().await {
            requests += count??;
        }
        let worked = server.processor_time()?.saturating_sub(worked);
        Ok(Round { requests, elapsed: start.elapsed(), worked })
    }
}

/// Returns how many answers came until `end`.
async fn keep_calling(mut caller: Caller, call: Call, end: Instant) -> Outcome<u32> {
    let mut count = 0;
    while Instant::now() < end {
        caller.call(&call).await?;
        count += 1;
    }
    Ok(count)
}
