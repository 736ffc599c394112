//! The settings of sessions: the types of their values, and the check of these values.

use std::{fmt, sync::Arc, time::Duration};

use subtle::ConstantTimeEq;

use super::{
    ConfigError, ServerConfig,
    check::{check_durations, check_sizes},
};

/// A secret key that signs cookies and tokens of sessions (HMAC-SHA256). A key needs at least 32 bytes from a secure
/// random source.
///
/// `Debug` never prints the key, and `==` compares keys of the same length in constant time.
///
/// ```
/// use hyperlane_core::{ServerConfig, SessionKey};
///
/// # fn secret(_: &str) -> String { "0123456789abcdef0123456789abcdef".to_owned() }
/// let config = ServerConfig::default().session_keys(vec![
///     // The first key signs. The second is the key before it, and only verifies older cookies.
///     SessionKey::new(secret("SESSION_KEY")),
///     SessionKey::new(secret("SESSION_KEY_BEFORE")),
/// ]);
/// assert!(config.validate().is_ok());
/// assert!(config.session_keys(vec![SessionKey::new("short")]).validate().is_err());
/// ```
#[derive(Clone)]
pub struct SessionKey(Arc<[u8]>);

impl SessionKey {
    /// Minimum length of a key in bytes: the length of a signature.
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

/// The rule that decides whether a session's cookie is `Secure`. Browsers send a `Secure` cookie over TLS only. The
/// cookie is named `__Host-session` if it is `Secure`, and `session` otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CookieSecure {
    /// The request decides: the cookie is `Secure` if a trusted proxy reports that the client used TLS.
    #[default]
    Auto,
    /// The cookie is always `Secure`. Use this value behind a TLS proxy that is not in
    /// [`trusted_proxies`](crate::ServerConfig).
    Always,
    /// The cookie is never `Secure`. Use this value for development only.
    Never,
}

/// The cross-site requests with which browsers send a session's cookie (RFC 6265bis §4.1.2.7).
///
/// A site may contain several origins: `app.example.com` and `api.example.com` are one site. Requests within a site
/// always carry the cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CookieSameSite {
    /// Browsers send the cookie with a cross-site request only when a user follows a link to the server.
    #[default]
    Lax,
    /// Browsers never send the cookie with a cross-site request. A user who follows a link to the server arrives
    /// without a session.
    Strict,
    /// Browsers send the cookie with all cross-site requests. Any page of any site can then send requests in its
    /// visitor's name. Every handler (the program's function for a route) that changes something must therefore check
    /// `Origin`, as the endpoints of channels and WebSockets do. Browsers accept a cookie with `SameSite=None` only if
    /// it is also `Secure`, and some browsers never accept it.
    None,
}

impl CookieSameSite {
    /// Returns the value of the cookie's `SameSite` attribute. For a cookie that is not `Secure`, `None` becomes `Lax`,
    /// because browsers refuse such a cookie with `SameSite=None`.
    pub(crate) fn attribute(self, is_secure: bool) -> &'static str {
        match self {
            Self::None if is_secure => "None",
            Self::Lax | Self::None => "Lax",
            Self::Strict => "Strict",
        }
    }
}

#[cfg(feature = "cookies")]
impl From<cookie::SameSite> for CookieSameSite {
    fn from(same_site: cookie::SameSite) -> Self {
        match same_site {
            cookie::SameSite::Strict => Self::Strict,
            cookie::SameSite::Lax => Self::Lax,
            cookie::SameSite::None => Self::None,
        }
    }
}

impl ServerConfig {
    /// Checks each setting of sessions, and the combinations of these settings.
    pub(super) fn check_sessions(&self) -> Result<(), ConfigError> {
        check_sizes(&[("session_memory", self.session_memory)])?;
        check_durations(&[
            ("session_ttl", self.session_ttl),
            ("session_max_age", self.session_max_age),
            ("session_token_ttl", self.session_token_ttl),
        ])?;
        let is_short = |key: &SessionKey| key.bytes().len() < SessionKey::MIN_BYTES;
        if self.session_keys.iter().any(is_short) {
            return Err(ConfigError::SessionKey);
        }
        if self.session_ttl < Duration::from_secs(2) || self.session_max_age < self.session_ttl {
            return Err(ConfigError::SessionTtl);
        }
        if self.cookie_same_site == CookieSameSite::None
            && self.cookie_secure == CookieSecure::Never
        {
            return Err(ConfigError::CookieSameSite);
        }
        if self.cookie_partitioned && self.cookie_same_site != CookieSameSite::None {
            return Err(ConfigError::CookiePartitioned);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_contradict_are_refused() {
        let config = ServerConfig::default;
        for keys in [vec!["x".repeat(31)], vec!["x".repeat(32), String::new()]] {
            let keys = keys.into_iter().map(SessionKey::new).collect::<Vec<_>>();
            assert_eq!(
                config().session_keys(keys).validate(),
                Err(ConfigError::SessionKey)
            );
        }
        let second = Duration::from_secs(1);
        for wrong in [
            config().session_ttl(second),
            config()
                .session_ttl(20 * second)
                .session_max_age(19 * second),
        ] {
            assert_eq!(wrong.validate(), Err(ConfigError::SessionTtl));
        }
        let across = || config().cookie_same_site(CookieSameSite::None);
        assert_eq!(across().cookie_partitioned(true).validate(), Ok(()));
        assert_eq!(
            across().cookie_secure(CookieSecure::Never).validate(),
            Err(ConfigError::CookieSameSite)
        );
        assert_eq!(
            config().cookie_partitioned(true).validate(),
            Err(ConfigError::CookiePartitioned)
        );
        assert_eq!(
            config().session_memory(0).validate(),
            Err(ConfigError::Zero("session_memory"))
        );
        assert_eq!(
            config().session_token_ttl(Duration::MAX).validate(),
            Err(ConfigError::TooLong("session_token_ttl"))
        );
    }

    #[test]
    fn a_key_is_never_printed() {
        let key = SessionKey::new("0123456789abcdef0123456789abcdef");
        let config = ServerConfig::default().session_keys(vec![key.clone()]);
        assert_eq!(format!("{key:?}"), "SessionKey(..)");
        assert!(!format!("{config:?}").contains("0123"));
        assert_eq!(key, SessionKey::new("0123456789abcdef0123456789abcdef"));
        assert_ne!(key, SessionKey::from([0; 32]));
    }
}
