//! The command line: flags to a config, a config to a running server, a failure to a message and an exit code.

mod greeting;
mod healthcheck;

use std::io::Write as _;
use std::process::ExitCode;

use tracing::warn;

use crate::config::{self, Action, Config, LoadError, Loaded};
use crate::ops::logs::Logs;
use crate::server::{self, Server, Signals};

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a process may have threads and wait for sockets");
    let code = runtime.block_on(run());
    // A key file that is still being read from a disk that hangs does not hold up the exit.
    runtime.shutdown_background();
    code
}

async fn run() -> ExitCode {
    // What is not UTF-8 becomes text that no option takes, and is refused with its name.
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    match config::load(std::env::args_os(), environment) {
        Ok(Loaded { action: Action::Serve(config), notes }) => serve(config, notes).await,
        Ok(Loaded { action: Action::Healthcheck { config, grpc }, .. }) => {
            exit_code(healthcheck::healthcheck(&config.listeners, grpc).await)
        }
        Err(LoadError::CommandLine(error)) => error.exit(),
        Err(LoadError::Settings(errors)) => {
            let errors: Vec<_> = errors.iter().map(|error| format!("\n  {error}")).collect();
            exit_code(Err(format!("these settings are wrong:{}", errors.concat())))
        }
    }
}

async fn serve(config: Config, notes: Vec<String>) -> ExitCode {
    let mut logs = Logs::start(&config.log);
    for note in notes {
        warn!("{note}");
    }
    let mut signals = Signals::listen();
    let engine = server::echo(&config);
    let started = tokio::select! {
        started = Server::start(config, engine) => started,
        () = signals.next() => return ExitCode::SUCCESS,
    };
    match started {
        Ok(server) => {
            greeting::log(&server);
            if server.config().log.log_format.is_text() {
                logs.print(&greeting::calls(&server));
            }
            server.run(signals).await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            drop(logs);
            exit_code(Err(error.to_string()))
        }
    }
}

fn exit_code(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // `eprintln!` panics where stderr is gone, and the exit code would be that of a panic.
            let _ = writeln!(std::io::stderr(), "error: {message}");
            ExitCode::FAILURE
        }
    }
}
