//! What the tests share: clients for both protocols, and readers of what they answer.

pub mod grpc;
pub mod h2;
pub mod http;
pub mod raw;

use std::time::Duration;

use tokenecho::Server;
use tokenecho::server::Builder;

/// The echo without its prefix, so that a test reads what it wrote.
pub fn bare_echo() -> Builder {
    Server::builder().configure(|config| config.service.reply_prefix = String::new())
}

/// Starts a server; tests need no more words for it.
pub async fn start(builder: Builder) -> Server {
    builder.start().await.expect("loopback has free ports")
}

/// Waits until `is_so`, for at most ten seconds.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The count in a metric's first line that begins with `series`.
pub async fn metric(server: &Server, series: &str) -> u64 {
    let url = format!("{}/metrics", server.admin_url().expect("the test opened the operators' door"));
    let text = reqwest::get(url).await.expect("metrics").text().await.expect("text");
    let line = text.lines().find(|line| line.starts_with(series));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// With the operators' door open, on a free port.
pub fn with_admin(builder: Builder) -> Builder {
    builder.configure(|config| config.doors.admin_port = Some(tokenecho::config::Port::At(0)))
}

/// Resident memory of this process, in bytes; the server under test runs in it.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line for it");
    let kibibytes: u64 =
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kibibytes * 1024
}
