//! Flags to a config, a config to a server; a fault becomes a message and an exit code.

use std::process::ExitCode;

use tokenecho::config::{self, Action, Config, LoadError, Loaded};
use tokenecho::server::{self, Signals, healthcheck};
use tokenecho::telemetry::Logs;
use tokenecho::{Server, greeting};
use tracing::warn;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a process may have threads and wait for sockets");
    let code = runtime.block_on(run());
    // What still waits for a key file on a disk that hangs holds up no exit.
    runtime.shutdown_background();
    code
}

async fn run() -> ExitCode {
    // What is no UTF-8 becomes text that no option takes, and is refused with its name.
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    match config::load(std::env::args_os(), environment) {
        Ok(Loaded { action: Action::Serve(config), notes }) => serve(config, notes).await,
        Ok(Loaded { action: Action::Healthcheck { config, grpc }, .. }) => {
            told(healthcheck::healthcheck(&config.doors, grpc).await)
        }
        Err(LoadError::CommandLine(error)) => error.exit(),
        Err(LoadError::Settings(faults)) => {
            let faults: Vec<_> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
            told(Err(format!("these settings are wrong:{}", faults.concat())))
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
            greeting::greet(&server);
            if server.config().log.log_format.is_text() {
                logs.print(&greeting::calls(&server));
            }
            server.run(signals).await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            drop(logs);
            told(Err(error.to_string()))
        }
    }
}

fn told(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
