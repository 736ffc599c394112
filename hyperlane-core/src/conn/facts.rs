//! Facts about a connection that hold for all of its requests.

use std::sync::OnceLock;

use crate::env::peer::{Peer, Via};

/// The source of a connection, and data that came before its first request from a load balancer or an outer stack.
///
/// Checks of hosts, origins and cookies use them, and so do log lines.
pub(crate) struct Facts {
    /// The other end of the socket.
    socket_peer: Peer,
    /// The kind of listener.
    pub(crate) via: Via,
    supplied: OnceLock<Box<Supplied>>,
}

/// Data from outside the connection.
enum Supplied {
    /// The client of a load balancer, from the PROXY protocol.
    #[cfg(feature = "proxy-protocol")]
    Source(Peer),
    /// Values that the outer stack attached to the only request.
    #[cfg(feature = "tower")]
    Extensions(http::Extensions),
}

impl Facts {
    pub(super) fn new(socket_peer: Peer, via: Via) -> Self {
        Self {
            socket_peer,
            via,
            supplied: OnceLock::new(),
        }
    }

    /// Returns the address of the client, or of the last proxy in front of the load balancer.
    pub(crate) fn peer(&self) -> Peer {
        match self.supplied.get().map(|supplied| &**supplied) {
            #[cfg(feature = "proxy-protocol")]
            Some(Supplied::Source(source)) => *source,
            _ => self.socket_peer,
        }
    }

    /// Sets the client of a load balancer; called once, before anything else is read.
    #[cfg(feature = "proxy-protocol")]
    pub(crate) fn set_source(&self, source: Peer) {
        let _ = self.supplied.set(Box::new(Supplied::Source(source)));
    }

    /// Returns the values that the outer stack attached to the request.
    #[cfg(feature = "tower")]
    pub(crate) fn extensions(&self) -> Option<&http::Extensions> {
        match &**self.supplied.get()? {
            Supplied::Extensions(extensions) => Some(extensions),
            #[cfg(feature = "proxy-protocol")]
            Supplied::Source(_) => None,
        }
    }

    /// Sets the values of the outer stack; called once, before a hook runs.
    #[cfg(feature = "tower")]
    pub(crate) fn set_extensions(&self, extensions: http::Extensions) {
        let _ = self
            .supplied
            .set(Box::new(Supplied::Extensions(extensions)));
    }
}
