//! Why a configuration is refused.

use std::fmt;

use thiserror::Error;

use crate::proto::http::host::AllowedHostError;

/// Tells which setting of a [`ServerConfig`](super::ServerConfig) makes no sense. Its `Debug` form is its sentence, as `main` prints what it
/// returns in that form.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no address to listen on.
    #[error("no address to listen on")]
    NoAddress,
    /// This address is neither `host:port` nor `unix:/path`, or it begins with `proxy:` without the feature
    /// `proxy-protocol`.
    #[error(
        "address {0:?} is neither `host:port` nor `unix:/path` (`proxy:` before it needs feature `proxy-protocol`)"
    )]
    Address(String),
    /// The time to live is not in 1 to 255.
    #[error("ttl {0} is not in 1 to 255")]
    Ttl(u32),
    /// This limit is zero, which would refuse everything.
    #[error("{0} is zero")]
    Zero(&'static str),
    /// This duration is longer than a year.
    #[error("{0} is longer than a year")]
    TooLong(&'static str),
    /// A setting of the compression is out of its range.
    #[error("{0}")]
    Deflate(&'static str),
    /// This is not an origin: scheme, host and port, without a path.
    #[error(
        "allowed origin {0:?} is not `scheme://host[:port]`, as browsers send it: no path, no wildcard, names of hosts in ASCII (`xn--..`)"
    )]
    Origin(String),
    /// This is not a host: a name, or an address, with an optional port.
    #[error("allowed host {0}")]
    Host(AllowedHostError),
    /// `null` is listed among the allowed origins.
    #[error(
        "allowed origin `null` is the origin of any sandboxed frame: to allow all of them, set `dangerous_allow_null_origin`"
    )]
    NullOrigin,
    /// The cookie of sessions is to be sent across sites, and never to be Secure: browsers refuse such a cookie.
    #[error(
        "`cookie_same_site` None needs a Secure cookie: set `cookie_secure` to Auto or Always, not Never"
    )]
    CookieSameSite,
    /// The cookie of sessions is to be partitioned, but not to be sent across sites, where there are partitions.
    #[error("`cookie_partitioned` needs `cookie_same_site` None")]
    CookiePartitioned,
    /// This is not the name of a subprotocol: a token (RFC 6455 §4.1).
    #[error("subprotocol {0:?} is not a token")]
    Subprotocol(String),
    /// A key of sessions is too short to keep a secret.
    #[error("a session key has less than 32 bytes")]
    SessionKey,
    /// The idle time of sessions is below 2 s, or above their greatest age.
    #[error("session_ttl is below 2 s or above session_max_age")]
    SessionTtl,
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
