//! The other end of a connection, and the kind of the server's address at which the connection arrived.

use std::{fmt, net::SocketAddr};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Inet(SocketAddr),
    /// A Unix socket, a transport without addresses, or a load balancer that has named no client.
    Local,
}

impl Peer {
    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(address),
            Self::Local => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Local => f.write_str("local"),
        }
    }
}

/// The kind of the server's address at which a connection arrived. The kind decides which hosts the client may request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// A TCP address of the server. Any program that can reach the address may connect, including browsers.
    Tcp,
    /// An address for load balancers that speak the PROXY protocol.
    Balancer,
    /// A Unix socket, a transport that the program created, or another HTTP stack that passes its requests to this
    /// server.
    Trusted,
}
