//! The errors of a configuration.

use std::fmt;

use thiserror::Error;

use crate::proto::http::host::AllowedHostError;

/// An invalid setting of a [`ServerConfig`](crate::ServerConfig). `Debug` writes the same sentence as `Display`,
/// because Rust uses `Debug` to print an error that `main` returns.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no address to listen on.
    #[error("no address to listen on")]
    NoAddress,
    /// The address is neither `host:port` nor `unix:/path`, it begins with `proxy:` without the feature
    /// `proxy-protocol`, or it begins with `tls:` without the feature `tls`.
    #[error(
        "address {0:?} is neither `host:port` nor `unix:/path` (`proxy:` before it needs feature `proxy-protocol`, `tls:` \
         needs feature `tls` and a TCP address)"
    )]
    Address(String),
    /// An address has the prefix `tls:`, and the configuration has no certificate.
    #[error(
        "address {0:?} speaks TLS, but there is no certificate: set `tls`, or bind it by `bind_tls`"
    )]
    NoCertificate(String),
    /// An address redirects to `https`, and no address speaks TLS.
    #[error(
        "address {0:?} redirects to `https`, but no address speaks TLS: bind one by `bind_tls`, or set the port of the \
         redirect if a proxy speaks TLS"
    )]
    NoRedirectTarget(String),
    /// The protocol is HTTP/3.
    #[error("HTTP/3 is not supported: set `protocol` to Http2")]
    Http3,
    /// HTTP/2, without the cargo feature `http2`.
    #[error(
        "`protocol` is HTTP/2, and the program is built without it: add the cargo feature `http2`"
    )]
    Http2,
    /// The IP time to live (`ttl`) is not between 1 and 255 hops.
    #[error("ttl {0} is not in 1 to 255")]
    Ttl(u32),
    /// The limit or duration with this name is zero. A server could not work with this value.
    #[error("{0} is zero")]
    Zero(&'static str),
    /// The duration with this name exceeds a year (365 days).
    #[error("{0} is longer than a year")]
    TooLong(&'static str),
    /// The window with this name is larger than HTTP/2 allows (RFC 9113 §6.9.1).
    #[cfg(feature = "http2")]
    #[error("{0} is above 2147483647 bytes, the largest window of HTTP/2")]
    Window(&'static str),
    /// A compression setting is out of range.
    #[error("{0}")]
    Deflate(&'static str),
    /// The text of an allowed origin is not an origin: a scheme, a host and an optional port, without a path.
    #[error(
        "allowed origin {0:?} is not `scheme://host[:port]`, as browsers send it: no path, names of hosts in ASCII (`xn--..`), `*` only as in `https://*.example.com` and `http://localhost:*`"
    )]
    Origin(String),
    /// The text of an allowed host is not a host: a name (`*.` may precede it) or an address, with an optional port.
    #[error("allowed host {0}")]
    Host(AllowedHostError),
    /// The base path does not begin with one `/`, ends with `/`, or has characters that a path cannot contain.
    #[error(
        "base path {0:?} is not a path such as `/app`: it begins with one `/` and ends with none"
    )]
    BasePath(String),
    /// The allowed origins contain `null`.
    #[error(
        "allowed origin `null` is the origin of any sandboxed frame: to allow all of them, set `dangerous_allow_null_origin`"
    )]
    NullOrigin,
    /// `cookie_same_site` is None and `cookie_secure` is Never. Browsers refuse a cross-site cookie without `Secure`.
    #[error(
        "`cookie_same_site` None needs a Secure cookie: set `cookie_secure` to Auto or Always, not Never"
    )]
    CookieSameSite,
    /// `cookie_partitioned` is set, and `cookie_same_site` is not None. Only cross-site cookies have partitions.
    #[error("`cookie_partitioned` needs `cookie_same_site` None")]
    CookiePartitioned,
    /// The text is not the name of a subprotocol. A name is a token (RFC 6455 §4.1).
    #[error("subprotocol {0:?} is not a token")]
    Subprotocol(String),
    /// A text for [`ServerConfig::from_json`](crate::ServerConfig::from_json) is not JSON.
    #[error("the configuration is not JSON (line {line}, column {column})")]
    Json {
        /// The line of the first error, from 1.
        line: usize,
        /// The column of the first error.
        column: usize,
    },
    /// A JSON object has a key that is not the name of a setting. The setting may need a feature.
    #[error("unknown setting `{path}`")]
    UnknownKey {
        /// The place of the key, such as `deflate.levl`.
        path: String,
    },
    /// A JSON value has a type that its setting does not take.
    #[error("{} is not {expected}", if path.is_empty() { "the configuration".to_owned() } else { format!("`{path}`") })]
    WrongType {
        /// The place of the value, such as `addresses[1]`. Empty for the whole configuration.
        path: String,
        /// The values that the setting takes.
        expected: &'static str,
    },
    /// A session key has less than 32 bytes.
    #[error("a session key has less than 32 bytes")]
    SessionKey,
    /// The maximum idle time of sessions (`session_ttl`) is below 2 s, or above their maximum age (`session_max_age`).
    #[error("session_ttl is below 2 s or above session_max_age")]
    SessionTtl,
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
