//! What the tests share: clients for both protocols, and helpers that read their answers.

pub mod grpc;
pub mod h2;
pub mod http;
pub mod process;
pub mod raw;

use std::time::Duration;

use tokenecho::Server;
use tokenecho::{Addresses, Builder};

/// A server to send requests to, in this process or in its own.
pub trait Target {
    fn addresses(&self) -> Addresses;
}

impl Target for Server {
    fn addresses(&self) -> Addresses {
        Server::addresses(self)
    }
}

/// The echo engine without its prefix, so that a test gets back the text it sent.
pub fn bare_echo() -> Builder {
    Server::builder().configure(|config| config.service.reply_prefix = String::new())
}

/// A server whose requests together may hold so many bytes, and so may a single one.
pub fn budget(builder: Builder, bytes: u64) -> Builder {
    builder.configure(move |config| {
        config.limits.requests.max_body = bytes;
        config.limits.requests.max_inflight_body = Some(bytes);
    })
}

/// Starts a server, or fails the test.
pub async fn start(builder: Builder) -> Server {
    builder.start().await.expect("loopback has free ports")
}

/// Waits until `is_so`, for at most half a minute.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The value in the first line of the metrics that begins with `series`, or 0.
pub async fn metric(server: &impl Target, series: &str) -> u64 {
    let admin = server.addresses().admin.expect("the test opened the admin listener");
    let url = format!("http://{admin}/metrics");
    let text = reqwest::get(url).await.expect("metrics").text().await.expect("text");
    let line = text.lines().find(|line| line.starts_with(series));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Opens the admin listener, on a free port.
pub fn with_admin(builder: Builder) -> Builder {
    builder.configure(|config| config.listeners.admin_port = Some(tokenecho::config::Port::At(0)))
}
