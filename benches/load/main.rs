//! Load: how fast, how punctual and how small tokenecho is, beside bare hyper and bare tonic in the same run.
//!
//! ```sh
//! cargo bench --bench load                 # all rows, in about five minutes
//! cargo bench --bench load -- --quick      # short rounds with few streams: shows that it runs
//! cargo bench --bench load -- --sweep      # the same measures at many loads, for the pictures
//! cargo bench --bench load -- --csv PATH   # where every observation goes; target/load.csv without it
//! ```
//!
//! docs/BENCHMARKS.md explains what each row means and what it does not show. [`scenarios`] measure, with the
//! processes of [`servers`] and the connections of [`clients`]; [`table`] shows and stores what they found.

mod clients;
mod options;
mod scenarios;
mod servers;
mod table;

use std::error::Error;

use options::{Mode, Options};
use table::Table;

/// The benchmark ends at its first failure and reports it.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    match options::read()? {
        Mode::Test => Ok(()),
        Mode::Bare { kind, port } => servers::bare::run(&kind, port).await,
        Mode::Bench(options) => bench(&options).await,
    }
}

async fn bench(options: &Options) -> Outcome<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let mut table = Table::new()?;
    if options.sweep {
        scenarios::sweep(&options.scale(), &mut table).await?;
    } else {
        scenarios::all(&options.scale(), &mut table).await?;
    }
    table.save(&options.csv)
}
