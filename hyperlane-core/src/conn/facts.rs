//! Facts about a connection that hold for all of its requests.

use std::{
    net::{SocketAddr, SocketAddrV4, SocketAddrV6},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tokio::sync::oneshot;

use super::{end::Ending, handshake::Subprotocol};
use crate::{
    config::HttpsRedirect,
    env::peer::{Peer, Via},
};

/// The peer of a connection, the kind of address at which the connection arrived, and facts that few connections have.
///
/// The checks of hosts, origins and cookies use these facts, and so do log lines.
pub(crate) struct Facts {
    origin: Origin,
    /// The other end of a socket with IPv6.
    socket_v6: Option<Box<SocketAddrV6>>,
    /// Facts that few connections have. They are on the heap, so connections without these facts stay small.
    rare: OnceLock<Box<Rare>>,
}

/// The kind of the server's address at which a connection arrived, and the address of an IPv4 peer. Together they take
/// one word.
enum Origin {
    V4 { via: Via, peer: SocketAddrV4 },
    Other { via: Via },
}

/// Facts that few connections have. Each is set once.
#[derive(Default)]
struct Rare {
    /// The client that a load balancer named by the PROXY protocol.
    source: OnceLock<Peer>,
    /// The [`http::Extensions`] that an outer HTTP stack has attached to the request. They exist only if the server
    /// runs as a tower service in such a stack. The server then treats each request as a connection of its own, so a
    /// connection has only one such value.
    #[cfg(feature = "tower")]
    extensions: OnceLock<http::Extensions>,
    /// The negotiated subprotocol of a WebSocket.
    subprotocol: OnceLock<Subprotocol>,
    /// Facts about a connection without a server.
    detached: OnceLock<Detached>,
    /// The facts of the TLS handshake. Boxed, because most of these connections have other rare facts.
    #[cfg(feature = "__tls")]
    tls: OnceLock<Arc<crate::tls::TlsInfo>>,
    /// The rule by which the address of the connection redirects to `https`.
    redirect: OnceLock<Arc<HttpsRedirect>>,
}

/// Facts about a connection that the program created without a server.
pub(crate) struct Detached {
    /// The address of the server's end.
    pub(crate) local: Option<SocketAddr>,
    /// Ends the connection when the program drops its stream. `None` after that.
    pub(crate) end: Mutex<Option<oneshot::Sender<Ending>>>,
}

impl Facts {
    pub(super) fn new(socket_peer: Peer, via: Via) -> Self {
        let (origin, socket_v6) = match socket_peer {
            Peer::Inet(SocketAddr::V4(peer)) => (Origin::V4 { via, peer }, None),
            Peer::Inet(SocketAddr::V6(peer)) => (Origin::Other { via }, Some(Box::new(peer))),
            Peer::Local => (Origin::Other { via }, None),
        };
        Self {
            origin,
            socket_v6,
            rare: OnceLock::new(),
        }
    }

    /// Returns the kind of the server's address at which the connection arrived.
    pub(crate) fn via(&self) -> Via {
        match self.origin {
            Origin::V4 { via, .. } | Origin::Other { via } => via,
        }
    }

    /// Returns the other end of the socket.
    fn socket_peer(&self) -> Peer {
        match (&self.origin, &self.socket_v6) {
            (Origin::V4 { peer, .. }, _) => Peer::Inet((*peer).into()),
            (_, Some(peer)) => Peer::Inet((**peer).into()),
            (_, None) => Peer::Local,
        }
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// Returns the client that a load balancer named by the PROXY protocol. If no load balancer named a client, returns
    /// the other end of the socket. In both cases, the returned peer may be an HTTP proxy.
    pub(crate) fn peer(&self) -> Peer {
        let source = self.rare.get().and_then(|rare| rare.source.get());
        source.copied().unwrap_or_else(|| self.socket_peer())
    }

    /// Sets the client that a load balancer named. Called once, before the first request is read.
    #[cfg(feature = "proxy-protocol")]
    pub(crate) fn set_source(&self, source: Peer) {
        let _ = self.rare().source.set(source);
    }

    /// Returns the extensions that the outer HTTP stack attached to the request.
    #[cfg(feature = "tower")]
    pub(crate) fn extensions(&self) -> Option<&http::Extensions> {
        self.rare.get()?.extensions.get()
    }

    /// Sets the extensions that the outer HTTP stack attached to the request. Called once, before the program's hooks
    /// handle the request.
    #[cfg(feature = "tower")]
    pub(crate) fn set_extensions(&self, extensions: http::Extensions) {
        let _ = self.rare().extensions.set(extensions);
    }

    /// Returns the address of the server's end, if the transport does not know it: over TLS, and for a connection
    /// without a server.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        let rare = self.rare.get()?;
        #[cfg(feature = "__tls")]
        if let Some(tls) = rare.tls.get() {
            return tls.local_addr();
        }
        rare.detached.get()?.local
    }

    /// Returns whether the connection uses TLS.
    pub(crate) fn is_tls(&self) -> bool {
        #[cfg(feature = "__tls")]
        return self.tls().is_some();
        #[cfg(not(feature = "__tls"))]
        false
    }

    /// Returns the facts of the TLS handshake.
    #[cfg(feature = "__tls")]
    pub(crate) fn tls(&self) -> Option<&crate::tls::TlsInfo> {
        self.rare.get()?.tls.get().map(|info| &**info)
    }

    /// Sets the facts of the TLS handshake. Called once, before the connection is used.
    #[cfg(feature = "__tls")]
    pub(crate) fn set_tls(&self, info: Arc<crate::tls::TlsInfo>) {
        let _ = self.rare().tls.set(info);
    }

    /// Takes over what the TLS and the address of another connection say. This connection is a stream of the other.
    #[cfg(feature = "http2")]
    pub(crate) fn inherit(&self, other: &Self) {
        let Some(rare) = other.rare.get() else {
            return;
        };
        #[cfg(feature = "__tls")]
        if let Some(tls) = rare.tls.get() {
            self.set_tls(tls.clone());
        }
        if let Some(redirect) = rare.redirect.get() {
            self.set_redirect(redirect.clone());
        }
    }

    /// Returns the rule by which the connection redirects to `https`.
    #[inline]
    pub(crate) fn redirect(&self) -> Option<&HttpsRedirect> {
        self.rare.get()?.redirect.get().map(|redirect| &**redirect)
    }

    /// Sets the rule by which the connection redirects to `https`. Called once, before the connection is used.
    pub(crate) fn set_redirect(&self, redirect: Arc<HttpsRedirect>) {
        let _ = self.rare().redirect.set(redirect);
    }

    /// Takes the sender that ends a connection without a server. Returns `None` for a connection of a server.
    pub(crate) fn take_end(&self) -> Option<oneshot::Sender<Ending>> {
        let end = &self.rare.get()?.detached.get()?.end;
        end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Marks the connection as one without a server. Called once, before the connection is used.
    pub(crate) fn set_detached(&self, detached: Detached) {
        let _ = self.rare().detached.set(detached);
    }

    /// Returns the negotiated subprotocol.
    pub(super) fn subprotocol(&self) -> Option<&Subprotocol> {
        self.rare.get()?.subprotocol.get()
    }

    /// Sets the negotiated subprotocol. Called at most once, because a connection becomes a WebSocket only once.
    pub(super) fn set_subprotocol(&self, subprotocol: Subprotocol) {
        let _ = self.rare().subprotocol.set(subprotocol);
    }
}
