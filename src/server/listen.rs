//! Addresses: the sockets that the doors listen on.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};
use tracing::warn;

use crate::config::{DoorOptions, Port};

/// Where a server really listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The first API door.
    pub api: SocketAddr,
    /// The second, where there is one.
    pub grpc: Option<SocketAddr>,
    /// The operators' door, where there is one.
    pub admin: Option<SocketAddr>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {host} port {port}: {source}")]
pub struct BindError {
    /// The host that was asked for.
    pub host: String,
    /// The port that was asked for.
    pub port: u16,
    /// Why not.
    pub source: io::Error,
}

/// The socket of each door.
pub struct Listeners {
    /// The first API door's.
    pub api: TcpListener,
    /// The second's, where there is one.
    pub grpc: Option<TcpListener>,
    /// The operators' door's, where there is one.
    pub admin: Option<TcpListener>,
}

impl Listeners {
    /// Listens where `doors` says, and tells where that is.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(doors: &DoorOptions) -> Result<(Self, Addresses), BindError> {
        let api = bind(&doors.host, doors.port).await?;
        let grpc = match doors.grpc_port {
            Port::At(port) if port == 0 || port != doors.port => Some(bind(&doors.host, port).await?),
            Port::At(_) | Port::Off => None,
        };
        let admin = bind_admin(doors).await?;
        let address = |listener: &TcpListener| {
            let unknown = |source| BindError { host: doors.host.clone(), port: 0, source };
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

/// Of 1000 clients that connect at once, tokio's own backlog of 128 lets a tenth wait for a second.
const BACKLOG: u32 = 4096;

async fn bind(host: &str, port: u16) -> Result<TcpListener, BindError> {
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
    listen().await.map_err(|source| BindError { host: host.to_owned(), port, source })
}

/// A port that nobody asked for may be taken by another server; one that was asked for may not.
async fn bind_admin(doors: &DoorOptions) -> Result<Option<TcpListener>, BindError> {
    match doors.admin_port {
        Some(Port::Off) => Ok(None),
        Some(Port::At(port)) => bind(&doors.admin_host, port).await.map(Some),
        None => Ok(bind(&doors.admin_host, DoorOptions::ADMIN_PORT).await.map_or_else(
            |error| {
                warn!("no metrics and probes on a port of their own: {error}");
                None
            },
            Some,
        )),
    }
}
