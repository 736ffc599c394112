//! Settings of sessions with their own types.

use std::{fmt, sync::Arc};

use subtle::ConstantTimeEq;

/// A secret key that signs cookies and tokens of sessions (HMAC-SHA256). It needs at least 32 bytes from a secure
/// random source.
///
/// The key is never printed, and it is compared in constant time.
///
/// ```
/// use hyperlane_core::{ServerConfig, SessionKey};
///
/// # fn secret(_: &str) -> String { "0123456789abcdef0123456789abcdef".to_owned() }
/// let config = ServerConfig::default().session_keys(vec![
///     // Signs; the one before it still verifies until its cookies are re-issued.
///     SessionKey::new(secret("SESSION_KEY")),
///     SessionKey::new(secret("SESSION_KEY_BEFORE")),
/// ]);
/// assert!(config.validate().is_ok());
/// assert!(config.session_keys(vec![SessionKey::new("short")]).validate().is_err());
/// ```
#[derive(Clone)]
pub struct SessionKey(Arc<[u8]>);

impl SessionKey {
    /// Minimum length of a key in bytes: that of its signature.
    pub const MIN_BYTES: usize = 32;

    /// Creates a key from these bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; 32]> for SessionKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self::new(bytes)
    }
}

impl PartialEq for SessionKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SessionKey {}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

/// The rule for sending a session's cookie over TLS only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CookieSecure {
    /// According to the request: `Secure` and named `__Host-session` if a trusted proxy reports that the client used
    /// TLS.
    #[default]
    Auto,
    /// Always, for servers behind TLS that no [`trusted_proxies`](crate::ServerConfig) report.
    Always,
    /// Never, for development only.
    Never,
}

/// The cross-site requests with which browsers send a session's cookie (RFC 6265bis §4.1.2.7).
///
/// Sites are wider than origins: `app.example.com` and `api.example.com` are one site. Requests between them always
/// carry the cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CookieSameSite {
    /// Only with links to the server that a user follows.
    #[default]
    Lax,
    /// With none: a user who follows a link to the server arrives without a session.
    Strict,
    /// With all. Any page of any site can then send requests in its visitor's name, so every request that changes
    /// something must check `Origin`, as the endpoints of channels and WebSockets do. Browsers accept such a cookie
    /// only over TLS, and some not at all.
    None,
}

impl CookieSameSite {
    /// Returns the cookie's attribute. Over plain HTTP, browsers refuse `SameSite=None`, so it becomes `Lax`.
    pub(crate) fn attribute(self, is_secure: bool) -> &'static str {
        match self {
            Self::None if is_secure => "None",
            Self::Lax | Self::None => "Lax",
            Self::Strict => "Strict",
        }
    }
}

impl From<cookie::SameSite> for CookieSameSite {
    fn from(same_site: cookie::SameSite) -> Self {
        match same_site {
            cookie::SameSite::Strict => Self::Strict,
            cookie::SameSite::Lax => Self::Lax,
            cookie::SameSite::None => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let key = SessionKey::new("0123456789abcdef0123456789abcdef");
        let config = crate::config::ServerConfig::default().session_keys(vec![key.clone()]);
        assert_eq!(format!("{key:?}"), "SessionKey(..)");
        assert!(!format!("{config:?}").contains("0123"));
        assert_eq!(key, SessionKey::new("0123456789abcdef0123456789abcdef"));
        assert_ne!(key, SessionKey::from([0; 32]));
    }
}
