//! The command line: loads the config, runs the server, and turns failures into a message and an exit code.

mod greeting;
mod healthcheck;

use std::io::Write as _;
use std::process::ExitCode;

use tracing::warn;

use crate::config::{self, Action, Config, LoadError, Loaded};
use crate::ops::logs::Logs;
use crate::server::{self, Server, Signals};

/// Runs the command line.
pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a process may have threads and wait for sockets");
    let code = runtime.block_on(run());
    // Does not wait for a key file that is still being read from a hanging disk.
    runtime.shutdown_background();
    code
}

async fn run() -> ExitCode {
    // `vars()` would panic where a variable is not UTF-8, even one of another program.
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
            exit_code(Err(format!("invalid settings:{}", errors.concat())))
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
            if server.config().log.log_format.is_text() {
                logs.print(&greeting::text(&server));
            } else {
                greeting::log(&server);
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
            // `eprintln!` would panic if stderr is closed, and change the exit code.
            let _ = writeln!(std::io::stderr(), "error: {message}");
            ExitCode::FAILURE
        }
    }
}
