//! The options of an accepted socket.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::ops::limits::ConnectionLimits;

/// How many bytes may wait in a socket that have not been sent.
const UNSENT: u32 = 128 * 1024;

/// Sets the options of an accepted socket.
///
/// # Errors
/// The system's, where the peer has gone already.
pub(super) fn configure(socket: &TcpStream, limits: &ConnectionLimits) -> io::Result<()> {
    // Without it a token waits 40 ms for the acknowledgement of the one before.
    socket.set_nodelay(true)?;
    // The socket is writable again as soon as the peer has taken some of it, and not first when a third of what the
    // system would buffer is free: a slow client then shows progress, and one that reads nothing does not.
    let socket = SockRef::from(socket);
    socket.set_tcp_notsent_lowat(UNSENT)?;
    if !limits.peer_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(limits.peer_timeout))?;
        let between = (limits.peer_timeout / 3).max(Duration::from_secs(1));
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(between).with_interval(between))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn an_accepted_socket_waits_for_no_acknowledgement_and_notices_a_vanished_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let peer = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("a connection");

        configure(&peer, &Config::default().limits.connections).expect("it is there");

        assert!(peer.nodelay().expect("an option"));
        let socket = SockRef::from(&peer);
        assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(Duration::from_secs(30)));
        assert!(socket.keepalive().expect("an option"));
        assert_eq!(socket.tcp_keepalive_time().expect("an option"), Duration::from_secs(10));
    }
}
