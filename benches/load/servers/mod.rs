//! The servers under load, each in a process of its own, and what the system counts for them.

pub mod bare;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, net};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::Outcome;

/// The key of all requests.
pub const KEY: &str = "123";

/// The time between two tokens of a paced stream.
pub const ITL: Duration = Duration::from_millis(50);

/// The file of the measured program.
pub const TOKENECHO: &str = env!("CARGO_BIN_EXE_tokenecho");

/// A server on loopback, which is killed when this value is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    spawned: Instant,
}

impl Server {
    /// Starts tokenecho for both protocols on one port. Its log is written and discarded; `log` is its `RUST_LOG`.
    pub async fn tokenecho(itl: Duration, log: &str) -> Outcome<Self> {
        let (address, port) = free_port()?;
        let mut command = Command::new(TOKENECHO);
        command.args(["--port", &port, "--grpc-port", "off", "--admin-port", "off", "--api-key", KEY]);
        command.args(["--log-format", "json", "--itl", &format!("{}ms", itl.as_millis())]);
        command.env("RUST_LOG", log).stderr(Stdio::null());
        Self::start(command, address, &[]).await
    }

    /// Starts this program again, as the bare server of that kind, which answers with `answers`.
    pub async fn bare(kind: &str, answers: &[Bytes]) -> Outcome<Self> {
        let (address, port) = free_port()?;
        let mut command = Command::new(env::current_exe()?);
        command.args(["--bare", kind, &port]);
        Self::start(command, address, answers).await
    }

    /// Waits until the server accepts connections. The pipe to its standard input stays open: a bare server ends at
    /// its end, so that it never outlives this process.
    async fn start(mut command: Command, address: SocketAddr, answers: &[Bytes]) -> Outcome<Self> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let spawned = Instant::now();
        let child = command.stdin(Stdio::piped()).spawn()?;
        let mut server = Self { child, address, spawned };
        let stdin = server.child.stdin.as_mut().ok_or("a server without standard input")?;
        stdin.write_all(&bare::framed(answers)?)?;
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("a server ended at its start, {status}").into());
            }
            if spawned.elapsed() > PATIENCE {
                return Err("a server did not start".into());
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(server)
    }

    /// The time since its process was started.
    pub fn age(&self) -> Duration {
        self.spawned.elapsed()
    }

    /// The processor time it has used so far, to 10 ms.
    pub fn processor_time(&self) -> Outcome<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // After the name, which may contain anything: the state is field 3, utime 14 and stime 15, in 1/100 s.
        let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
    }

    /// The memory that it has resident, in KiB. What the kernel keeps for sockets is not in it.
    pub fn resident(&self) -> Outcome<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
        Ok(size.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only if the server is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another process is unlikely to take the port between the end of this listener and the start of the server's.
fn free_port() -> Outcome<(SocketAddr, String)> {
    let address = net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    Ok((address, address.port().to_string()))
}
