//! Addresses: the sockets of the listeners.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};
use tracing::warn;

use crate::config::{ListenerOptions, Port};

/// Where a server really listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The first API listener.
    pub api: SocketAddr,
    /// The second, where there is one.
    pub grpc: Option<SocketAddr>,
    /// The admin listener, where there is one.
    pub admin: Option<SocketAddr>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {host} port {port}: {source}; choose another with {flag}")]
pub struct BindError {
    /// The configured host.
    pub host: String,
    /// The configured port.
    pub port: u16,
    /// The option that sets the port.
    pub flag: &'static str,
    /// The system's reason.
    pub source: io::Error,
}

/// The socket of each listener.
pub(super) struct Listeners {
    /// The first API listener's.
    pub api: TcpListener,
    /// The second's, where there is one.
    pub grpc: Option<TcpListener>,
    /// The admin listener's, where there is one.
    pub admin: Option<TcpListener>,
}

impl Listeners {
    /// Binds the listeners that `options` describe, with the API on `api` if that is bound already; gives the addresses.
    ///
    /// # Errors
    /// [`BindError`].
    pub(super) async fn bind(
        options: &ListenerOptions,
        api: Option<TcpListener>,
    ) -> Result<(Self, Addresses), BindError> {
        let api = match api {
            Some(bound) => bound,
            None => bind(&options.host, options.port, "--port").await?,
        };
        let grpc = match options.grpc_port {
            Port::At(port) if port == 0 || port != options.port => {
                Some(bind(&options.host, port, "--grpc-port (`off` for none)").await?)
            }
            Port::At(_) | Port::Off => None,
        };
        let admin = bind_admin(options).await?;
        let address = |listener: &TcpListener| {
            let unknown = |source| BindError { host: options.host.clone(), port: 0, flag: "--port", source };
            listener.local_addr().map_err(unknown)
        };
        let addresses = Addresses {
            api: address(&api)?,
            grpc: grpc.as_ref().map(address).transpose()?,
            admin: admin.as_ref().map(address).transpose()?,
        };
        Ok((Self { api, grpc, admin }, addresses))
    }
}

/// With tokio's own backlog of 128, a tenth of 1000 clients that connect at once waits for a second.
const BACKLOG: u32 = 4096;

async fn bind(host: &str, port: u16, flag: &'static str) -> Result<TcpListener, BindError> {
    let listen = async || {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in tokio::net::lookup_host((host, port)).await? {
            let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
            socket.set_reuseaddr(true)?;
            match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    listen().await.map_err(|source| BindError { host: host.to_owned(), port, flag, source })
}

const ADMIN: &str = "--admin-port";

/// A default port may be taken by another server; a configured one may not.
async fn bind_admin(options: &ListenerOptions) -> Result<Option<TcpListener>, BindError> {
    match options.admin_port {
        Some(Port::Off) => Ok(None),
        Some(Port::At(port)) => bind(&options.admin_host, port, ADMIN).await.map(Some),
        None => Ok(bind(&options.admin_host, ListenerOptions::ADMIN_PORT, ADMIN).await.map_or_else(
            |error| {
                warn!("no metrics and probes on a port of their own: {error}");
                None
            },
            Some,
        )),
    }
}
