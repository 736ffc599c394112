//! Facts about a connection that hold for all of its requests.

use std::sync::OnceLock;

use super::handshake::Subprotocol;
use crate::env::peer::{Peer, Via};

/// The source of a connection, and facts that few connections have.
///
/// Checks of hosts, origins and cookies use them, and so do log lines.
pub(crate) struct Facts {
    /// The other end of the socket.
    socket_peer: Peer,
    /// The kind of listener.
    pub(crate) via: Via,
    /// On the heap, because an idle connection that has none of these facts pays for one word only.
    rare: OnceLock<Box<Rare>>,
}

/// Facts that few connections have. Each is set once.
#[derive(Default)]
struct Rare {
    /// The client of a load balancer, from the PROXY protocol.
    source: OnceLock<Peer>,
    /// Values that the outer stack attached to the only request.
    #[cfg(feature = "tower")]
    extensions: OnceLock<http::Extensions>,
    /// The negotiated subprotocol of a WebSocket.
    subprotocol: OnceLock<Subprotocol>,
}

impl Facts {
    pub(super) fn new(socket_peer: Peer, via: Via) -> Self {
        Self {
            socket_peer,
            via,
            rare: OnceLock::new(),
        }
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// Returns the address of the client, or of the last proxy in front of the load balancer.
    pub(crate) fn peer(&self) -> Peer {
        let source = self.rare.get().and_then(|rare| rare.source.get());
        *source.unwrap_or(&self.socket_peer)
    }

    /// Sets the client of a load balancer; called once, before anything else is read.
    #[cfg(feature = "proxy-protocol")]
    pub(crate) fn set_source(&self, source: Peer) {
        let _ = self.rare().source.set(source);
    }

    /// Returns the values that the outer stack attached to the request.
    #[cfg(feature = "tower")]
    pub(crate) fn extensions(&self) -> Option<&http::Extensions> {
        self.rare.get()?.extensions.get()
    }

    /// Sets the values of the outer stack; called once, before a hook runs.
    #[cfg(feature = "tower")]
    pub(crate) fn set_extensions(&self, extensions: http::Extensions) {
        let _ = self.rare().extensions.set(extensions);
    }

    /// Returns the negotiated subprotocol.
    pub(super) fn subprotocol(&self) -> Option<&Subprotocol> {
        self.rare.get()?.subprotocol.get()
    }

    /// Sets the negotiated subprotocol; called once, because a connection is upgraded once.
    pub(super) fn set_subprotocol(&self, subprotocol: Subprotocol) {
        let _ = self.rare().subprotocol.set(subprotocol);
    }
}
