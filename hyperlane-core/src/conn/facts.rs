//! Facts of a connection that hold for all of its requests.

use std::sync::OnceLock;

use crate::env::peer::{Peer, Via};

/// Where a connection comes from, and what others have said of it before its first request.
///
/// Checks of hosts, origins and cookies ask here, and so do log lines.
pub(crate) struct Facts {
    /// The other end of the socket.
    socket_peer: Peer,
    /// The kind of listener.
    pub(crate) via: Via,
    supplied: OnceLock<Box<Supplied>>,
}

/// Data that came from outside the connection.
enum Supplied {
    /// The client for which a load balancer speaks.
    #[cfg(feature = "proxy-protocol")]
    Source(Peer),
    /// Values that the stack around the server has put to the only request.
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

    /// Returns the client, or the last proxy in front of the load balancer.
    pub(crate) fn peer(&self) -> Peer {
        match self.supplied.get().map(|supplied| &**supplied) {
            #[cfg(feature = "proxy-protocol")]
            Some(Supplied::Source(source)) => *source,
            _ => self.socket_peer,
        }
    }

    /// Sets the client for which a load balancer speaks, once, before anything else is read.
    #[cfg(feature = "proxy-protocol")]
    pub(crate) fn set_source(&self, source: Peer) {
        let _ = self.supplied.set(Box::new(Supplied::Source(source)));
    }

    /// Returns the values that the stack around the server has put to the request.
    #[cfg(feature = "tower")]
    pub(crate) fn extensions(&self) -> Option<&http::Extensions> {
        match &**self.supplied.get()? {
            Supplied::Extensions(extensions) => Some(extensions),
            #[cfg(feature = "proxy-protocol")]
            Supplied::Source(_) => None,
        }
    }

    /// Sets those values, once, before a hook can ask.
    #[cfg(feature = "tower")]
    pub(crate) fn set_extensions(&self, extensions: http::Extensions) {
        let _ = self
            .supplied
            .set(Box::new(Supplied::Extensions(extensions)));
    }
}
