//! The command line, and how long and how large a run is.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::Outcome;

/// What this program is started for.
pub enum Mode {
    /// `cargo test --all-targets` starts it too, to see that it links.
    Test,
    /// This program again, as a server to compare with.
    Bare {
        kind: String,
        port: u16,
    },
    Bench(Options),
}

pub struct Options {
    quick: bool,
    pub sweep: bool,
    pub csv: PathBuf,
}

/// How much is measured. A round is one measurement of one server; the servers take turns.
pub struct Scale {
    /// Rounds of requests without delays, and of starts.
    pub rounds: usize,
    pub round: Duration,
    /// Rounds of paced streams and of arrivals at a fixed rate, which are longer.
    pub long_rounds: usize,
    /// The arrivals last this long.
    pub arrivals: Duration,
    /// How many streams are open at once, one measurement each.
    pub streams: &'static [u32],
    /// The tokens of a paced stream.
    pub tokens: u32,
    /// The time in which the paced streams are opened.
    pub ramp: Duration,
    /// The connections of a sweep.
    pub connections: &'static [u32],
}

const FULL: Scale = Scale {
    rounds: 5,
    round: Duration::from_secs(2),
    long_rounds: 3,
    arrivals: Duration::from_secs(5),
    streams: &[1_000, 10_000],
    tokens: 160,
    ramp: Duration::from_secs(2),
    connections: &[1, 4, 16, 64, 256],
};

const SWEEP: Scale = Scale { long_rounds: 2, streams: &[100, 300, 1_000, 3_000, 10_000], ..FULL };

const QUICK: Scale = Scale {
    rounds: 2,
    round: Duration::from_millis(500),
    long_rounds: 2,
    arrivals: Duration::from_millis(500),
    streams: &[100],
    tokens: 20,
    ramp: Duration::from_millis(250),
    connections: &[1, 16],
};

impl Options {
    pub fn scale(&self) -> Scale {
        match (self.quick, self.sweep) {
            (true, _) => QUICK,
            (false, true) => SWEEP,
            (false, false) => FULL,
        }
    }
}

/// Reads the arguments of this process. Test harnesses get others from cargo, so they count only with `--bench`.
pub fn read() -> Outcome<Mode> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let [bare, kind, port] = arguments.as_slice()
        && bare == "--bare"
    {
        return Ok(Mode::Bare { kind: kind.clone(), port: port.parse()? });
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(Mode::Test);
    }
    let csv = concat!(env!("CARGO_MANIFEST_DIR"), "/target/load.csv").into();
    let mut options = Options { quick: false, sweep: false, csv };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--sweep" => options.sweep = true,
            "--csv" => options.csv = arguments.next().ok_or("--csv needs a path")?.into(),
            "--bench" => {}
            _ => return Err(format!("unknown argument {argument}: --quick, --sweep, --csv PATH").into()),
        }
    }
    Ok(Mode::Bench(options))
}
