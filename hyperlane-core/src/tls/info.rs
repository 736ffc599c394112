//! The facts of a connection over TLS.

use std::net::SocketAddr;

use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};

/// The facts of a connection over TLS, for [`Context::tls`](crate::Context::tls).
///
/// ```
/// use hyperlane_core::Context;
///
/// fn log(ctx: &Context) {
///     if let Some(tls) = ctx.tls() {
///         println!("{} with {} for {:?}", tls.version(), tls.cipher_suite(), tls.server_name());
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    version: &'static str,
    cipher_suite: &'static str,
    is_resumed: bool,
    server_name: Option<Box<str>>,
    alpn: Option<Box<str>>,
    client_certificates: Box<[Box<[u8]>]>,
    local: Option<SocketAddr>,
}

impl TlsInfo {
    /// Reads the facts of a complete handshake. `local` is the address of the server's end.
    pub(crate) fn of(connection: &ServerConnection, local: Option<SocketAddr>) -> Self {
        let suite = connection.negotiated_cipher_suite();
        let certificates = connection.peer_certificates().unwrap_or_default();
        Self {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "unknown",
            },
            cipher_suite: suite
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown"),
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            server_name: connection.server_name().map(Box::from),
            alpn: connection
                .alpn_protocol()
                .map(|id| String::from_utf8_lossy(id).into()),
            client_certificates: certificates
                .iter()
                .map(|certificate| certificate.as_ref().into())
                .collect(),
            local,
        }
    }

    /// Returns the version: `TLSv1.2` or `TLSv1.3`.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// Returns the cipher suite, such as `TLS13_AES_128_GCM_SHA256`.
    pub fn cipher_suite(&self) -> &'static str {
        self.cipher_suite
    }

    /// Returns whether the client has resumed an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Returns the host that the client has named in the handshake (SNI), in lower case. Returns `None` if the client
    /// has named none. The host may differ from the `Host` of a request.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Returns the protocol that client and server have agreed on (ALPN), such as `http/1.1`. Returns `None` if the
    /// client has offered none.
    pub fn alpn(&self) -> Option<&str> {
        self.alpn.as_deref()
    }

    /// Returns the certificates that the client has sent, in DER form. The client's own certificate is first. The
    /// server has verified it. Returns an empty slice if the client has sent none. The fields of a certificate can be
    /// read by a crate such as `x509-parser`.
    pub fn client_certificates(&self) -> &[Box<[u8]>] {
        &self.client_certificates
    }

    /// Returns the address of the server's end.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }
}
