//! The binary in its own process, so that its memory, descriptors and processor time can be measured.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokenecho::Addresses;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use super::Target;

/// The binary, without the variables of this environment that it would read.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenecho"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TOKENECHO_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.args(arguments).kill_on_drop(true).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Sends a signal to a process.
pub async fn signal(id: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &id.to_string()]).status().await.expect("kill runs");
    assert!(status.success());
}

/// A running server: the process, the rest of its log, and its start record.
pub struct Process {
    process: Child,
    log: Lines<BufReader<ChildStderr>>,
    pub start: Value,
}

impl Process {
    /// Starts the binary with its three listeners on free ports.
    pub async fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = command(&[&["--log-format", "json"], arguments].concat());
        for variable in ["TOKENECHO_PORT", "TOKENECHO_GRPC_PORT", "TOKENECHO_ADMIN_PORT"] {
            command.env(variable, "0");
        }
        let mut process = command.envs(environment.iter().copied()).spawn().expect("it runs");
        let log = BufReader::new(process.stderr.take().expect("piped")).lines();
        let mut started = Self { process, log, start: Value::Null };
        started.start = started.logged("is ready").await;
        started
    }

    /// The next record of the log whose message contains `words`.
    pub async fn logged(&mut self, words: &str) -> Value {
        loop {
            let line = self.log.next_line().await.expect("UTF-8").expect("a record before the end");
            let record = record(&line);
            if record["message"].as_str().is_some_and(|message| message.contains(words)) {
                return record;
            }
        }
    }

    /// Starts the binary as the bare echo without delays, which logs no requests.
    pub async fn bare_echo(arguments: &[&str]) -> Self {
        let environment = [
            ("TOKENECHO_REPLY_PREFIX", ""),
            ("TOKENECHO_TTFT", "0"),
            ("TOKENECHO_ITL", "0"),
            ("RUST_LOG", "info,tokenecho::ops::request_log=warn"),
        ];
        Self::start(arguments, &environment).await
    }

    /// The URL of a path on the first API listener.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses().api)
    }

    /// The process' number.
    pub fn id(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    /// Sends it a signal.
    pub async fn signal(&self, signal: &str) {
        self::signal(self.id(), signal).await;
    }

    /// The log's records from here to the end of the process, and its exit code.
    pub async fn end(mut self) -> (Vec<Value>, Option<i32>) {
        let mut records = Vec::new();
        while let Some(line) = self.log.next_line().await.expect("UTF-8") {
            records.push(record(&line));
        }
        (records, self.process.wait().await.expect("it ends").code())
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> u64 {
        let status = self.read("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line for it");
        let kibibytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
        kibibytes.expect("a number") * 1024
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("Linux").count()
    }

    /// Processor time used so far.
    pub fn processor_time(&self) -> Duration {
        // Fields 14 and 15, in ticks of 10 ms; the second may contain spaces and ends with the last bracket.
        let stat = self.read("stat");
        let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks = |field: usize| fields[field - 3].parse::<u64>().expect("a number");
        Duration::from_millis(10 * (ticks(14) + ticks(15)))
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.id())).expect("Linux")
    }
}

fn record(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

impl Target for Process {
    fn addresses(&self) -> Addresses {
        let address = |listener: &str| {
            self.start[listener].as_str().map(|text| text.parse::<SocketAddr>().expect("an address"))
        };
        Addresses { api: address("api").expect("a listener"), grpc: address("grpc"), admin: address("admin") }
    }
}
