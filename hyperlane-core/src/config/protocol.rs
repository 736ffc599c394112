//! The versions of HTTP that a server speaks.

use crate::http::HttpVersion;

/// The highest version of HTTP that a server speaks. A server that speaks HTTP/2 speaks HTTP/1.1 as well, on the same
/// port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServerProtocol {
    /// HTTP/1.0 and HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, and HTTP/1.0 and HTTP/1.1.
    Http2,
    /// HTTP/3. No server of this version speaks it: the start fails.
    Http3,
}

impl ServerProtocol {
    /// Returns the highest version that the server can speak with its cargo features.
    pub(crate) const fn highest() -> Self {
        match cfg!(feature = "http2") {
            true => Self::Http2,
            false => Self::Http1,
        }
    }

    /// Returns the identifier of the version in a TLS handshake (ALPN, RFC 7301).
    ///
    /// ```
    /// use hyperlane_core::ServerProtocol;
    ///
    /// assert_eq!(ServerProtocol::Http2.get_alpn_protocol(), b"h2");
    /// ```
    pub fn get_alpn_protocol(&self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
            Self::Http3 => b"h3",
        }
    }

    /// Returns the version.
    pub fn get_version(&self) -> HttpVersion {
        match self {
            Self::Http1 => HttpVersion::Http1_1,
            Self::Http2 => HttpVersion::Http2,
            Self::Http3 => HttpVersion::Http3,
        }
    }

    /// Returns whether the version runs over QUIC and not over TCP.
    pub fn is_quic(&self) -> bool {
        matches!(self, Self::Http3)
    }
}
